"""Exports for training on models: splits, formats, prompts."""

from __future__ import annotations

import json
import string
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from automl.core.errors import ConfigError, DatabaseError, MissingExtra, UnknownName
from automl.core.record import PluginRecord, TrialEnd
from automl.dataset_db import corpus, near_duplicates, prompts
from automl.dataset_db.corpus import Selection
from automl.dataset_db.corpus_files import Options, export_models
from automl.dataset_db.engine import reading
from automl.dataset_db.schema import PLUGIN, SOURCE, STUDY, TRIAL
from automl.dataset_db.store import Store
from automl.dataset_db.types import now

PAPER = {"title": "A paper", "year": 2020, "arxiv": "", "authors": ""}
LINES = [f"    x = layer_{n}(x, {n})" for n in range(60)]


def code(kind: int, changes: int) -> str:
    """A network of a kind; a few changes leave it a near-duplicate."""
    lines = [line.replace("layer", f"kind_{kind}") for line in LINES]
    lines[:changes] = [f"    y_{n} = 1" for n in range(changes)]
    return "def net(x):\n" + "\n".join(lines) + "\n    return x\n\n\ndef helper(x):\n    return x\n"


@pytest.fixture
def filled(make_store: Callable[[], Store], spec, start, tmp_path: Path) -> Store:
    """Twelve networks of four kinds with two trials each, one study each, from a source."""
    store = make_store()
    with store.engine.begin() as connection:
        values = {
            "name": "published",
            "kind": "lemur",
            "licence": "MIT License",
            "state": "complete",
        }
        values |= {"version": "1", "origin": "https://example.org", "counts": {}}
        connection.execute(insert(SOURCE).values(**values, created_at=now()))
    for n in range(12):
        plugin = PluginRecord(f"net-{n}", 1, PAPER, {"net.py": code(n // 3, n % 3)})
        study = store.create_study(replace(spec, plugins=(plugin,)))
        for number, value in enumerate((0.1 + n / 50, 0.5 + n / 50)):
            config = {"lr": 0.1, "accuracy": 0.9, "duration": 3, "metric_acc": 0.9, "uid": "u"}
            store.start_trial(study, replace(start(number), plugin=plugin.name, config=config))
            store.finish_trial(
                study, TrialEnd(number, "complete", value, {"accuracy": value}, 7, 0.25)
            )
        store.close_study(study, "complete", 1, 1.0)
    with store.engine.begin() as connection:
        connection.execute(update(STUDY).values(source_id=select(SOURCE.c.id).scalar_subquery()))
        connection.execute(update(PLUGIN).where(PLUGIN.c.name < "net-2").values(family="old"))
    return store


def lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_row_per_network_and_dataset(db: str, filled, tmp_path: Path) -> None:
    told = export_models(tmp_path / "models.jsonl", db)
    assert told["rows"] == {"all": 12}
    rows = lines(tmp_path / "models.jsonl")
    assert [row["network"] for row in rows] == [f"net-{n}" for n in range(12)]
    first = rows[0]
    assert first["model"].endswith("/1")
    assert first["code"] == code(0, 0)
    assert (first["score"], first["metric"], first["goal"]) == (0.5, "accuracy", "max")
    assert first["config"] == {"lr": 0.1}  # what tells the outcome is not among the inputs
    assert (first["source"], first["licence"]) == ("published", "MIT License")
    assert first["origin"] == "https://example.org"
    assert len({row["group"] for row in rows}) == 4


def test_every_trial_and_filters(db: str, filled, tmp_path: Path) -> None:
    every = Selection(every_trial=True)
    assert export_models(tmp_path / "a", db, chosen=every)["rows"] == {"all": 24}
    one = Selection(plugin="net-3", dataset="spirals", source="published")
    told = export_models(tmp_path / "b", db, chosen=one, options=Options(code=False))
    assert told["rows"] == {"all": 1}
    assert "code" not in lines(tmp_path / "b")[0]
    with pytest.raises(ConfigError, match="no complete trial was chosen"):
        export_models(tmp_path / "c", db, chosen=Selection(dataset="nothing"))
    assert not (tmp_path / "c").exists() and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("format_", ["jsonl", "parquet"])
def test_formats_hold_the_same(db: str, filled, tmp_path: Path, format_: str) -> None:
    options = Options(format=format_, split="0.5,0.5", seed=3)
    told = export_models(tmp_path / "out", db, options=options)
    assert sum(told["rows"].values()) == 12
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"train.{format_}",
        f"test.{format_}",
    }
    again = export_models(tmp_path / "again", db, options=options)
    assert again["rows"] == told["rows"]
    for path in (tmp_path / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    if format_ == "parquet":
        rows = pq.read_table(tmp_path / "out" / "train.parquet").to_pylist()
        assert json.loads(rows[0]["config"]) == {"lr": 0.1}


def test_hugging_face_reads_it(db: str, filled, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")
    folder = tmp_path / "networks"
    told = export_models(folder, db, options=Options(format="hf", split="0.5,0.25,0.25"))
    assert told["rows"] == {"train": 6, "validation": 3, "test": 3}
    _, head, text = (folder / "README.md").read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["license"] == "mit"
    files = {part["split"]: part["path"] for part in facts["configs"][0]["data_files"]}
    for split, count in told["rows"].items():
        (path,) = folder.glob(files[split])
        assert pq.read_metadata(path).num_rows == count
    assert "| published | MIT License | https://example.org |" in text
    for column in pq.read_schema(path).names:
        assert f"| `{column}` |" in text


def test_no_near_duplicates_or_families_span_splits(db: str, filled, tmp_path: Path) -> None:
    for by_family in (False, True):
        path = tmp_path / f"{by_family}"
        options = Options(split="0.5,0.25,0.25", by_family=by_family)
        export_models(path, db, options=options)
        found = {row["network"]: part.stem for part in path.iterdir() for row in lines(part)}
        assert len(found) == 12
        for kind in range(4):
            assert len({found[f"net-{n}"] for n in range(3 * kind, 3 * kind + 3)}) == 1
        if by_family:  # net-0 of the first kind, net-10 of the last
            assert found["net-0"] == found["net-10"]


@settings(max_examples=60)
@given(
    seed=st.integers(0, 1000),
    threshold=st.sampled_from([0.7, 0.9]),
    shares=st.sampled_from(["0.8,0.1,0.1", "0.5,0.5", "0,1"]),
    by_family=st.booleans(),
)
def test_no_pair_across_splits_is_alike(seed, threshold, shares, by_family) -> None:
    draw = np.random.default_rng(seed)
    hashes = draw.integers(0, 2**32, (4, 128), dtype=np.uint32)[draw.integers(0, 4, 40)]
    changed = draw.random((40, 128)) < draw.choice([0.0, 0.05, 0.15, 0.9], (40, 1))
    hashes = np.where(changed, draw.integers(0, 2**32, (40, 128), dtype=np.uint32), hashes)
    families = draw.choice(["", "a", "b"], 40, p=[0.8, 0.1, 0.1])
    rows = [{"id": n, "family": str(families[n])} for n in range(40)]
    found = near_duplicates.Networks(rows, [f"{n:064x}" for n in draw.permutation(40)], hashes)
    groups = corpus.group_names(found, threshold, by_family=by_family)
    given_ = corpus.assign(Counter(groups.values()), corpus.fractions(shares), seed)
    split = np.array([given_[groups[n]] for n in range(40)])
    across = split[:, None] != split
    assert (hashes[:, None] == hashes).mean(axis=2)[across].max(initial=0) < threshold
    if by_family:
        same = (families[:, None] == families) & (families != "")
        assert not (same & across).any()
    assert set(split) <= set(corpus.fractions(shares))
    if shares == "0,1":
        assert set(split) == {"test"}


def test_shares_are_met_as_far_as_groups_allow() -> None:
    sizes = {f"g{n}": 1 for n in range(1000)} | {"large": 300}
    counts: Counter[str] = Counter()
    given_ = corpus.assign(sizes, corpus.fractions("0.8,0.1,0.1"), 0)
    for group, split in given_.items():
        counts[split] += sizes[group]
    assert counts == {"train": 1040, "validation": 130, "test": 130}
    assert given_ == corpus.assign(
        dict(reversed(sizes.items())), corpus.fractions("0.8,0.1,0.1"), 0
    )
    assert given_ != corpus.assign(sizes, corpus.fractions("0.8,0.1,0.1"), 1)


@pytest.mark.parametrize("text", ["0.8", "0.8,0.1", "1.1,-0.1", "a,b", "0.25,0.25,0.25,0.25"])
def test_fractions_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="must be two or three fractions that sum to 1"):
        corpus.fractions(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"format": "csv"}, "must be jsonl, parquet, hf"),
        ({"budget": 0}, "at least 1 token"),
        ({"template": "predict", "code": False}, "leave out --no-code"),
    ],
)
def test_options_that_make_no_sense(options, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Options(**options)


def test_nothing_is_overwritten_and_nothing_half_written(db, filled, tmp_path, monkeypatch) -> None:
    path = tmp_path / "models.jsonl"
    path.write_text("mine")
    with pytest.raises(DatabaseError, match="exists already"):
        export_models(path, db)
    assert path.read_text() == "mine"
    with pytest.raises(DatabaseError, match="there is no folder"):
        export_models(tmp_path / "no" / "models.jsonl", db)

    def broken(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("automl.dataset_db.corpus_files.dumps", broken)
    with pytest.raises(DatabaseError, match=r"new.jsonl.partial cannot be written: No space left"):
        export_models(tmp_path / "new.jsonl", db)
    assert not list(tmp_path.glob("*new*"))


# ---------------------------------------------------------------- prompts


def test_prompts_of_the_built_in_templates(db: str, filled, tmp_path: Path) -> None:
    for name in prompts.BUILT_IN:
        told = export_models(tmp_path / name, db, options=Options(template=name))
        rows = lines(tmp_path / name)
        assert told["rows"]["all"] == len(rows) > 0
        for row in rows:
            assert "0.9" not in row["prompt"]
            assert row["tokens"] <= 4096
            assert row["tokens"] == sum(
                prompts.approximate(row[part]) for part in ("prompt", "completion")
            )
    predicted = lines(tmp_path / "predict")
    assert [row["completion"] for row in predicted] == [f"{0.5 + n / 50:.4f}" for n in range(12)]
    assert code(0, 0).strip() in predicted[0]["prompt"]


def test_a_better_neighbour_is_alike_better_and_in_the_same_split(db, filled, tmp_path) -> None:
    options = Options(template="improve", split="0.5,0.5")
    told = export_models(tmp_path / "out", db, options=options)
    assert told["left_out"] == {"no better network that is alike": 4}  # the best of each kind
    rows = [row for part in ("train", "test") for row in lines(tmp_path / "out" / f"{part}.jsonl")]
    assert len(rows) == 8
    for row in rows:
        best = 3 * (int(row["network"][4:]) // 3) + 2
        assert code(best // 3, best % 3).strip() in row["completion"]


def test_the_prompt_does_not_depend_on_the_outcome(db: str, filled, tmp_path: Path) -> None:
    for name in ("predict", "write"):
        export_models(tmp_path / f"{name}-1", db, options=Options(template=name))
    with filled.engine.begin() as connection:
        better = {"objective": 0.875, "step": 99, "seconds": 1e6, "scores": {"accuracy": 0.875}}
        connection.execute(update(TRIAL).where(TRIAL.c.number == 1).values(**better))
    for name in ("predict", "write"):
        export_models(tmp_path / f"{name}-2", db, options=Options(template=name))
        one, two = lines(tmp_path / f"{name}-1"), lines(tmp_path / f"{name}-2")
        assert [row["prompt"] for row in one] == [row["prompt"] for row in two]
        changed = [row["completion"] for row in one] != [row["completion"] for row in two]
        assert changed == (name == "predict")


def test_what_exceeds_the_budget_is_trimmed_or_left_out(db: str, filled, tmp_path: Path) -> None:
    whole = lines_of_template(db, tmp_path / "whole", 4096)
    least = min(row["tokens"] for row in whole)
    trimmed = lines_of_template(db, tmp_path / "trimmed", least - 1)
    assert {row["trimmed"] for row in trimmed} == {True}
    assert all(row["tokens"] < least for row in trimmed)
    assert all("# left out to fit: net" in row["prompt"] for row in trimmed)
    assert all("def helper" in row["prompt"] for row in trimmed)  # the last function is kept
    with pytest.raises(ConfigError, match=r"every model was left out \(over the budget: 12\)"):
        export_models(tmp_path / "none", db, options=Options(template="predict", budget=9))


def lines_of_template(db: str, path: Path, budget: int) -> list[dict[str, Any]]:
    """The prompts of template predict within a budget."""
    export_models(path, db, options=Options(template="predict", budget=budget))
    return lines(path)


def test_a_template_of_ones_own(db: str, filled, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('prompt = "{{{network}}} on {dataset}"\ncompletion = "{score} at {step}"\n')
    export_models(tmp_path / "out", db, options=Options(template=str(path)))
    first = lines(tmp_path / "out")[0]
    assert (first["prompt"], first["completion"]) == ("{net-0} on spirals", "0.5000 at 7")


@pytest.mark.parametrize(
    ("prompt", "completion", "said"),
    [
        ("{score}", "", r"the prompt of template 'mine' uses \{score\}"),
        ("{better_code}", "", r"uses \{better_code\}"),
        ("{cod}", "", "Did you mean 'code'?"),
        ("{code.__class__}", "", "must be a plain name"),
        ("{code[0]}", "", "must be a plain name"),
        ("{code!r}", "", "must be a plain name"),
        ("{code:>99999999}", "", "must be a plain name"),
        ("{}", "", "must be a plain name"),
        ("{code", "", "is malformed"),
        ("", "}", "the completion of template 'mine' is malformed"),
    ],
)
def test_templates_that_are_refused(prompt: str, completion: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        prompts.Template("mine", prompt, completion)


@given(st.text(alphabet="{}[].!:a_" + string.digits, max_size=12))
def test_a_template_is_refused_or_filled_with_plain_names(text: str) -> None:
    try:
        made = prompts.Template("any", text, "")
    except ConfigError:
        return
    assert made.fields <= set(prompts.FEATURES)
    made.prompt.format_map({})  # no field of these letters exists


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt = 1\ncompletion = ''", "must hold two texts"),
        ("prompt = ''", "must hold two texts"),
        ("prompt = ", "cannot be read as TOML"),
        (None, "Built in: predict, improve, write; or name a TOML file"),
    ],
)
def test_template_files_that_are_refused(tmp_path: Path, content: str | None, said: str) -> None:
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError, match=said):
        prompts.template(str(path))


def test_tokenizers(tmp_path: Path, monkeypatch) -> None:
    assert prompts.counter("approximate")("x" * 10) == 4
    with pytest.raises(ConfigError, match="must be approximate, tiktoken:ENCODING or a tokenizer"):
        prompts.counter("gpt")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="needs tiktoken: pip install tiktoken"):
        prompts.counter("tiktoken:cl100k_base")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MissingExtra, match="needs tokenizers"):
        prompts.counter(str(tmp_path / "tokenizer.json"))


def test_functions_are_left_out_whole() -> None:
    text = (
        "import x\n\n@deco\ndef a():\n    def inner(): pass\n\n"
        "class B:\n    async def c(self):\n        pass\n"
    )
    found = prompts.functions(text)
    assert [name for name, _, _ in found] == ["a", "c"]
    left = prompts.without(text, found)
    assert left == ("import x\n\n# left out to fit: a\n\nclass B:\n    # left out to fit: c\n")
    assert prompts.functions("def (") == []


def test_rows_come_in_parts_that_are_whole(db: str, filled, monkeypatch) -> None:
    monkeypatch.setattr(corpus, "FETCHED", 5)
    with reading(db) as connection:
        some = list(corpus.stream(connection, Selection(every_trial=True)))
    assert [len(rows) for rows in some] == [5, 5, 5, 5, 4]
    assert all(row["code"] for rows in some for row in rows)


def test_a_source_that_does_not_exist(db: str, filled) -> None:
    with pytest.raises(UnknownName, match=r"no source 'publishd'. Did you mean 'published'"):
        near_duplicates.duplicates(db, source="publishd")
    assert near_duplicates.duplicates(db, source="published")["networks"] == 12
