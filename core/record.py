"""What the engine records, and the protocol by which it records without knowing a database."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # a reader of records needs no torch
    from automl.core.data import Scores

# "interrupted": given back by Ctrl-C or a timeout, to be continued by `automl resume`.
TrialState = Literal["running", "complete", "pruned", "failed", "interrupted"]
FINISHED: tuple[TrialState, ...] = ("complete", "pruned", "failed")
# "exhausted": the wall-clock budget ended before the trial budget.
StudyState = Literal["running", "complete", "exhausted", "interrupted", "failed"]


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one fitted model on one split of one dataset; ``reason`` when there are none."""

    dataset: str
    split: str
    scores: Scores
    reason: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a trial failed. Equal signatures are the same fault."""

    kind: str  # the exception's class, or died, timeout, memory
    message: str
    traceback: str = ""
    log: str = ""  # the last lines that the worker printed

    @property
    def signature(self) -> str:
        """What makes two failures the same: kind and message without its numbers."""
        return f"{self.kind}: " + "".join(c for c in self.message if not c.isdigit())


@dataclass(frozen=True)
class PluginRecord:
    """The state of a plugin that takes part in a study."""

    name: str
    version: int
    paper: dict[str, Any]
    code: dict[str, str]  # file name -> source text, every file of the plugin's package


@dataclass(frozen=True)
class StudySpec:
    """What a study is: recorded once, before its first trial."""

    name: str
    kind: Literal["search", "claim"]
    plugins: tuple[PluginRecord, ...]  # those that compete, by name; one for a claim
    dataset: str
    info: dict[str, Any]  # DataInfo.to_dict()
    metrics: tuple[tuple[str, str, str], ...]  # (name, goal, unit); the objectives come first
    space: dict[str, Any]  # plugin -> parameter -> Optuna distribution as JSON
    settings: dict[str, Any]  # search, plugins (see core.search); of claims: evaluate, probes, list
    environment: dict[str, Any]
    trials: int | None  # budget; None: unlimited
    timeout: float | None  # seconds; None: unlimited
    seed: int

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of the objectives; older studies have the first metric alone."""
        chosen = self.settings.get("search", {}).get("objectives", "")
        return tuple(chosen.split(",")) if chosen else (self.metrics[0][0],)

    @property
    def plugin(self) -> str:
        """The names of the plugins, with commas."""
        return ", ".join(plugin.name for plugin in self.plugins)


@dataclass(frozen=True)
class TrialStart:
    """A trial as it is handed out. ``params`` are Optuna's, ``config`` is the whole setting."""

    number: int
    plugin: str
    seed: int
    params: dict[str, Any]
    config: dict[str, Any]
    techniques: dict[str, dict[str, Any]] = field(default_factory=dict)
    label: str = ""


@dataclass(frozen=True)
class TrialEnd:
    """How a trial ended. ``value`` is the first objective of its last report.

    ``scores`` are that report's, with the costs of the model as far as they were measured.
    """

    number: int
    state: TrialState
    value: float | None = None
    scores: Scores = field(default_factory=dict)
    step: int | None = None
    seconds: float = 0.0
    parameters: int | None = None  # trainable and buffers, counted
    weights: Path | None = None  # safetensors in the study's artifact folder
    weights_bytes: int | None = None
    weights_sha256: str = ""
    evaluations: tuple[Evaluation, ...] = ()
    failure: Failure | None = None
    # "budget": the model so far was kept when time ran out; "size", "latency": more than the
    # search allows; "rung": it waits until it is among the best there, or the search ends before
    stopped: str = ""


@dataclass(frozen=True)
class PastTrial:
    """A recorded trial as the engine needs it back to continue a study."""

    start: TrialStart
    state: TrialState
    value: float | None
    seconds: float
    reports: dict[int, Scores] = field(default_factory=dict)  # step -> objective -> value
    scores: Scores = field(default_factory=dict)  # as in ``TrialEnd``
    evaluations: tuple[Evaluation, ...] = ()


@dataclass(frozen=True)
class BarResult:
    """One bar of a claim: mean over seeds against its bound; ``met`` is None without numbers."""

    run: str
    metric: str
    on: str
    bar: str  # in words
    ours: float | None
    spread: float | None  # standard deviation over seeds
    rival: float | None  # mean of what the bound is relative to
    bound: float | None
    met: bool | None
    paper: str = ""


@dataclass(frozen=True)
class RunResult:
    """The mean scores of one run (or control) on one dataset's test split; ``reason`` if n/a."""

    run: str
    on: str
    scores: Scores
    spread: Scores
    seeds: int
    reason: str = ""
    tuned: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None  # mean wall-clock of a fit
    values: dict[str, list[float]] = field(default_factory=dict)  # metric -> one for each seed


@dataclass(frozen=True)
class ClaimVerdict:
    """What became of a claim, with the evidence."""

    plugin: str
    plugin_version: int
    code_hash: str
    claim: str
    statement: str
    source: str
    scale: str
    verdict: str
    bars: tuple[BarResult, ...]
    runs: tuple[RunResult, ...]
    studies: tuple[int, ...]
    command: str


class Recorder(Protocol):
    """The single writer. Calls are buffered; ``flush`` makes all of them durable at once."""

    def create_study(self, spec: StudySpec) -> int:
        """Record a study, owned by this process and running; return its id. Durable at once."""

    def claim_study(self, study: int) -> None:
        """Take over a study that no living process owns and set it running.

        Raises:
            StudyError: if it does not exist, or another living process runs it (named).
        """

    def require_idle(self, study: int) -> None:
        """Refuse what cannot be done while another living process runs the study; changes nothing.

        Raises:
            StudyError: if it does not exist, or another living process runs it (named).
        """

    def spec(self, study: int) -> StudySpec:
        """What was recorded at creation, with the current budgets."""

    def spent(self, study: int) -> float:
        """Wall-clock seconds of its earlier legs, as last told by ``tick`` or ``close_study``."""

    def tick(self, study: int, seconds: float) -> None:
        """The study's wall-clock so far; written with the next flush."""

    def past(self, study: int) -> list[PastTrial]:
        """All its trials by number. Those still running when their driver died are interrupted."""

    def set_budget(self, study: int, trials: int | None, timeout: float | None) -> None:
        """Replace the budgets of a study."""

    def start_trial(self, study: int, trial: TrialStart) -> None:
        """A trial is handed out, or handed out again after an interruption (same number)."""

    def report(self, study: int, number: int, step: int, split: str, scores: Scores) -> None:
        """Scores of a running trial; repeating a step replaces its scores."""

    def finish_trial(self, study: int, trial: TrialEnd) -> None:
        """A trial ended."""

    def evaluate_trial(
        self, study: int, number: int, evaluation: Evaluation, macs: int | None = None
    ) -> None:
        """Scores of a finished trial's model on another split or dataset."""

    def close_study(
        self, study: int, state: StudyState, best: int | None, seconds: float, message: str = ""
    ) -> None:
        """The study stops; this process gives it up. Flushes."""

    def flush(self) -> None:
        """Write everything since the last flush in one transaction.

        Raises:
            DatabaseError: if it cannot be written; nothing of it is then half-written.
        """

    def find_study(self, name: str) -> int | None:
        """The newest study of that name."""

    def record_claim(self, verdict: ClaimVerdict) -> int:
        """Record what became of a claim; return the record's id. Durable at once."""

    def folder(self, study: int) -> Path:
        """Where the study's artifacts lie (absolute)."""
