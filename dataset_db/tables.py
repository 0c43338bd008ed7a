"""The tables: papers, code, studies, trials, scores, artifacts and everything measured later.

Surrogate keys, UTC times, foreign keys enforced. List views read one narrow row per study or
trial; series (``score``) and texts (``code``) live apart and are joined when asked for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from automl.core.record import StudyState, TrialState
from automl.dataset_db.types import Json, Utc, now


def one_of(column: str, allowed: tuple[str, ...]) -> CheckConstraint:
    """A check that a text column holds one of the allowed values."""
    values = ", ".join(f"'{value}'" for value in allowed)
    return CheckConstraint(f"{column} IN ({values})", name=f"{column}_known")


def json_column() -> Any:
    """A required JSON column."""
    return Field(sa_column=Column(Json, nullable=False))


def time_column(required: bool = False) -> Any:
    """A point in time; required ones default to now."""
    if required:
        return Field(default_factory=now, sa_column=Column(Utc, nullable=False, default=now))
    return Field(default=None, sa_column=Column(Utc))


def parent(table: str) -> Any:
    """A foreign key that goes with its parent, and an index on it."""
    key = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Field(sa_column=Column(key, nullable=False, index=True))


class Paper(SQLModel, table=True):
    """A publication."""

    __table_args__ = (UniqueConstraint("title", "year"),)
    id: int | None = Field(default=None, primary_key=True)
    title: str
    year: int
    arxiv: str = ""
    authors: str = ""


class Code(SQLModel, table=True):
    """A source text, stored once. Equal ``normalised`` hashes differ in layout only."""

    id: int | None = Field(default=None, primary_key=True)
    sha256: str = Field(unique=True)
    normalised: str = Field(index=True)
    text: str


class Plugin(SQLModel, table=True):
    """One state of a plugin's code."""

    __table_args__ = (UniqueConstraint("name", "version", "code_hash"),)
    id: int | None = Field(default=None, primary_key=True)
    paper_id: int = parent("paper")
    name: str = Field(index=True)
    version: int
    code_hash: str


class PluginCode(SQLModel, table=True):
    """Which texts a plugin consists of."""

    __tablename__ = "plugin_code"
    plugin_id: int = Field(foreign_key="plugin.id", primary_key=True, ondelete="CASCADE")
    file: str = Field(primary_key=True)
    code_id: int = Field(foreign_key="code.id")


class Dataset(SQLModel, table=True):
    """A dataset by its canonical name."""

    id: int | None = Field(default=None, primary_key=True)
    name: str
    hash: str = Field(unique=True)  # of name and info
    problem: str = Field(index=True)
    info: dict[str, Any] = json_column()


class Environment(SQLModel, table=True):
    """Python, packages, processor and devices, stored once."""

    id: int | None = Field(default=None, primary_key=True)
    hash: str = Field(unique=True)
    facts: dict[str, Any] = json_column()


class Study(SQLModel, table=True):
    """A search or a claim's runs: a narrow summary for lists, with its settings."""

    __table_args__ = (
        one_of("state", get_args(StudyState)),
        one_of("kind", ("search", "claim")),
        one_of("goal", ("min", "max")),
    )
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(index=True)
    kind: str
    state: str
    plugin_id: int = parent("plugin")
    dataset_id: int = parent("dataset")
    environment_id: int = parent("environment")
    metric: str
    goal: str
    unit: str = ""
    metrics: list[Any] = json_column()
    settings: dict[str, Any] = json_column()
    space: dict[str, Any] = json_column()
    seed: int
    budget_trials: int | None = None
    budget_seconds: float | None = None
    seconds: float = 0.0  # wall-clock spent so far
    n_complete: int = 0
    n_pruned: int = 0
    n_failed: int = 0
    best_value: float | None = None
    best_number: int | None = None
    message: str = ""
    owner: str = ""  # host:pid:start of the driver that runs it
    created_at: datetime = time_column(required=True)
    active_at: datetime = time_column(required=True)
    finished_at: datetime | None = time_column()


class Trial(SQLModel, table=True):
    """One configuration and what became of it."""

    __table_args__ = (
        one_of("state", get_args(TrialState)),
        UniqueConstraint("study_id", "number"),
        Index("trial_by_value", "study_id", "state", "value"),
    )
    id: int | None = Field(default=None, primary_key=True)
    study_id: int = Field(
        sa_column=Column(ForeignKey("study.id", ondelete="CASCADE"), nullable=False)
    )
    number: int
    state: str
    seed: int
    label: str = ""
    value: float | None = None
    step: int | None = None
    seconds: float = 0.0
    parameters: int | None = None
    macs: int | None = None
    bytes: int | None = None
    stopped: str = ""
    config: dict[str, Any] = json_column()
    params: dict[str, Any] = json_column()
    techniques: dict[str, Any] = json_column()
    scores: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))
    failure: dict[str, Any] | None = Field(default=None, sa_column=Column(Json))
    started_at: datetime = time_column(required=True)
    finished_at: datetime | None = time_column()


class Score(SQLModel, table=True):
    """A metric of a running fit at a step."""

    __table_args__ = ({"sqlite_with_rowid": False},)
    trial_id: int = Field(foreign_key="trial.id", primary_key=True, ondelete="CASCADE")
    split: str = Field(primary_key=True)
    step: int = Field(primary_key=True)
    metric: str = Field(primary_key=True)
    value: float


class Evaluation(SQLModel, table=True):
    """A metric of a fitted model on a split of a dataset; no value but a reason if refused."""

    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial")
    dataset: str
    split: str
    metric: str = ""
    value: float | None = None
    reason: str = ""


class Artifact(SQLModel, table=True):
    """A file that belongs to a trial; ``path`` is relative to the artifact folder."""

    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial")
    kind: str
    path: str
    sha256: str
    bytes: int


class Export(SQLModel, table=True):
    """A model made ready for a kind of runtime."""

    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial")
    target: str
    status: str
    folder: str
    files: list[Any] = json_column()
    parity: dict[str, Any] = json_column()
    report: dict[str, Any] = json_column()
    message: str = ""
    created_at: datetime = time_column(required=True)


class Benchmark(SQLModel, table=True):
    """A latency measurement of an exported model; times in microseconds."""

    id: int | None = Field(default=None, primary_key=True)
    export_id: int = parent("export")
    runtime: str
    device: str
    precision: str
    batch: int
    sizes: dict[str, Any] = json_column()
    p50_us: float | None = None
    p95_us: float | None = None
    mean_us: float | None = None
    min_us: float | None = None
    status: str
    record: dict[str, Any] = json_column()
    created_at: datetime = time_column(required=True)


class ProbeResult(SQLModel, table=True):
    """A number that a probe measured of a fitted model."""

    __tablename__ = "probe_result"
    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial")
    probe: str
    name: str
    value: float
    created_at: datetime = time_column(required=True)


class ClaimResult(SQLModel, table=True):
    """A verdict on a paper's claim, with the evidence."""

    __tablename__ = "claim_result"
    __table_args__ = (
        one_of("verdict", ("reproduced", "not reproduced", "inconclusive")),
        Index("claim_by_plugin", "plugin", "claim"),
    )
    id: int | None = Field(default=None, primary_key=True)
    plugin: str
    plugin_version: int
    code_hash: str
    claim: str
    statement: str
    source: str
    scale: str
    verdict: str
    bars: list[Any] = json_column()
    runs: list[Any] = json_column()
    studies: list[Any] = json_column()
    command: str
    created_at: datetime = time_column(required=True)
