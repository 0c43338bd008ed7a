"""Check a paper's claims: train both sides, compare on the test split, keep the evidence."""

from __future__ import annotations

import hashlib
import itertools
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from automl.core.claims import Bar, Claim, ClaimRun, Verdict
from automl.core.data import Scores
from automl.core.discovery import catalogue
from automl.core.errors import UnknownName, did_you_mean
from automl.core.observer import Observer
from automl.core.plugin import Plugin
from automl.core.provenance import code_hash, source
from automl.core.record import (
    BarResult,
    ClaimVerdict,
    Evaluation,
    PastTrial,
    Recorder,
    RunResult,
    TrialStart,
)
from automl.core.search import ListJob, resume, run_list
from automl.core.study import SearchSettings


@dataclass(frozen=True)
class Request:
    """Which claims of a plugin to check. ``fresh`` trains again what is already on record."""

    plugin: str
    claims: tuple[str, ...] = ()  # names; empty: all of the scale
    scale: str = "small"
    fresh: bool = False
    settings: SearchSettings = field(default_factory=SearchSettings)


@dataclass(frozen=True)
class Variant:
    """A run with one choice of its tuned settings."""

    run: ClaimRun
    tuned: tuple[tuple[str, Any], ...]

    @property
    def label(self) -> str:
        """Distinguishes the variant among the trials on one dataset."""
        what = json.dumps([self.config, self.techniques], sort_keys=True)
        return f"{self.run.label} {hashlib.sha256(what.encode()).hexdigest()[:8]}"

    @property
    def config(self) -> dict[str, Any]:
        """The whole setting."""
        return replace(self.run.config, **dict(self.tuned)).to_dict()

    @property
    def techniques(self) -> dict[str, dict[str, Any]]:
        """The settings of the techniques that take part."""
        return {name: settings.to_dict() for name, settings in self.run.techniques.items()}

    def trials(self, plugin: str) -> list[TrialStart]:
        """One trial per seed."""
        config, techniques, label = self.config, self.techniques, self.label
        seeds = range(self.run.seeds)
        return [TrialStart(0, plugin, seed, {}, config, techniques, label) for seed in seeds]


def reproduce(
    request: Request, recorder: Recorder, observer: Observer | None = None
) -> list[ClaimVerdict]:
    """Train whatever is not on record yet and judge the claims, in order.

    For the same code and the same claims, finished fits are taken from the database and
    unfinished ones continued.

    Raises:
        UnknownName: if the plugin has no such claim.
        KeyboardInterrupt: if training was interrupted; a repeated call goes on from there.
    """
    plugin = catalogue().plugin(request.plugin)
    claims = chosen_claims(plugin, request)
    runs: dict[str, dict[tuple[str, ...], ClaimRun]] = defaultdict(dict)  # by dataset
    for run in (run for claim in claims for run in claim.runs):
        runs[run.dataset].setdefault(tuple(v.label for v in variants_of(run)), run)
    wanted = what_to_score(claims)
    results: Results = {}
    studies: dict[str, list[int]] = defaultdict(list)
    for dataset, some in runs.items():
        for stage in (to_choose, to_judge):
            trials = [trial for run in some.values() for trial in stage(plugin.name, run, results)]
            if trials:
                study = train(request, dataset, trials, wanted, recorder, observer)
                studies[dataset].append(study)
                for trial in recorder.past(study):
                    results.setdefault((dataset, trial.start.label), []).append(trial)
    verdicts = [judge(plugin, claim, results, studies, observer) for claim in claims]
    for verdict in verdicts:
        recorder.record_claim(verdict)
    return verdicts


def chosen_claims(plugin: Plugin[Any, Any], request: Request) -> list[Claim]:
    """The claims of the request's scale, or those named."""
    offered = [claim for claim in plugin.claims if claim.scale == request.scale]
    names = [claim.name for claim in offered]
    for name in request.claims:
        if name not in names:
            raise UnknownName(
                f"plugin {plugin.name!r} has no {request.scale} claim named {name!r}."
                f"{did_you_mean(name, names)} Known: {', '.join(names) or 'none'}."
            )
    return [claim for claim in offered if not request.claims or claim.name in request.claims]


