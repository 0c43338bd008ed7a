"""A paper's central statements as data: what to train, what to compare, and the bar."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from automl.core.data import Scores, Split
from automl.core.record import RunResult
from automl.core.settings import Settings

Verdict = Literal["reproduced", "not reproduced", "inconclusive"]


@dataclass(frozen=True)
class ClaimRun:
    """One side of a comparison: a configuration trained with several seeds.

    ``evaluate`` names the datasets whose test split is scored after the fit (default: the one
    trained on). ``tune`` lists values of settings to try with the first seed; those with the best
    validation objective speak for the run, with all seeds, so that each side gets its own best.
    ``probes`` are measured on each of those datasets too and score as ``PROBE.NAME``;
    ``techniques`` are settings by technique, as of ``--technique``.
    """

    label: str
    dataset: str
    config: Settings
    evaluate: tuple[str, ...] = ()
    seeds: int = 3
    tune: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    probes: tuple[str, ...] = ()
    techniques: Mapping[str, Settings] = field(default_factory=dict)

    @property
    def scored_on(self) -> tuple[str, ...]:
        """The datasets whose test split is scored."""
        return self.evaluate or (self.dataset,)


@dataclass(frozen=True)
class Bar:
    """What a run's metric must reach on one dataset's test split: the mean over its seeds.

    With ``relative_to``, the bound is a multiple of the same metric of another run or control,
    plus ``offset``. With ``rank``, not the mean but the seed of that rank counts, 1 being the one
    that meets the bar most easily: with five seeds, 3 is their median and 5 asks it of every seed.
    """

    run: str
    metric: str
    at_least: float | None = None
    at_most: float | None = None
    on: str = ""  # default: the dataset the run was trained on
    relative_to: str = ""
    offset: float = 0.0
    rank: int = 0
    paper: str = ""  # the paper's own figure and where it stands

    def text(self) -> str:
        """The bar in words, e.g. ``accuracy >= 0.4``."""
        sign, bound = (">=", self.at_least) if self.at_least is not None else ("<=", self.at_most)
        other = f" x {self.relative_to}" if self.relative_to else ""
        more = f" {'+' if self.offset > 0 else '-'} {abs(self.offset):g}" if self.offset else ""
        which = f" (seed of rank {self.rank})" if self.rank else ""
        return f"{self.metric} {sign} {bound:g}{other}{more}{which}"

    def of(self, values: list[float]) -> float:
        """What counts of the values of all seeds."""
        if not self.rank:
            return statistics.fmean(values)
        return sorted(values, reverse=self.at_least is not None)[self.rank - 1]


@dataclass(frozen=True)
class Claim:
    """The paper's statement, executable.

    ``controls`` score a test split without any training. ``checks`` are for what is no fit of one
    configuration (a theorem in numbers, a comparison of two dynamics): each is called once for
    every seed of ``check_seeds`` and scores as a run of its name on no dataset. ``summary`` is for
    what only all results together can say (average ranks over many datasets): it is given every
    other row and returns scores by name, each of which counts as a run on no dataset. Runs on
    several datasets may share a label, by which a summary can put them together.
    """

    name: str
    statement: str
    source: str  # table or section of the paper
    runs: tuple[ClaimRun, ...]
    bars: tuple[Bar, ...]
    controls: Mapping[str, Callable[[Split], Scores]] = field(default_factory=dict)
    checks: Mapping[str, Callable[[int], Scores]] = field(default_factory=dict)
    check_seeds: int = 1
    summary: Callable[[Sequence[RunResult]], Mapping[str, Scores]] | None = None
    scale: Literal["small", "full"] = "small"
