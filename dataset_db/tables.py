"""The tables: papers, code, studies, trials, scores, artifacts and everything measured later.

Surrogate keys, UTC times, foreign keys enforced. List views read one narrow row per study or
trial; series (``score``) and texts (``code``) live apart and are joined when asked for.
Rows are written by ``store`` and never edited in place, so the classes check nothing: the
database does.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, get_args

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    UniqueConstraint,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from automl.core.record import StudyState, TrialState
from automl.dataset_db.types import Json, Text, Utc, now

METADATA = MetaData(
    naming_convention={  # a later migration can only change what has a name
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
VERDICTS = ("reproduced", "not reproduced", "inconclusive")


class Row(SQLModel, registry=registry(metadata=METADATA)):
    """Base of the tables; a registry of its own keeps other users of SQLModel apart."""


def one_of(column: str, allowed: tuple[str, ...]) -> CheckConstraint:
    """A check that a text column holds one of the allowed values."""
    values = ", ".join(f"'{value}'" for value in allowed)
    return CheckConstraint(f"{column} IN ({values})", name=f"{column}_known")


def text(*, key: bool = False, index: bool = False, required: bool = False) -> Any:
    """A text column; empty by default unless it is required or a key."""
    if key:
        return Field(sa_type=Text, primary_key=True)
    if required or index:
        return Field(sa_type=Text, index=index)
    return Field(default="", sa_type=Text)


def whole(*, required: bool = False) -> Any:
    """An integer of up to 64 bits, NULL by default."""
    return Field(sa_type=BigInteger) if required else Field(default=None, sa_type=BigInteger)


def json(*, required: bool = True) -> Any:
    """A JSON column."""
    if required:
        return Field(sa_column=Column(Json, nullable=False))
    return Field(default=None, sa_column=Column(Json))


def moment(*, required: bool = True) -> Any:
    """A point in time; required ones default to now."""
    if required:
        return Field(default_factory=now, sa_column=Column(Utc, nullable=False, default=now))
    return Field(default=None, sa_column=Column(Utc))


def parent(table: str, *, index: bool = True) -> Any:
    """A foreign key to a row that this one goes with, and an index on it."""
    key = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Field(sa_column=Column(key, nullable=False, index=index))


def shared(table: str, *, index: bool = True) -> Any:
    """A foreign key to a row that others use too: it cannot be deleted while it is used."""
    return Field(sa_column=Column(ForeignKey(f"{table}.id"), nullable=False, index=index))


def origin() -> Any:
    """A foreign key to the source of imported records; NULL for our own."""
    return Field(default=None, sa_column=Column(ForeignKey("source.id"), nullable=True))


def cost() -> Any:
    """The objective, signed so that less is better; infinite where there is none."""
    return Field(default=math.inf, sa_column=Column(Float, nullable=False, default=math.inf))


class Paper(Row, table=True):
    """A publication."""

    __table_args__ = (UniqueConstraint("title", "year", "arxiv", "authors"),)
    id: int | None = Field(default=None, primary_key=True)
    title: str = text(required=True)
    year: int
    arxiv: str = text()
    authors: str = text()


class Source(Row, table=True):
    """A published data set whose records were imported, with its licence and origin."""

    __table_args__ = (one_of("state", ("importing", "complete")),)
    id: int | None = Field(default=None, primary_key=True)
    name: str = Field(sa_type=Text, unique=True)
    kind: str = text(required=True)
    version: str = text()
    licence: str = text()
    origin: str = text()
    state: str = text(required=True)
    counts: dict[str, Any] = json()
    created_at: datetime = moment()


class Code(Row, table=True):
    """A source text, stored once. Equal ``normalised`` hashes differ in layout only."""

    id: int | None = Field(default=None, primary_key=True)
    sha256: str = Field(sa_type=Text, unique=True)
    normalised: str = text(index=True)
    minhash: bytes | None = Field(default=None, sa_type=LargeBinary)  # see duplicates
    text: str = text(required=True)


class SourceFile(Row, table=True):
    """A text of an imported data set that belongs to no network: a transform, metric or loader."""

    __tablename__ = "source_file"
    source_id: int = Field(foreign_key="source.id", primary_key=True, ondelete="CASCADE")
    path: str = text(key=True)
    code_id: int = shared("code")


class Plugin(Row, table=True):
    """One state of a plugin's code."""

    __table_args__ = (UniqueConstraint("name", "version", "code_hash", "paper_id"),)
    id: int | None = Field(default=None, primary_key=True)
    paper_id: int = shared("paper")
    name: str = text(required=True)
    version: int
    code_hash: str = text(index=True)
    family: str = text()  # of an imported network: networks of one origin share it
    facts: dict[str, Any] | None = json(required=False)  # published statistics of an imported one


