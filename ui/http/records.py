"""The records that answers hold, for the OpenAPI document.

Answers are not built from these classes: a row is encoded as it comes from the database. The tests
check that what is sent is what is described here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

PLACES = ("file", "path", "folder")  # where files lie on the server's machine
Document = dict[str, Any]


def without_places(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without paths: files are asked for by number."""
    return {key: value for key, value in row.items() if key not in PLACES}


class Record(BaseModel):
    """Base of all."""


class Paper(Record):
    """A publication."""

    title: str
    year: int
    arxiv: str
    authors: str


class PluginFacts(Record):
    """A network's name, version and paper."""

    plugin: str
    plugin_version: int
    paper: Paper


class StudyRow(Record):
    """A search, the runs of a claim or an import, as lists show it."""

    id: int
    name: str
    kind: str = Field(description="search, claim or import")
    state: str = Field(description="running, complete, exhausted, interrupted or failed")
    plugin: str = Field(description="Names, with commas")
    dataset: str
    problem: str
    metric: str = Field(description="The objective")
    goal: str = Field(description="min or max")
    unit: str
    best_value: float | None
    best_number: int | None
    n_complete: int
    n_pruned: int
    n_failed: int
    budget_trials: int | None
    budget_seconds: float | None
    seconds: float = Field(description="Wall-clock so far")
    seed: int | None
    message: str
    created_at: str = Field(description="UTC")
    active_at: str
    finished_at: str | None
    source: str | None = Field(description="The import that it is of")
    licence: str | None
    origin: str | None


class Study(StudyRow):
    """A study with its settings, space, metrics, plugins and environment."""

    settings: Document
    space: Document
    metrics: list[list[str]] = Field(description="[name, goal, unit] each; the objective first")
    plugins: list[PluginFacts]
    environment: Document


class Objective(Record):
    """Something that a search improves."""

    name: str
    goal: str = Field(description="min or max")
    unit: str


class Compromise(Record):
    """A complete trial with its values of a study's objectives."""

    number: int
    plugin: str
    values: dict[str, float]
    front: bool = Field(description="Whether no other trial beats it in every objective")


class Front(Record):
    """A study's objectives, its complete trials' values, and which are on the Pareto front."""

    study: int
    objectives: list[Objective]
    trials: list[Compromise]
    knee: int | None = Field(description="The trial to recommend")


class TrialRow(Record):
    """One configuration and what became of it."""

    id: int
    study: int
    number: int
    plugin: str
    state: str = Field(description="running, complete, pruned, failed or interrupted")
    label: str
    objective: float | None
    step: int | None = Field(description="The last that reported")
    seconds: float | None
    parameters: int | None
    macs: int | None = Field(description="Multiply-accumulates of one example")
    bytes: int | None
    seed: int | None
    stopped: str
    config: Document
    params: Document
    techniques: Document
    scores: Document | None
    failure: Document | None
    started_at: str | None
    finished_at: str | None


class Evaluation(Record):
    """A score of a fitted model on a split of a dataset, or the reason why there is none."""

    dataset: str
    split: str
    metric: str
    value: float | None
    reason: str


class Artifact(Record):
    """A file; `url` serves it."""

    id: int
    trial_id: int
    kind: str
    sha256: str
    bytes: int
    url: str


class Export(Record):
    """A model made ready for a kind of runtime."""

    id: int
    trial_id: int
    target: str
    status: str
    files: list[Any]
    opset: int | None
    parity: Document
    facts: Document
    message: str
    created_at: str
    benchmarks: list[Document] = Field(description="Latencies; times in microseconds")


class Trial(TrialRow, PluginFacts):
    """Everything on record about one trial."""

    reference: str = Field(description="STUDY/NUMBER")
    dataset: str
    problem: str
    metric: str
    goal: str
    unit: str
    split: str = Field(description="That the objective was measured on")
    source: str | None
    licence: str | None
    origin: str | None
    settings: Document
    curves: dict[str, dict[str, list[list[float | None]]]] = Field(
        description="{split: {metric: [[step, value], ...]}}"
    )
    evaluations: list[Evaluation]
    artifacts: list[Artifact]
    exports: list[Export]
    probes: list[Document]
    code: dict[str, str] | None = Field(None, description="Texts by file name, if asked for")


Curves = dict[str, list[list[float | None]]]


class Page(Record):
    """A page of rows."""

    rows: list[Document]
    next: str | None = Field(description="`after` of the next page; null on the last one")
    code: dict[str, dict[str, str]] | None = Field(
        None, description="{code_hash: {file: text}}, if asked for: each network's once"
    )


class ModelPage(Page):
    """A page of models; a row has the columns that were asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "rows": [
                    {
                        "trial_id": 1,
                        "study": 1,
                        "number": 0,
                        "plugin": "selu",
                        "dataset": "digits",
                        "metric": "accuracy",
                        "goal": "max",
                        "objective": 0.97,
                        "parameters": 4810,
                        "config": {"depth": 8},
                        "source": None,
                    }
                ],
                "next": '["objective",-0.97,1]',
            }
        }
    )


class Claim(Record):
    """A verdict on a statement of a paper, with its evidence."""

    id: int
    plugin: str
    plugin_version: int
    code_hash: str
    claim: str
    statement: str
    source: str
    scale: str
    verdict: str = Field(description="reproduced, not reproduced or inconclusive")
    bars: list[Any]
    runs: list[Any]
    studies: list[Any]
    command: str
    created_at: str


class Leaderboard(Record):
    """The best model of each plugin on a dataset."""

    dataset: str
    metric: str
    goal: str
    unit: str
    metrics: list[str] = Field(description="All objectives that there are on it")
    total: int = Field(description="Plugins and networks; `rows` are the best of them")
    rows: list[Document]
    baselines: Document


class Similar(Record):
    """A network whose code is like another's."""

    plugin: str
    family: str
    code_hash: str
    jaccard: float = Field(description="Estimated similarity of the texts, 0 to 1")
    exact: bool = Field(description="Only layout, comments or docstrings differ")


class Network(Record):
    """A network or plugin with its published statistics."""

    id: int
    plugin: str
    family: str
    plugin_version: int
    code_hash: str
    paper: str
    facts: Document | None
    code: dict[str, str] | None = Field(None, description="Texts by file name, if asked for")


class DeviceRun(Record):
    """A published run of a network on a device."""

    id: int
    plugin: str
    source: str
    dataset: str
    device: str
    system: str
    runtime: str
    precision: str
    valid: bool | None
    emulator: bool | None
    duration: float | None
    unit: str
    message: str
    facts: Document


class Source(Record):
    """An imported data set with its licence and origin."""

    id: int
    name: str
    kind: str
    version: str
    licence: str
    origin: str
    state: str
    counts: Document
    created_at: str


class Flag(Record):
    """What was odd about an imported record or file."""

    id: int
    source: str
    reason: str
    place: str
    study: int | None
    number: int | None
    step: int | None
    detail: Any = None


class Health(Record):
    """That the server answers."""

    status: str
    version: str
    read_only: bool


class Holdings(BaseModel):
    """What the database holds: rows by table, bytes."""

    model_config = ConfigDict(extra="allow")
    engine: str
    revision: str
    bytes: int
