"""What a search is asked to do, and what it found."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from automl.core.errors import BudgetError, ConfigError
from automl.core.pruning import PRUNERS
from automl.core.record import StudyState
from automl.core.sampling import SAMPLERS
from automl.core.settings import Settings, setting

if TYPE_CHECKING:  # a budget that makes no sense is refused before torch is imported
    from automl.core.data import Scores


@dataclass(frozen=True)
class SearchSettings(Settings):
    """How a search is run; recorded with the study, so that a resumed one runs alike."""

    sampler: str = setting("tpe", choices=SAMPLERS, doc="how configurations are proposed")
    pruner: str = setting("median", choices=PRUNERS, doc="when hopeless trials are stopped")
    warmup: float = setting(0.2, low=0, high=1, doc="share of a trial before it may be pruned")
    seed: int = setting(0, low=0, high=2**31 - 1, doc="seed of the search")
    executor: str = setting(
        "processes", choices=("processes", "ray", "inline"), doc="where trials run"
    )
    ray_address: str = setting("local", doc="HOST:PORT of a Ray cluster; local: one of our own")
    workers: int = setting(0, low=0, high=4096, doc="worker processes; 0: one a core or device")
    threads: int = setting(0, low=0, high=1024, doc="of a worker; 0: its share of the cores")
    device: str = setting("auto", doc="auto, cpu, cuda or cuda:N")
    amp: str = setting("off", choices=("off", "bf16", "fp16"), doc="mixed precision")
    compile: bool = setting(False, doc="compile training steps with torch.compile")
    trial_timeout: float = setting(0.0, low=0, unit="seconds", doc="wall-clock of a trial; 0: none")
    turn: float = setting(
        0.0, low=0, unit="seconds", doc="after which a trial ends at its next report; 0: none"
    )
    stall_timeout: float = setting(
        600.0, low=0, unit="seconds", doc="longest silence between two reports; 0: none"
    )
    memory_mb: int = setting(0, low=0, unit="MB", doc="of a worker; 0: its share of the machine")
    objectives: str = setting("", doc="metrics and costs to improve, with commas; '': the first")
    runtime: str = setting("cpu", doc="the export target that costs are measured on")
    max_parameters: int = setting(
        0, low=0, doc="numbers that a model may hold: a larger one is not trained; 0: any"
    )
    max_bytes: int = setting(0, low=0, unit="bytes", doc="of the exported model; 0: any")
    max_latency_ms: float = setting(
        0.0, low=0, unit="ms", doc="of one example in the exported model; 0: any"
    )
    max_failures: int = setting(5, low=1, doc="equal failures in a row that end the study")
    full: bool = setting(False, doc="start from the paper's own size")

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The names of the objectives that were asked for."""
        return tuple(name.strip() for name in self.objectives.split(",") if name.strip())

    @property
    def limits(self) -> dict[str, float]:
        """What a model may cost at most, by the name of the cost."""
        bounds = {
            "params": float(self.max_parameters),
            "bytes": float(self.max_bytes),
            "latency_ms": self.max_latency_ms,
        }
        return {name: bound for name, bound in bounds.items() if bound}

    def check(self) -> None:
        """Refuse a Ray cluster for trials that run elsewhere."""
        if self.ray_address != "local" and self.executor != "ray":
            raise ConfigError(
                f"ray_address={self.ray_address!r} needs executor='ray', not {self.executor!r}"
            )


@dataclass(frozen=True)
class Budget:
    """What a study may spend in all, earlier legs included; ``None`` means no limit.

    ``trials`` counts complete, pruned and failed trials; ``timeout`` is wall-clock seconds.
    """

    trials: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise BudgetError(f"trials={self.trials} must be at least 1")
        if self.timeout is not None and not (math.isfinite(self.timeout) and self.timeout > 0):
            raise BudgetError(f"timeout={self.timeout:g} must be more than 0 seconds")
        if self.trials is None and self.timeout is None:
            raise BudgetError("a search needs a budget: give trials, timeout or both")


@dataclass(frozen=True)
class Best:
    """The best complete trial of a study; of several objectives the knee of the front.

    ``value`` is that of the first objective, ``metric`` its name.
    """

    trial: int
    plugin: str
    value: float
    metric: str
    config: dict[str, Any]
    test: Scores = field(default_factory=dict)


@dataclass(frozen=True)
class Compromise:
    """A model of the Pareto front: no other is better in one objective and as good in the rest."""

    trial: int
    plugin: str
    values: Scores  # of the objectives


@dataclass(frozen=True)
class Standing:
    """What a plugin made of its share of a study's budget."""

    plugin: str
    trials: int  # handed out
    trial: int | None  # its best complete one
    value: float | None  # of the objective


@dataclass(frozen=True)
class StudyResult:
    """How a study stands when its driver stops."""

    study: int
    state: StudyState
    complete: int
    pruned: int
    failed: int
    best: Best | None
    seconds: float  # wall-clock of this leg
    message: str = ""
    baselines: Mapping[str, Scores] = field(default_factory=dict)  # plain models' test scores
    standings: tuple[Standing, ...] = ()  # the plugins, the best first
    front: tuple[Compromise, ...] = ()  # of several objectives, by the first one

    def to_dict(self) -> dict[str, Any]:
        """The stable machine output of ``search`` and ``resume``."""
        best = self.best
        return {
            "study": self.study,
            "state": self.state,
            "trials": {"complete": self.complete, "pruned": self.pruned, "failed": self.failed},
            "best": None if best is None else vars(best),
            "seconds": round(self.seconds, 3),
            "message": self.message,
            "standings": [vars(standing) for standing in self.standings],
            "front": [vars(compromise) for compromise in self.front],
            "baselines": {name: dict(scores) for name, scores in self.baselines.items()},
        }