class PluginCode(Row, table=True):
    """Which texts a plugin consists of."""

    __tablename__ = "plugin_code"
    plugin_id: int = Field(foreign_key="plugin.id", primary_key=True, ondelete="CASCADE")
    file: str = text(key=True)
    code_id: int = shared("code")


class StudyPlugin(Row, table=True):
    """Which plugins take part in a study: several compete in a search without a named one."""

    __tablename__ = "study_plugin"
    study_id: int = Field(foreign_key="study.id", primary_key=True, ondelete="CASCADE")
    plugin_id: int = Field(foreign_key="plugin.id", primary_key=True, index=True)


class Dataset(Row, table=True):
    """A dataset by its canonical name; another ``hash`` means that its facts have changed."""

    id: int | None = Field(default=None, primary_key=True)
    name: str = text(index=True)
    hash: str = Field(sa_type=Text, unique=True)  # of name and info
    problem: str = text(index=True)
    info: dict[str, Any] = json()


class Environment(Row, table=True):
    """Python, packages, processor and devices, stored once."""

    id: int | None = Field(default=None, primary_key=True)
    hash: str = Field(sa_type=Text, unique=True)
    facts: dict[str, Any] = json()


class Study(Row, table=True):
    """A search or a claim's runs: a narrow summary for lists, with its settings."""

    __table_args__ = (
        one_of("state", get_args(StudyState)),
        one_of("kind", ("search", "claim", "import")),
        Index("ix_study_source_id", "source_id", "name"),
        one_of("goal", ("min", "max")),
    )
    id: int | None = Field(default=None, primary_key=True)
    name: str = text(index=True)
    kind: str = text(required=True)
    state: str = text(required=True)
    plugin: str = text(required=True)  # the names of its plugins, with commas
    dataset_id: int = shared("dataset")
    environment_id: int = shared("environment")
    source_id: int | None = origin()  # of imported records
    metric: str = text(required=True)  # the objective; goal is its direction
    goal: str = text(required=True)
    unit: str = text()
    metrics: list[Any] = json()
    settings: dict[str, Any] = json()
    space: dict[str, Any] = json()
    seed: int | None = whole()  # published records have none
    budget_trials: int | None = None
    budget_seconds: float | None = None
    seconds: float = 0.0  # wall-clock spent so far
    n_complete: int = 0
    n_pruned: int = 0
    n_failed: int = 0
    best_number: int | None = None
    best_value: float | None = None
    best_cost: float = cost()
    message: str = text()
    owner: str = text()  # host:pid:start of the driver that runs it
    created_at: datetime = moment()
    active_at: datetime = moment()
    finished_at: datetime | None = moment(required=False)


class Trial(Row, table=True):
    """One configuration and what became of it."""

    __table_args__ = (
        one_of("state", get_args(TrialState)),
        UniqueConstraint("study_id", "number"),
        Index("ix_trial_study_best", "study_id", "state", "cost", "id"),
        Index("ix_trial_best", "state", "cost", "id"),
        Index("ix_trial_dataset_best", "dataset_id", "state", "cost", "id"),
        Index("ix_trial_plugin_best", "plugin_id", "state", "cost", "id"),
    )
    id: int | None = Field(default=None, primary_key=True)
    study_id: int = parent("study", index=False)
    dataset_id: int = shared(
        "dataset", index=False
    )  # its study's: lists of a dataset read no other
    plugin_id: int = shared("plugin", index=False)
    number: int
    state: str = text(required=True)
    seed: int | None = whole()
    label: str = text()
    objective: float | None = None
    cost: float = cost()
    step: int | None = whole()
    seconds: float | None = 0.0
    parameters: int | None = whole()
    macs: int | None = whole()
    bytes: int | None = whole()
    stopped: str = text()
    failure_kind: str = text()
    started_at: datetime | None = moment(required=False)
    finished_at: datetime | None = moment(required=False)
    config: dict[str, Any] = json()
    params: dict[str, Any] = json()
    techniques: dict[str, Any] = json()
    scores: dict[str, Any] | None = json(required=False)
    failure: dict[str, Any] | None = json(required=False)


class Score(Row, table=True):
    """A metric of a fit at a step; NULL where it was not a number."""

    __table_args__ = ({"sqlite_with_rowid": False},)
    trial_id: int = Field(foreign_key="trial.id", primary_key=True, ondelete="CASCADE")
    split: str = text(key=True)
    step: int = Field(sa_type=BigInteger, primary_key=True)
    metric: str = text(key=True)
    value: float | None = None


