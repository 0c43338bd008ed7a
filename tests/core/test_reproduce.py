"""Claims become studies, evidence and verdicts; nothing is trained twice."""

import json
from pathlib import Path

import pytest

from automl.core.errors import UnknownName
from automl.core.reproduce import Request, reproduce
from automl.core.study import SearchSettings
from automl.dataset_db import query
from automl.ui import render

CLAIMS = """

from automl.core.api import Bar, Claim, ClaimRun, DataError

BASE = "spirals:train_size=200"
OTHER = "spirals:noise=0.1,train_size=200"
OURS = ClaimRun("ours", BASE, Config(x=0.9, n=2), evaluate=(BASE, OTHER), seeds=2)
RIVAL = ClaimRun("rival", BASE, Config(n=2), seeds=2, tune={"x": (0.2, 0.6, 0.4)})
REFUSED = ClaimRun("refused", BASE, Config(x=0.3, n=2), evaluate=(BASE, OTHER), seeds=2)
evaluate = Tested.evaluate

def evaluate_or_refuse(self, model, config, split):
    if config.x == 0.3 and "noise=0.1" in split.info.name:
        raise DataError("a fixed dictionary")
    return evaluate(self, model, config, split)

Tested.evaluate = evaluate_or_refuse
Tested.claims = (
    Claim(
        "holds", "Ours beats its rival.", "Table 1", (OURS, RIVAL, REFUSED),
        (
            Bar("ours", "accuracy", at_least=0.8, paper="95 %"),
            Bar("ours", "accuracy", at_least=1.5, relative_to="rival"),
            Bar("ours", "nll", at_most=0.5, relative_to="chance"),
        ),
        {"chance": lambda split: {"accuracy": 0.5, "nll": 0.7}},
    ),
    Claim("misses", "Ours is perfect.", "Table 2", (OURS,), (Bar("ours", "accuracy", at_least=1),)),
    Claim(
        "no answer", "Refused is good.", "Table 3", (REFUSED,),
        (Bar("refused", "accuracy", at_least=0.1, on=OTHER),),
    ),
    Claim("big", "At full size.", "Table 4", (OURS,), (), scale="full"),
)
"""
SETTINGS = SearchSettings(executor="inline", pruner="none")


@pytest.fixture
def claiming(make_plugin) -> str:
    folder = make_plugin()
    path = Path(folder) / "plugin.py"
    path.write_text(path.read_text() + CLAIMS)
    return folder


def test_verdicts_follow_from_the_means_over_seeds(claiming, recorder) -> None:
    found = reproduce(Request(claiming, settings=SETTINGS), recorder)
    assert {v.claim: v.verdict for v in found} == {
        "holds": "reproduced",
        "misses": "not reproduced",
        "no answer": "inconclusive",
    }
    holds = found[0]
    assert [bar.met for bar in holds.bars] == [True, True, True]
    assert holds.bars[1].rival == pytest.approx(0.6)  # its best setting, not its last
    assert holds.bars[1].bound == pytest.approx(0.9)
    assert holds.bars[2].bound == pytest.approx(0.35)
    rows = {(row.run, row.on): row for row in holds.runs}
    assert rows["rival", "spirals:train_size=200"].tuned == {"x": 0.6}
    refused = rows["refused", "spirals:noise=0.1,train_size=200"]
    assert (refused.scores, refused.reason) == ({}, "a fixed dictionary")
    assert found[2].bars[0].met is None
    page = render.claims_page(query.claims())
    assert "holds — reproduced" in page
    assert "n/a: a fixed dictionary" in page
    assert len(render.claim_bars(query.claims())) == 5


def test_what_is_on_record_is_not_trained_again(claiming, recorder) -> None:
    first = reproduce(Request(claiming, settings=SETTINGS), recorder)
    trained = [len(recorder.past(study)) for study in first[0].studies]
    assert trained == [3, 2 + (2 - 1) + 2]  # a rate for the rival; then all seeds, its first known
    again = reproduce(Request(claiming, claims=("misses",), settings=SETTINGS), recorder)
    whole = reproduce(Request(claiming, settings=SETTINGS), recorder)
    assert whole[0].studies == first[0].studies
    assert again[0].studies != first[0].studies
    fresh = reproduce(Request(claiming, settings=SETTINGS, fresh=True), recorder)
    assert fresh[0].studies != first[0].studies


