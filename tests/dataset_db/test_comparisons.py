"""Questions over many models: records by step, fronts, summaries, neighbours, joint rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from automl.core.errors import ConfigError, UnknownName
from automl.core.objectives import undominated
from automl.dataset_db import comparisons, origins, pages
from automl.dataset_db.frames import records
from automl.dataset_db.lemur.importer import import_lemur
from automl.dataset_db.records import record_page
from tests.dataset_db.test_lemur import NET, published, record, wheel

LONG = NET + "".join(
    f"\n\ndef layer_{i}(x, scale={i}):\n    return x * scale + {i}\n" for i in range(40)
)
NETWORKS = {"cnn-1": LONG, "cnn-2": LONG.replace("x * scale + 7", "x / scale - 7"), "mlp": NET}


@pytest.fixture
def filled(db: str, tmp_path: Path) -> str:
    """A database with a small version of LEMUR and three networks on one more dataset."""
    files = published()
    for number, (name, text) in enumerate(NETWORKS.items()):
        folder = f"ab/nn/stat/train/img-classification_svhn_acc_{name}"
        for epoch in (1, 2, 3):
            told = [
                record(
                    uid, 0.1 * number + 0.2 * uid + 0.01 * epoch, duration=epoch * 10**9 * (uid + 1)
                )
                for uid in (0, 1)
            ]
            files[f"{folder}/{epoch}.json"] = json.dumps(told)
        files[f"ab/nn/nn/{name}.py"] = text
    import_lemur(wheel(tmp_path / "some.whl", files), db)
    return db


def test_records_are_a_row_for_each_trial_and_step(filled: str) -> None:
    frame = records(filled, dataset="svhn", code=True, texts=True)
    assert len(frame) == 18
    assert list(frame["step"][:3]) == [1, 2, 3]
    first = frame.iloc[0]
    assert (first["plugin"], first["value"], first["seconds"]) == ("cnn-1", pytest.approx(0.01), 1)
    assert first["code"] == {"cnn-1.py": LONG}
    assert frame["code"][0] is frame["code"][5]  # one object for each network
    assert first["transform_code"] == "def transform(norm): return norm\n"
    assert first["metric_code"] is None
    assert len(records(filled, dataset="svhn", step=2)) == 6
    assert len(records(filled, plugin=["cnn-1", "mlp"], dataset="svhn")) == 12
    assert len(records(filled, where={"plugin": {"prefix": "cnn"}}, dataset="svhn")) == 12
    assert len(records(filled, problem="image-classification", source="lemur-9.9.9")) == 33


def test_the_best_record_of_each_network_at_each_step(filled: str) -> None:
    frame = records(filled, dataset="svhn", best=True)
    assert len(frame) == 9
    assert set(frame["label"]) == {f"{1:032x}"}
    assert frame["value"].max() == pytest.approx(0.43)


def test_pages_of_the_best_records_join_up(filled: str) -> None:
    whole = records(filled, best=True)
    found: list[tuple[int, int]] = []
    mark = None
    while True:
        page = records(filled, best=True, limit=2, after=mark)
        found += zip(page["trial_id"], page["step"], strict=True)
        if (mark := page.attrs["next"]) is None:
            break
    assert found == list(zip(whole["trial_id"], whole["step"], strict=True))


def test_settings_become_columns_and_incomplete_rows_are_dropped(filled: str) -> None:
    frame = records(filled, dataset="mnist", config_columns=True, config=False)
    assert {"config.lr", "config.momentum", "config.batch_size"} <= set(frame)
    assert frame["seconds"].isna().any()
    few = records(filled, dataset="mnist", complete=True, columns=["plugin"])
    assert 0 < len(few) < len(frame)
    assert few["seconds"].notna().all()
    shown = records(filled, plugin="AirNet", facts=True)
    assert shown["facts"][0] == {"total_params": 12}


def test_pages_of_records_join_up(filled: str) -> None:
    whole = records(filled)
    found: list[dict[str, Any]] = []
    mark = None
    while True:
        page = record_page(filled, limit=5, after=mark, code=True)
        found += page["rows"]
        assert {row["code_hash"] for row in page["rows"]} == set(page["code"])
        if (mark := page["next"]) is None:
            break
    assert [(row["trial_id"], row["step"]) for row in found] == list(
        zip(whole["trial_id"], whole["step"], strict=True)
    )
    assert any(row["seconds"] is None for row in found)
    with pytest.raises(ConfigError, match="marks no page of records"):
        records(filled, after='["objective", 1, 2]')


def test_rows_name_their_code_whatever_columns_are_asked_for(filled) -> None:
    page = record_page(filled, limit=3, code=True, columns=["objective"])
    assert {row["code_hash"] for row in page["rows"]} == set(page["code"])
    assert "plugin" not in page["rows"][0]
    assert record_page(filled, limit=3, code=True, columns=["objective"], study=99)["code"] == {}


def test_rows_are_those_of_the_frame(filled: str) -> None:
    for options in (
        {"dataset": "svhn", "best": True, "code": True, "texts": True},
        {"dataset": "mnist", "config_columns": True, "config": False},
        {"complete": True, "facts": True, "columns": ["objective", "plugin"]},
    ):
        frame, page = records(filled, **options), record_page(filled, limit=None, **options)
        wanted = frame.astype(object).where(frame.notna(), None).to_dict("records")
        if "code" in frame:
            assert [page["code"][row["code_hash"]] for row in page["rows"]] == [
                row.pop("code") for row in wanted
            ]
        assert wanted and page["rows"] == wanted


@pytest.mark.parametrize("ahead", [1, 4, 5000])
def test_the_first_page_of_the_best_is_that_of_all(
    filled: str, monkeypatch: pytest.MonkeyPatch, ahead: int
) -> None:
    monkeypatch.setattr(pages, "AHEAD", ahead)  # trials that are looked at before all are ranked
    for unique in pages.UNIQUE:
        for filters in ({}, {"dataset": "svhn"}, {"where": {"seconds": {"<": 3}}}, {"study": 99}):
            ask = {"unique": unique, "columns": ["trial_id"], **filters}
            every = pages.model_page(filled, limit=None, **ask)["rows"]
            for limit in (1, 2, len(every) + 1):
                found = pages.model_page(filled, limit=limit, **ask)
                assert found["rows"] == every[:limit]
                assert (found["next"] is None) == (len(every) <= limit)


def test_the_best_of_each_network_with_its_source(filled: str) -> None:
    page = pages.model_page(filled, dataset="svhn", unique="plugin", code=True)
    assert [row["plugin"] for row in page["rows"]] == ["mlp", "cnn-2", "cnn-1"]
    assert {row["licence"] for row in page["rows"]} == {"MIT License"}
    assert page["code"][page["rows"][0]["code_hash"]] == {"mlp.py": NET}
    assert page["next"] is None
    few = pages.model_page(filled, dataset="svhn", unique="plugin", limit=2, columns=["plugin"])
    more = pages.model_page(filled, dataset="svhn", unique="plugin", limit=2, after=few["next"])
    assert [*few["rows"], more["rows"][0]["plugin"]] == [
        {"plugin": "mlp"},
        {"plugin": "cnn-2"},
        "cnn-1",
    ]


def test_the_front_holds_what_nothing_beats(filled: str) -> None:
    found = comparisons.pareto(filled, dataset="svhn", objectives=("objective", "seconds"))
    assert [(row["plugin"], row["seconds"]) for row in found] == [("mlp", 6.0), ("mlp", 3.0)]
    assert comparisons.pareto(filled, dataset="svhn") == []  # no parameters are on record


@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 3)))
def test_a_front_is_what_the_definition_says(costs: np.ndarray) -> None:
    def beaten(point: np.ndarray) -> bool:
        return any((other <= point).all() and (other < point).any() for other in costs)

    assert undominated(costs).tolist() == [not beaten(point) for point in costs]


def test_groups_are_counted_and_summed_up(filled: str) -> None:
    rows = comparisons.aggregate(
        filled, by=("dataset", "family"), quantiles=(0, 0.5, 1), where={"dataset": "svhn"}
    )
    assert [(row["family"], row["count"]) for row in rows] == [("cnn", 4), ("mlp", 2)]
    first = rows[0]
    assert (first["q0"], first["q0.5"], first["q1"]) == pytest.approx((0.03, 0.13, 0.33))
    assert (first["min"], first["max"], first["mean"]) == pytest.approx((0.03, 0.33, 0.18))
    for wrong in ({"by": ("colour",)}, {"of": "colour"}, {"quantiles": (2,)}, {"by": ()}):
        with pytest.raises(ConfigError):
            comparisons.aggregate(filled, **wrong)


def test_neighbours_are_alike_by_their_code(filled: str) -> None:
    found = comparisons.similar(filled, anchor="cnn-1")
    assert found[0]["plugin"] == "cnn-2"
    assert 0.8 < found[0]["jaccard"] < 1
    assert found[0]["jaccard"] > found[1]["jaccard"]
    own = comparisons.similar(filled, text=LONG)[0]
    assert (own["plugin"], own["jaccard"], own["exact"]) == ("cnn-1", 1.0, True)
    assert comparisons.similar(filled, anchor="cnn-1", band=(0.99, 1.0)) == []
    assert len(comparisons.similar(filled, anchor="cnn-1", band=(0, 0.5))) == 5
    with pytest.raises(UnknownName, match="Did you mean 'mlp'"):
        comparisons.similar(filled, anchor="mlq")
    for wrong in ({}, {"anchor": "mlp", "text": "x"}, {"anchor": "mlp", "band": "huge"}):
        with pytest.raises(ConfigError):
            comparisons.similar(filled, **wrong)
    with pytest.raises(ConfigError, match="two numbers"):
        comparisons.similar(filled, anchor="mlp", band=(0.9, 0.1))


def test_joint_rows_are_alike_and_different_as_asked(filled: str) -> None:
    found = comparisons.joined(filled, dataset="svhn", n=3, better=True)
    assert [[row["plugin"] for row in joint] for joint in found] == [["cnn-1", "cnn-2", "mlp"]]
    pairs = comparisons.joined(filled, dataset="svhn", different=("family",))
    assert [[row["plugin"] for row in joint] for joint in pairs] == [["cnn-2", "mlp"]]
    every = comparisons.joined(filled, dataset="svhn", unique=None, different=("plugin",))
    assert len(every) == 3
    for wrong in ({"n": 1}, {"same": ("colour",)}):
        with pytest.raises(ConfigError):
            comparisons.joined(filled, **wrong)


def test_what_was_published_beside_the_records(filled: str) -> None:
    source = origins.sources(filled)[0]
    assert (source["name"], source["counts"]["records"]) == ("lemur-9.9.9", 35)
    run = origins.device_runs(filled, plugin="AirNet")[0]
    assert (run["device"], run["valid"], run["duration"], run["unit"]) == (
        *("phone", True, 155, "unknown (ms?)"),
    )
    found = origins.networks(filled, prefix=["cnn", "Air"], code=True)
    assert [row["plugin"] for row in found] == ["AirNet", "cnn-1", "cnn-2"]
    assert found[0]["facts"] == {"total_params": 12}
    assert found[1]["code"] == {"cnn-1.py": LONG}
    flag = origins.flags(filled, reason="no uid")[0]
    assert (flag["place"], flag["step"]) == (
        "ab/nn/stat/train/img-classification_mnist_acc_ga-1",
        2,
    )
    first = origins.flags(filled, limit=3)
    second = origins.flags(filled, limit=3, after=first[-1]["id"])
    assert len({row["id"] for row in first + second}) == 6
    assert origins.counted(filled) == [{"source": "lemur-9.9.9", "studies": 7, "trials": 19}]