class Evaluation(Row, table=True):
    """A metric of a fitted model on a split of a dataset; no metric but a reason if refused."""

    __table_args__ = (UniqueConstraint("trial_id", "dataset", "split", "metric"),)
    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial", index=False)
    dataset: str = text(required=True)
    split: str = text(required=True)
    metric: str = text()
    value: float | None = None
    reason: str = text()


class Artifact(Row, table=True):
    """A file that belongs to a trial; ``path`` is relative to the artifact folder."""

    __table_args__ = (UniqueConstraint("trial_id", "kind"),)
    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial", index=False)
    kind: str = text(required=True)
    path: str = text(required=True)
    sha256: str = text(required=True)
    bytes: int = whole(required=True)


class Export(Row, table=True):
    """A model made ready for a kind of runtime."""

    __table_args__ = (CheckConstraint("status <> ''", name="status_given"),)
    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial")
    target: str = text(required=True)
    status: str = text(required=True)
    folder: str = text()
    files: list[Any] = json()
    opset: int | None = None
    parity: dict[str, Any] = json()
    facts: dict[str, Any] = json()
    message: str = text()
    created_at: datetime = moment()


class Benchmark(Row, table=True):
    """A latency measurement of an exported model; times in microseconds, memory in bytes."""

    __table_args__ = (CheckConstraint("status <> ''", name="status_given"),)
    id: int | None = Field(default=None, primary_key=True)
    export_id: int = parent("export")
    device: str = text(required=True)
    runtime: str = text(required=True)
    precision: str = text(required=True)
    batch: int
    sizes: dict[str, Any] = json()
    p50_us: float | None = None
    p95_us: float | None = None
    min_us: float | None = None
    mean_us: float | None = None
    memory: int | None = whole()
    status: str = text(required=True)
    message: str = text()
    facts: dict[str, Any] = json()
    created_at: datetime = moment()


class ProbeResult(Row, table=True):
    """A number that a probe measured of a fitted model; NULL where it was not a number."""

    __tablename__ = "probe_result"
    __table_args__ = (UniqueConstraint("trial_id", "probe", "name"),)
    id: int | None = Field(default=None, primary_key=True)
    trial_id: int = parent("trial", index=False)
    probe: str = text(required=True)
    name: str = text(required=True)
    value: float | None = None
    created_at: datetime = moment()


class ClaimResult(Row, table=True):
    """A verdict on a paper's claim, with the evidence."""

    __tablename__ = "claim_result"
    __table_args__ = (
        one_of("verdict", VERDICTS),
        Index("ix_claim_result_plugin_claim", "plugin", "claim", "scale"),
    )
    id: int | None = Field(default=None, primary_key=True)
    plugin: str = text(required=True)
    plugin_version: int
    code_hash: str = text(required=True)
    claim: str = text(required=True)
    statement: str = text(required=True)
    source: str = text()
    scale: str = text(required=True)
    verdict: str = text(required=True)
    bars: list[Any] = json()
    runs: list[Any] = json()
    studies: list[Any] = json()
    command: str = text()
    created_at: datetime = moment()


class Flag(Row, table=True):
    """Something odd about an imported record or file, with the reason; nothing is dropped.

    ``trial_id`` and ``step`` name the record; without them a file was set aside whole, and
    ``detail`` keeps its text.
    """

    id: int | None = Field(default=None, primary_key=True)
    source_id: int = parent("source", index=False)
    trial_id: int | None = Field(
        default=None,
        sa_column=Column(ForeignKey("trial.id", ondelete="CASCADE"), nullable=True, index=True),
    )
    step: int | None = whole()
    place: str = text()
    reason: str = text(required=True)
    detail: Any = json(required=False)

    __table_args__ = (Index("ix_flag_source_id", "source_id", "reason"),)


class DeviceRun(Row, table=True):
    """A published run of a network on a device."""

    __tablename__ = "device_run"
    id: int | None = Field(default=None, primary_key=True)
    source_id: int = parent("source")
    plugin_id: int = shared("plugin")
    place: str = text(required=True)  # the file within its source
    dataset: str = text()
    device: str = text(required=True)
    system: str = text()
    runtime: str = text()
    precision: str = text()
    valid: bool | None = None
    emulator: bool | None = None
    duration: float | None = None
    unit: str = text()
    message: str = text()
    facts: dict[str, Any] = json()
