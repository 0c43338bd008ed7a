"""Several plugins under one budget: a search of its own for each, a bandit between them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from automl.core.objectives import Objectives, Vector, ranks
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
    vectors: list[Vector] = field(default_factory=list)  # of complete trials, less is better

    @property
    def hopeless(self) -> bool:
        """Whether it has only ever failed."""
        return self.failed >= HOPELESS and not self.vectors

    def count(self, state: str, vector: Vector | None) -> None:
        """Take in a trial's end."""
        self.failed += state == "failed"
        if state == "complete" and vector is not None:
            self.vectors.append(vector)


class TournamentPlan:
    """Each plugin's first trial is its paper's setting; then the most promising one is next.

    A plugin promises the share of all complete trials that its best one is not worse than, plus
    UCB1's bonus for having had few trials (Auer et al. 2002). Ranks make plugins comparable
    whatever the metric's scale (of several objectives the ranks of the fronts), and the best
    counts, since only the winner is kept. Nothing depends on the clock: the same seed gives the
    same tournament in one process.
    """

    def __init__(self, plans: Mapping[str, SearchPlan], objectives: Objectives) -> None:
        self.plans = dict(plans)
        self.objectives = objectives
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
            self.tallies[name].count(trial.state, self.objectives.vector(trial.scores))
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
        promises = self.promises()
        return max(able or self.tallies, key=lambda name: promises[name])

    def promises(self) -> dict[str, float]:
        """How much is to be expected of each plugin's next trial."""
        owners = [name for name, tally in self.tallies.items() for _ in tally.vectors]
        places = ranks([vector for tally in self.tallies.values() for vector in tally.vectors])
        best: dict[str, int] = {}
        for name, place in zip(owners, places, strict=True):
            best[name] = min(best.get(name, int(place)), int(place))
        total = sum(tally.handed_out for tally in self.tallies.values())
        found = {}
        for name, tally in self.tallies.items():
            share = float((places >= best[name]).mean()) if name in best else 0.0
            few = math.log(total) / tally.handed_out if tally.handed_out else math.inf
            found[name] = share + EXPLORATION * math.sqrt(few)
        return found

    def judge(self, number: int, report: Report) -> Decision:
        """How it goes on among the trials of its own plugin."""
        name, own = self.places[number]
        return self.plans[name].judge(own, report)

    def learn(self, end: TrialEnd) -> None:
        """Tell the plugin's search, and count."""
        name, own = self.places[end.number]
        self.plans[name].learn(replace(end, number=own))
        if end.state != "interrupted":
            self.tallies[name].count(end.state, self.objectives.vector(end.scores))
