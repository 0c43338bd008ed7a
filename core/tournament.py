"""Several plugins under one budget: a search of its own for each, a bandit between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from automl.core.cards import Metric
from automl.core.plan import SearchPlan
from automl.core.record import PastTrial, TrialEnd, TrialStart
from automl.core.run import Decision, Report

# Of the bonus for what was tried little. UCB1 has sqrt(2), for the mean of rewards in [0, 1];
# here the best counts, not the mean, which needs less doubt.
EXPLORATION = 1.0
HOPELESS = 3  # failures without a single complete trial


@dataclass
class Tally:
    """What a plugin has had and made of it."""

    handed_out: int = 0
    failed: int = 0
    values: list[float] = field(default_factory=list)  # of complete trials, more is better

    @property
    def hopeless(self) -> bool:
        """Whether it has only ever failed."""
        return self.failed >= HOPELESS and not self.values

    def count(self, state: str, value: float | None, sign: float) -> None:
        """Take in a trial's end."""
        self.failed += state == "failed"
        if state == "complete" and value is not None and not math.isnan(value):
            self.values.append(sign * value)


class TournamentPlan:
    """Each plugin's first trial is its paper's setting; then the most promising one is next.

    A plugin promises the share of all complete trials that its best one is not worse than, plus
    UCB1's bonus for having had few trials (Auer et al. 2002). Ranks make plugins comparable
    whatever the metric's scale, and the best counts, since only the winner is kept. Nothing
    depends on the clock: the same seed gives the same tournament in one process.
    """

    def __init__(self, plans: Mapping[str, SearchPlan], objective: Metric) -> None:
        self.plans = dict(plans)
        self.sign = 1.0 if objective.goal == "max" else -1.0
        self.tallies = {name: Tally() for name in self.plans}
        self.places: dict[int, tuple[str, int]] = {}  # number -> plugin, number in its own search

    def restore(self, past: list[PastTrial]) -> None:
        """Give each plugin's search its own trials, numbered as it did."""
        mine: dict[str, list[PastTrial]] = {name: [] for name in self.plans}
        for trial in past:
            name = trial.start.plugin
            own = len(mine[name])
            self.places[trial.start.number] = (name, own)
            mine[name].append(replace(trial, start=replace(trial.start, number=own)))
            self.tallies[name].handed_out += 1
            self.tallies[name].count(trial.state, trial.value, self.sign)
        for name, trials in mine.items():
            self.plans[name].restore(trials)

    def propose(self) -> TrialStart | None:
        """The next trial of the plugin whose turn it is."""
        name = self.turn()
        trial = self.plans[name].propose()
        if trial is None:
            return None
        known = self.number(name, trial.number)
        if known is not None:  # it was paused, and goes on
            return replace(trial, number=known)
        number = len(self.places)
        self.places[number] = (name, trial.number)
        self.tallies[name].handed_out += 1
        return replace(trial, number=number)

    def number(self, name: str, own: int) -> int | None:
        """The tournament's number of a plugin's own trial, if it was handed out."""
        places = ((number, place) for number, place in self.places.items())
        return next((number for number, place in places if place == (name, own)), None)

    def promote(self, final: bool) -> TrialStart | None:
        """The first paused trial of a plugin that goes on."""
        for name, plan in self.plans.items():
            trial = plan.promote(final)
            if trial is not None:
                number = self.number(name, trial.number)
                return None if number is None else replace(trial, number=number)
        return None

    def paused(self) -> set[int]:
        """The trials that wait in the plugins' own searches."""
        waiting = {name: plan.paused() for name, plan in self.plans.items()}
        return {number for number, (name, own) in self.places.items() if own in waiting[name]}

    def turn(self) -> str:
        """The plugin that promises most; the first by name among equals."""
        able = [name for name, tally in self.tallies.items() if not tally.hopeless]
        return max(able or self.tallies, key=self.promise)

    def promise(self, name: str) -> float:
        """How much is to be expected of a plugin's next trial."""
        tally = self.tallies[name]
        if not tally.handed_out:
            return math.inf
        every = [value for other in self.tallies.values() for value in other.values]
        best = max(tally.values, default=-math.inf)
        share = sum(value <= best for value in every) / max(1, len(every))
        total = sum(other.handed_out for other in self.tallies.values())
        return share + EXPLORATION * math.sqrt(math.log(total) / tally.handed_out)

    def judge(self, number: int, report: Report) -> Decision:
        """How it goes on among the trials of its own plugin."""
        name, own = self.places[number]
        return self.plans[name].judge(own, report)

    def learn(self, end: TrialEnd) -> None:
        """Tell the plugin's search, and count."""
        name, own = self.places[end.number]
        self.plans[name].learn(replace(end, number=own))
        if end.state != "interrupted":
            self.tallies[name].count(end.state, end.value, self.sign)