def test_a_page_keeps_what_another_machine_found(claiming, recorder, tmp_path: Path) -> None:
    reproduce(Request(claiming, claims=("misses",), settings=SETTINGS), recorder)
    page = tmp_path / "claims.md"
    render.write_claims(page, query.claims())
    elsewhere = [{**row, "plugin": "another"} for row in query.claims()]
    render.write_claims(page, elsewhere)
    render.write_claims(page, elsewhere)
    assert page.read_text().count("misses — not reproduced") == 2
    kept = json.loads(page.with_suffix(".json").read_text())
    assert sorted(row["plugin"] for row in kept) == sorted(["another", query.claims()[0]["plugin"]])


def test_claims_are_chosen_by_name_and_scale(claiming, recorder) -> None:
    with pytest.raises(UnknownName, match="no small claim named 'hold'. Did you mean 'holds'"):
        reproduce(Request(claiming, claims=("hold",), settings=SETTINGS), recorder)
    (big,) = reproduce(Request(claiming, scale="full", settings=SETTINGS), recorder)
    assert (big.claim, big.verdict) == ("big", "reproduced")
    assert big.command.endswith("--full")


EXTENDED = """

from automl.core.api import Bar, Claim, ClaimRun

OURS = ClaimRun(
    "ours", "spirals:train_size=200", Config(x=0.5, n=2), seeds=2, tune={"x": (0.9,)}
)
RIVAL = ClaimRun("rival", "spirals:noise=0.1,train_size=200", Config(x=0.6, n=2), seeds=2)

def theorem(seed):
    return {"gap": 0.1 * (seed + 1), "accuracy": 1.0}

Tested.claims = (
    Claim(
        "margins", "Ours is ahead by a margin.", "Table 1", (OURS, RIVAL),
        (
            Bar("ours", "accuracy", at_least=1.0, relative_to="rival", offset=0.25),
            Bar("ours", "accuracy", at_least=1.0, relative_to="rival", offset=0.35),
        ),
    ),
    Claim(
        "theorem", "The gap is small.", "Theorem 1", (),
        (
            Bar("numbers", "gap", at_most=0.21),
            Bar("numbers", "gap", at_most=0.1, rank=1),
            Bar("numbers", "gap", at_most=0.25, rank=3),
            Bar("numbers", "gap", at_most=0.25, rank=2),
        ),
        checks={"numbers": theorem}, check_seeds=3,
    ),
)
"""


def test_bars_take_margins_and_ranks_and_checks_need_no_fit(make_plugin, recorder) -> None:
    folder = make_plugin()
    path = Path(folder) / "plugin.py"
    path.write_text(path.read_text() + EXTENDED)
    margins, theorem = reproduce(Request(folder, settings=SETTINGS), recorder)
    assert [bar.met for bar in margins.bars] == [True, False]
    assert margins.bars[1].bar == "accuracy >= 1 x rival + 0.35"
    assert [bar.met for bar in theorem.bars] == [True, True, False, True]
    assert theorem.bars[2].bar == "gap <= 0.25 (seed of rank 3)"
    assert theorem.bars[2].ours == pytest.approx(0.3)
    assert (theorem.studies, theorem.runs[0].seeds) == ((), 3)


SUMMARISED = """

from automl.core.api import Bar, Claim, ClaimRun

TABLES = ("spirals:train_size=200", "spirals:noise=0.1,train_size=200")
RUNS = tuple(
    ClaimRun(label, table, Config(x=x, n=2), seeds=2)
    for table in TABLES for label, x in (("ours", 0.9), ("rival", 0.6))
)

def wins(rows):
    scores = {(row.run, row.on): row.scores["accuracy"] for row in rows}
    return {"ours": {"wins": sum(scores["ours", t] > scores["rival", t] for t in TABLES)}}

Tested.claims = (
    Claim(
        "wins", "Ours wins everywhere.", "Table 1", RUNS,
        (Bar("ours", "wins", at_least=2), Bar("ours", "accuracy", at_least=0.8, on=TABLES[0])),
        summary=wins,
    ),
)
"""


def test_a_summary_speaks_of_all_datasets_together(make_plugin, recorder) -> None:
    folder = make_plugin()
    path = Path(folder) / "plugin.py"
    path.write_text(path.read_text() + SUMMARISED)
    (found,) = reproduce(Request(folder, settings=SETTINGS), recorder)
    assert [(bar.ours, bar.on, bar.met) for bar in found.bars] == [
        (2, "", True),
        (pytest.approx(0.9), "spirals:train_size=200", True),
    ]
    assert len(found.runs) == 5
