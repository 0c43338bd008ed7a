"""Duplicates, near-duplicates and what is similar to a text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from automl.core.errors import ConfigError, UnknownName
from automl.core.record import PluginRecord, StudySpec
from automl.dataset_db import near_duplicates
from automl.dataset_db.comparisons import similar
from automl.dataset_db.schema import CODE
from automl.dataset_db.store import Store

BODY = "\n".join(f"    layer_{n} = conv(x, {n}, stride={n % 3})" for n in range(40))
NETWORK = f"def net(x):\n{BODY}\n    return x\n"
PAPER = {"title": "A paper", "year": 2020, "arxiv": "", "authors": ""}


@pytest.fixture
def record(make_store: Callable[[], Store], spec: StudySpec) -> Callable[..., dict[str, int]]:
    """Records networks of one file each; returns their ids."""

    def make(**texts: str) -> dict[str, int]:
        from dataclasses import replace

        from automl.dataset_db.catalogue import entrants

        plugins = tuple(
            PluginRecord(name, 1, PAPER, {f"{name}.py": text}) for name, text in texts.items()
        )
        store = make_store()
        study = store.create_study(replace(spec, plugins=plugins))
        with store.engine.connect() as connection:
            return entrants(connection, study)

    return make


def names(groups: list[list[dict[str, Any]]]) -> list[list[str]]:
    """The names of groups of networks."""
    return [[network["name"] for network in group] for group in groups]


def test_exact_and_near_duplicates(db: str, record) -> None:
    ids = record(
        a=NETWORK,
        b="# the same\n" + NETWORK,
        c=NETWORK.replace("stride=2", "stride=1", 1),
        d="\n".join(f"class C{n}: x = {n}" for n in range(40)),
        e="not python (",
        f="not  python (",
    )
    found = near_duplicates.duplicates(db)
    assert (found["networks"], found["distinct"]) == (6, 5)
    assert names(found["exact"]) == [["a", "b"]]
    assert names(found["near"]) == [["a", "b", "c"], ["e", "f"]]
    assert near_duplicates.clusters(db) == {
        ids["a"]: ids["a"],
        ids["b"]: ids["a"],
        ids["c"]: ids["a"],
        ids["d"]: ids["d"],
        ids["e"]: ids["e"],
        ids["f"]: ids["e"],
    }
    assert names(near_duplicates.duplicates(db, threshold=1)["near"]) == [["e", "f"]]


def test_neighbours_of_a_text(db: str, record) -> None:
    record(a=NETWORK, c=NETWORK.replace("stride=2", "stride=1", 1), d="x = 1")
    found = similar(db, text="'''Docs.'''\n" + NETWORK, band=(0.9, 1))
    assert [(row["plugin"], row["exact"]) for row in found] == [("a", True), ("c", False)]
    assert found[0]["jaccard"] == 1 > found[1]["jaccard"] > 0.9
    assert len(similar(db, text=NETWORK, limit=1)) == 1


def test_a_network_of_several_files_is_one_network(db: str, store, spec, with_plugin) -> None:
    half = NETWORK.index("    layer_20")
    store.create_study(with_plugin(name="one", code={"a.py": NETWORK, "b.py": "y = 1"}))
    store.create_study(with_plugin(name="two", code={"x.py": "y = 1", "z.py": NETWORK}))
    store.create_study(with_plugin(name="part", code={"a.py": NETWORK[:half]}))
    assert names(near_duplicates.duplicates(db)["exact"]) == [["one", "two"]]


def test_texts_recorded_before_there_were_fingerprints(db: str, record, make_store) -> None:
    record(a=NETWORK, b=NETWORK + "\n")
    with make_store().engine.begin() as connection:
        connection.execute(update(CODE).values(minhash=None))
    assert names(near_duplicates.duplicates(db)["exact"]) == [["a", "b"]]


def test_only_one_source(db: str, record) -> None:
    record(a=NETWORK, b=NETWORK + "\n")
    with pytest.raises(UnknownName, match="there is no source 'lemur-2.1.0'"):
        near_duplicates.duplicates(db, source="lemur-2.1.0")


@pytest.mark.parametrize("threshold", [0.4, 1.1, float("nan")])
def test_thresholds_that_mean_nothing(db: str, store, threshold: float) -> None:
    with pytest.raises(ConfigError, match="must be from 0.5 to 1, e.g. 0.9"):
        near_duplicates.duplicates(db, threshold=threshold)


def test_an_empty_database(db: str, store) -> None:
    assert near_duplicates.clusters(db) == {}
    assert near_duplicates.duplicates(db)["networks"] == 0
    assert similar(db, text=NETWORK) == []


@given(
    seed=st.integers(0, 10_000),
    kinds=st.integers(1, 6),
    threshold=st.sampled_from([0.5, 0.6, 0.75, 0.9, 0.97, 1.0]),
)
def test_clusters_are_the_components_of_all_close_pairs(seed, kinds, threshold) -> None:
    """By brute force over all pairs; the hashes drift, so that chains and borders occur."""
    draw = np.random.default_rng(seed)
    hashes = draw.integers(0, 2**32, (kinds, 128), dtype=np.uint32)[draw.integers(0, kinds, 60)]
    changed = draw.random((60, 128)) < draw.choice([0.0, 0.03, 0.1, 0.25], (60, 1))
    hashes = np.where(changed, draw.integers(0, 3, hashes.shape, dtype=np.uint32), hashes)
    same = (hashes[:, None] == hashes[None]).mean(axis=-1) >= threshold
    expected = np.arange(60)
    for _ in range(60):
        expected = np.min(np.where(same, expected[None], 60), axis=1)
    found = near_duplicates.Networks([], [str(n) for n in range(60)], hashes)
    assert near_duplicates.cluster_of(found, threshold) == expected.tolist()