def variants_of(run: ClaimRun) -> list[Variant]:
    """Every combination of the run's tuned settings."""
    choices = itertools.product(*run.tune.values())
    return [Variant(run, tuple(zip(run.tune, choice, strict=True))) for choice in choices]


def to_choose(plugin: str, run: ClaimRun, results: Results) -> list[TrialStart]:
    """The fits that choose a run's tuned settings: its first seed with each of them."""
    variants = variants_of(run)
    return [variant.trials(plugin)[0] for variant in variants] if len(variants) > 1 else []


def to_judge(plugin: str, run: ClaimRun, results: Results) -> list[TrialStart]:
    """The fits of a run that are left once its settings are chosen."""
    variant = chosen_variant(run, results)
    if variant is None:
        return []
    left = 1 if len(variants_of(run)) > 1 else 0  # the first seed has been fitted to choose
    return variant.trials(plugin)[left:]


def chosen_variant(run: ClaimRun, results: Results) -> Variant | None:
    """The variant whose first seed has the best validation score; ``None`` if no fit succeeded."""
    variants = variants_of(run)
    if len(variants) == 1:
        return variants[0]
    goal = catalogue().dataset(run.dataset).problem.objective.goal
    candidates = [
        (trial.value, variant)
        for variant in variants
        for trial in results.get((run.dataset, variant.label), [])[:1]
        if trial.value is not None
    ]
    pick = max if goal == "max" else min
    return pick(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


Results = dict[tuple[str, str], list[PastTrial]]  # by (dataset, label), the first seed first
Wanted = dict[tuple[str, str], tuple[str, ...]]  # by (dataset, label)


def what_to_score(claims: Iterable[Claim]) -> tuple[Wanted, Wanted]:
    """For each (dataset, label): the datasets some claim wants it scored on, and the probes."""
    datasets: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    probes: dict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for run in (run for claim in claims for run in claim.runs):
        for variant in variants_of(run):
            datasets[run.dataset, variant.label] |= dict.fromkeys(run.scored_on)
            probes[run.dataset, variant.label] |= dict.fromkeys(run.probes)
    return (
        {key: tuple(names) for key, names in datasets.items()},
        {key: tuple(names) for key, names in probes.items()},
    )


def train(
    request: Request,
    dataset: str,
    trials: list[TrialStart],
    wanted: tuple[Wanted, Wanted],
    recorder: Recorder,
    observer: Observer | None,
) -> int:
    """Run some fits on one dataset as one study, or find or continue it; return its id."""
    labels = dict.fromkeys(trial.label for trial in trials)
    scored, probed = ({label: part[dataset, label] for label in labels} for part in wanted)
    card = catalogue().plugin_card(request.plugin)
    content = json.dumps(
        [[vars(trial) for trial in trials], scored, probed, code_hash(source(card))],
        sort_keys=True,
    )
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    name = f"claims of {card.name} on {dataset} ({request.scale}, {digest})"
    known = None if request.fresh else recorder.find_study(name)
    if known is None:
        job = ListJob(
            request.plugin, dataset, tuple(trials), scored, request.settings, name, probed
        )
        result = run_list(job, recorder, observer)
    elif all(t.state in ("complete", "failed") for t in recorder.past(known)) and len(
        recorder.past(known)
    ) == len(trials):
        return known
    else:
        result = resume(known, recorder, observer=observer)
    if result.state == "interrupted":
        raise KeyboardInterrupt
    return result.study


def judge(
    plugin: Plugin[Any, Any],
    claim: Claim,
    results: Results,
    studies: dict[str, list[int]],
    observer: Observer | None,
) -> ClaimVerdict:
    """Compare the means over seeds with the claim's bars."""
    rows: list[RunResult] = []
    for run in claim.runs:
        rows += summarise(run, results)
    datasets = {name for run in claim.runs for name in run.scored_on}
    for label, control in claim.controls.items():
        for name in sorted(datasets):
            scores = control(catalogue().dataset(name).split("test"))
            rows.append(RunResult(label, name, scores, {}, 0))
    for label, check in claim.checks.items():
        if observer is not None:
            observer.notice(f"{claim.name}: {label} ({claim.check_seeds} seeds)")
        found = [check(seed) for seed in range(claim.check_seeds)]
        rows.append(RunResult(label, "", *means(found), len(found), values=by_metric(found)))
    if claim.summary is not None:
        for label, scores in claim.summary(tuple(rows)).items():
            values = by_metric([scores])
            rows.append(
                RunResult(label, "", dict(scores), dict.fromkeys(scores, 0.0), 1, values=values)
            )
    bars = tuple(measure(bar, claim, rows) for bar in claim.bars)
    verdict: Verdict = "not reproduced"
    if any(bar.met is None for bar in bars):
        verdict = "inconclusive"
    elif all(bar.met for bar in bars):
        verdict = "reproduced"
    full = " --full" if claim.scale == "full" else ""
    return ClaimVerdict(
        plugin=plugin.name,
        plugin_version=plugin.card.version,
        code_hash=code_hash(source(plugin.card)),
        claim=claim.name,
        statement=claim.statement,
        source=claim.source,
        scale=claim.scale,
        verdict=verdict,
        bars=bars,
        runs=tuple(rows),
        studies=tuple(sorted({s for run in claim.runs for s in studies[run.dataset]})),
        command=f"automl reproduce {plugin.name} --claim {claim.name}{full}",
    )


def summarise(run: ClaimRun, results: Results) -> list[RunResult]:
    """The chosen variant of a run, scored on each of its datasets."""
    variant = chosen_variant(run, results)
    trials = results.get((run.dataset, variant.label), []) if variant is not None else []
    if variant is None or sum(trial.value is not None for trial in trials) < run.seeds:
        reason = "not every seed gave a result"
        return [RunResult(run.label, name, {}, {}, 0, reason) for name in run.scored_on]
    return [row(run, variant, trials, name) for name in run.scored_on]


def row(run: ClaimRun, variant: Variant, trials: list[PastTrial], name: str) -> RunResult:
    """Means and standard deviations over the seeds of one variant on one dataset."""
    found: list[Evaluation] = [
        e for trial in trials for e in trial.evaluations if e.dataset == name and e.split == "test"
    ]
    seconds = statistics.fmean(trial.seconds for trial in trials)
    tuned = dict(variant.tuned)
    missing = [e.reason for e in found if e.reason]
    if missing or not found:
        reason = missing[0] if missing else "not evaluated"
        return RunResult(run.label, name, {}, {}, 0, reason, tuned, seconds)
    scores = [e.scores for e in found]
    mean, spread = means(scores)
    values = by_metric(scores)
    return RunResult(run.label, name, mean, spread, len(found), "", tuned, seconds, values)


def by_metric(found: list[Scores]) -> dict[str, list[float]]:
    """The scores of all seeds, a list for each metric."""
    return {name: [scores[name] for scores in found] for name in found[0]}


def means(found: list[Scores]) -> tuple[Scores, Scores]:
    """Mean and standard deviation over seeds, by metric."""
    columns = by_metric(found)
    mean: Scores = {name: statistics.fmean(values) for name, values in columns.items()}
    return mean, {name: statistics.pstdev(values) for name, values in columns.items()}


def measure(bar: Bar, claim: Claim, rows: list[RunResult]) -> BarResult:
    """One bar against the rows."""
    trained_on = {run.label: run.dataset for run in claim.runs}

    def found(label: str) -> RunResult | None:
        on = bar.on or trained_on.get(label, trained_on.get(bar.run, ""))
        matching = (row for row in rows if row.run == label and bar.metric in row.scores)
        return next((row for row in matching if row.on in (on, "")), None)

    mine, other = found(bar.run), found(bar.relative_to) if bar.relative_to else None
    ours, spread, on = None, None, bar.on or trained_on.get(bar.run, "")
    if mine is not None:
        ours, spread = bar.of(mine.values[bar.metric]), mine.spread[bar.metric]
        on = mine.on
    rival = other.scores[bar.metric] if other is not None else None
    factor = bar.at_least if bar.at_least is not None else bar.at_most
    bound = factor if not bar.relative_to else None
    if rival is not None and factor is not None:
        bound = factor * rival + bar.offset
    met = None
    if ours is not None and bound is not None:
        met = ours >= bound if bar.at_least is not None else ours <= bound
    return BarResult(
        bar.run, bar.metric, on, bar.text(), ours, spread, rival, bound, met, bar.paper
    )
