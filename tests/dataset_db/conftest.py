"""Every test of a database on both engines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automl.core.record import PluginRecord, StudySpec, TrialEnd, TrialStart
from automl.dataset_db.store import Store

SPEC = StudySpec(
    name="tested",
    kind="search",
    plugins=(
        PluginRecord(
            "tested",
            1,
            {"title": "A paper", "year": 2020, "arxiv": "2001.00001", "authors": "A. Author"},
            {"__init__.py": "x = 1\n", "model.py": '"""Docs."""\ny = 2\n'},
        ),
    ),
    dataset="spirals",
    info={"name": "spirals", "problem": "tabular-classification", "sizes": {"train": 10}},
    metrics=(("accuracy", "max", ""), ("nll", "min", "nats")),
    space={"tested": {"x": {"name": "FloatDistribution", "attributes": {"low": 0.0, "high": 1.0}}}},
    settings={"search": {"seed": 0}, "plugins": {"tested": {"reference": "tested"}}},
    environment={"python": "3.11", "packages": {"torch": "2.9"}},
    trials=10,
    timeout=None,
    seed=7,
)


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database: a file name, then a PostgreSQL URL.

    Where a test asks for a ``store`` that is open already, PostgreSQL's has our tables: it is one
    that a test before has used, and was emptied.
    """
    if request.param == "sqlite":
        yield str(tmp_path / "models.db")
    elif "store" in request.fixturenames:
        with request.getfixturevalue("postgres_server").migrated() as url:
            yield url
    else:
        yield request.getfixturevalue("postgres")


@pytest.fixture
def make_store(db: str, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens the database for writing, as often as asked."""
    opened: list[Store] = []

    def make(**options: Any) -> Store:
        opened.append(Store(db, artifacts=tmp_path / "artifacts", **options))
        return opened[-1]

    yield make
    for store in opened:
        store.engine.dispose()


@pytest.fixture
def store(make_store: Callable[[], Store]) -> Store:
    """The database, open for writing."""
    return make_store()


@pytest.fixture
def spec() -> StudySpec:
    """A study whose objective is accuracy."""
    return copy.deepcopy(SPEC)


@pytest.fixture
def with_plugin(spec: StudySpec) -> Callable[..., StudySpec]:
    """Makes that study with another state of its plugin."""

    def make(**changes: Any) -> StudySpec:
        return replace(spec, plugins=(replace(spec.plugins[0], **changes),))

    return make


@pytest.fixture
def study(store: Store, spec: StudySpec) -> int:
    """That study, recorded and run by this process."""
    return store.create_study(spec)


@pytest.fixture
def start() -> Callable[..., TrialStart]:
    """Makes a trial that is handed out."""

    def make(number: int, x: float = 0.5, **changes: Any) -> TrialStart:
        return replace(
            TrialStart(number, "tested", number + 100, {"x": x}, {"x": x, "n": 3}), **changes
        )

    return make


@pytest.fixture
def run_trial(start: Callable[..., TrialStart]) -> Callable[..., None]:
    """Tells a store of a whole trial with one report; not flushed."""

    def run(
        store: Store, study: int, number: int, value: float | None = 0.5, **changes: Any
    ) -> None:
        plugin = changes.pop("plugin", "tested")
        store.start_trial(study, start(number, changes.pop("x", 0.5), plugin=plugin))
        scores = {} if value is None else {"accuracy": value, "nll": 1 - value}
        store.report(study, number, 1, "valid", scores)
        end = TrialEnd(number, "complete", value, scores, 1, 0.25)
        store.finish_trial(study, replace(end, **changes))

    return run
