"""The laws that every plugin obeys; ``automl check-plugin NAME`` and the tests run them.

A law is a function of a ``Case`` that raises ``AssertionError`` with the reason. Its name is the
law. A plugin waives one by naming it, with the reason, in ``Plugin.waivers``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import optuna
import torch
from torch import nn

from automl.core import checkpoint
from automl.core.data import Dataset, Scores, Split, SplitName
from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError, ConfigError
from automl.core.plugin import Plugin
from automl.core.run import Decision, Report, Run, Stop
from automl.core.settings import Settings
from automl.core.trial import seed_everything

HEADINGS = (
    "In one sentence",
    "Claim",
    "What is implemented",
    "Results",
    "Run it",
    "Metrics",
    "Differences from the paper",
    "Export",
    "Version history",
    "References",
)
SPLITS: tuple[SplitName, ...] = ("train", "valid", "test")
FEW = 64  # examples, where a law does not need a whole split
# Imports plugins twice over: the light packages first, then the modules with the classes. What the
# engine itself depends on is there before, as it is in a worker.
IMPORT_PROBE = """
import sys, os, json
sys.path[:0] = json.loads(sys.argv[1])
from automl.core.discovery import catalogue
cards = [catalogue().plugin_card(reference) for reference in sys.argv[2:]]
assert "torch" not in sys.modules, "listing the plugin imports torch"
import random, numpy, torch, optuna, automl.core.trial
def state():
    return (torch.get_rng_state().tolist(), torch.get_num_threads(), random.getstate(),
            numpy.random.get_state()[1].tolist(), os.getcwd(), sorted(os.listdir()))
before = state()
for card in cards:
    card.load()
    assert state() == before, card.name + " changes a seed, the threads, the folder or its files"
"""


@dataclass(frozen=True)
class Case:
    """A plugin under test, with the dataset that it learns by default."""

    reference: str

    @cached_property
    def plugin(self) -> Plugin[Any, Any]:
        """A fresh instance."""
        return catalogue().plugin(self.reference)

    @cached_property
    def dataset(self) -> Dataset:
        """The plugin's default dataset."""
        return catalogue().dataset(self.plugin.card.dataset)

    @cached_property
    def short(self) -> Settings:
        """The defaults, cut down to a few steps where the plugin counts steps."""
        names = {field.name for field in dataclasses.fields(self.plugin.defaults)}
        limits = {"steps": 9, "eval_every": 3, "iterations": 3}
        changes = {
            name: min(limit, getattr(self.plugin.defaults, name))
            for name, limit in limits.items()
            if name in names
        }
        short: Settings = dataclasses.replace(self.plugin.defaults, **changes)
        return short

    def build(self, seed: int = 0) -> nn.Module:
        """An untrained model of the short setting."""
        seed_everything(seed)
        model: nn.Module = self.plugin.build(self.short, self.dataset.info)
        return model

    @cached_property
    def stopped_at_once(self) -> tuple[nn.Module, list[Report]]:
        """A fit that is told to stop at its first report; laws look at it and leave it as it is."""
        return self.fit(1)

    @cached_property
    def stopped_at_third(self) -> tuple[nn.Module, list[Report]]:
        """A fit that is told to stop at its third report, likewise."""
        return self.fit(3)

    def few(self, split: SplitName) -> Split:
        """A small part of a split."""
        return self.dataset.split(split).first(FEW)

    def fit(
        self,
        reports: int,
        *,
        seed: int = 0,
        decision: Decision = "stop",
        path: Path | None = None,
        config: Settings | None = None,
    ) -> tuple[nn.Module, list[Report]]:
        """Fit until the given number of reports, then answer ``decision``."""
        seen: list[Report] = []

        def on_report(report: Report) -> Decision:
            seen.append(report)
            return decision if len(seen) >= reports else "continue"

        config = config or self.short
        seed_everything(seed)
        model: nn.Module = self.plugin.build(config, self.dataset.info)
        run = Run(self.dataset, seed, on_report=on_report, checkpoint_path=path)
        with suppress(Stop):
            self.plugin.fit(model, config, run)
        return model, seen


def paper_setting_is_inside_the_space(case: Case) -> None:
    """``defaults`` and ``full`` can be proposed by a search."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna only warns about a value outside its range
        for name in ("defaults", "full"):
            setting = getattr(case.plugin, name)
            trial = optuna.trial.FixedTrial(setting.to_dict())
            found = case.plugin.space(trial, setting, case.dataset.info)
            assert found == setting, f"{name} is {setting}, the space makes it {found}"


def config_survives_json(case: Case) -> None:
    """A configuration comes back equal from the database."""
    for setting in (case.plugin.defaults, case.plugin.full):
        copy = type(setting).from_dict(json.loads(json.dumps(setting.to_dict())))
        assert copy == setting, f"{setting} comes back as {copy}"


def bad_config_is_refused_by_name(case: Case) -> None:
    """Every searched setting declares its limits, and a value beyond them is refused by name."""
    setting = case.plugin.defaults
    trial = optuna.trial.FixedTrial(setting.to_dict())
    case.plugin.space(trial, setting, case.dataset.info)
    fields = {field.name: field for field in dataclasses.fields(setting)}
    for name in trial.distributions:
        assert name in fields, f"parameter {name!r} of the space is no field of the settings"
        refused(setting, name, bad_value(fields[name]))
    try:
        type(setting).from_dict({**setting.to_dict(), "no_such_setting": 1})
    except ConfigError as error:
        assert "no_such_setting" in str(error), str(error)
    else:
        raise AssertionError("an unknown setting is accepted")


def bad_value(field: dataclasses.Field[Any]) -> Any:
    """A value that a field's declaration forbids."""
    rules, kind = field.metadata, cast("Callable[[float], Any]", type(field.default))
    if rules.get("choices"):
        return "no such choice"
    if rules.get("low") is not None:
        return kind(rules["low"] - 1)
    if rules.get("high") is not None:
        return kind(rules["high"] + 1)
    assert isinstance(field.default, bool), f"{field.name!r} is searched but declares no limits"
    return "neither true nor false"


def refused(setting: Settings, name: str, value: Any) -> None:
    """Assert that ``name=value`` raises ``ConfigError`` naming the setting."""
    try:
        type(setting).from_dict({**setting.to_dict(), name: value})
    except ConfigError as error:
        assert name in str(error), f"the error for {name}={value!r} does not name it: {error}"
    else:
        raise AssertionError(f"{name}={value!r} is accepted")


def import_has_no_effect(case: Case) -> None:
    """Importing prints nothing, writes nothing, seeds nothing; listing imports no torch."""
    imports_have_no_effect([case.reference])


def imports_have_no_effect(references: Iterable[str]) -> None:
    """The same of several plugins, which share what a process needs to import PyTorch."""
    given = [str(Path(name).resolve()) if Path(name).exists() else name for name in references]
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", IMPORT_PROBE, json.dumps(sys.path), *given],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stderr.strip().splitlines() or ["failed"])[-1]
        assert not done.stdout, f"importing it prints {done.stdout[:80]!r}"
        left = list(Path(folder).iterdir())
        assert not left, f"importing it writes {left[0].name!r}"


def plugin_holds_no_state(case: Case) -> None:
    """Nothing about a fit stays in the plugin object or its class."""
    plugin = case.plugin
    before = dict(vars(plugin)), {k: id(v) for k, v in vars(type(plugin)).items()}
    model, _ = case.fit(1)
    plugin.evaluate(model, case.short, case.few("valid"))
    after = dict(vars(plugin)), {k: id(v) for k, v in vars(type(plugin)).items()}
    assert before == after, "a fit changes attributes of the plugin"


def splits_are_disjoint(case: Case) -> None:
    """No example is in two splits."""
    seen: dict[bytes, str] = {}
    for split in SPLITS:
        mine = set(rows(case.dataset.split(split)))
        for row in mine:
            assert row not in seen, f"an example is in {seen[row]} and in {split}"
        seen |= dict.fromkeys(mine, split)


def rows(split: Split) -> Iterator[bytes]:
    """Every example of a split as bytes."""
    columns = [column.cpu().contiguous().numpy() for column in split.examples.values()]
    for i in range(len(split)):
        yield b"".join(column[i].tobytes() for column in columns)


def data_is_deterministic(case: Case) -> None:
    """Loading a split twice gives the same tensors."""
    for split in SPLITS:
        one, two = case.dataset.split(split).examples, case.dataset.load(split)
        assert one.keys() == two.keys(), f"{split} has other keys the second time"
        for key in one:
            assert torch.equal(one[key], two[key]), f"{split}[{key!r}] differs the second time"


def same_seed_same_history(case: Case) -> None:
    """The same seed gives the same reports and the same weights."""
    (one, first), (two, second) = case.stopped_at_third, case.fit(3)
    assert first == second, f"two fits with one seed report {first} and {second}"
    for (name, a), b in zip(one.state_dict().items(), two.state_dict().values(), strict=True):
        assert torch.equal(a, b), f"two fits with one seed differ in {name}"


def fit_reports(case: Case) -> None:
    """A fit reports at least once, with steps that increase."""
    _, seen = case.stopped_at_third
    assert seen, "fit returns without a report"
    steps = [report.step for report in seen]
    assert steps == sorted(set(steps)), f"steps do not increase: {steps}"


def fit_stops_when_told(case: Case) -> None:
    """A fit ends at the report that is answered with a stop, and the model can be used."""
    model, seen = case.stopped_at_once
    assert len(seen) == 1, f"told to stop at its first report, fit made {len(seen)}"
    case.plugin.evaluate(model, case.short, case.few("valid"))


def fit_beats_untrained(case: Case) -> None:
    """Within the default setting, the objective becomes better than an untrained model's."""
    metric = case.dataset.problem.objective
    sign = 1 if metric.goal == "max" else -1
    config = case.plugin.defaults
    seed_everything(0)
    untrained = case.plugin.build(config, case.dataset.info)
    start = case.plugin.evaluate(untrained, config, case.dataset.split("valid"))[metric.name]
    best = -math.inf

    def on_report(report: Report) -> Decision:
        nonlocal best
        best = max(best, sign * report.scores[metric.name])
        return "stop" if best > sign * start else "continue"

    seed_everything(0)
    model = case.plugin.build(config, case.dataset.info)
    with suppress(Stop):
        case.plugin.fit(model, config, Run(case.dataset, 0, on_report=on_report))
    assert best > sign * start, f"{metric.name} is {start:g} untrained and {sign * best:g} fitted"


def resume_equals_uninterrupted(case: Case) -> None:
    """A fit that is interrupted and continued reports what an uninterrupted one does."""
    _, whole = case.stopped_at_third
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.safetensors"
        case.fit(2, decision="interrupt", path=path)
        remaining = 1 if path.exists() else 3
        _, rest = case.fit(remaining, path=path, seed=0)
    assert rest == whole[-len(rest) :], f"continued: {rest}, uninterrupted: {whole}"


def scores_are_the_declared_metrics(case: Case) -> None:
    """Evaluation gives exactly the problem's metrics, finite even for an untrained model."""
    model, names = case.build(), [metric.name for metric in case.dataset.problem.metrics]
    for split in SPLITS:
        scores: Scores = case.plugin.evaluate(model, case.short, case.few(split))
        assert sorted(scores) == sorted(names), f"{sorted(scores)} instead of {sorted(names)}"
        bad = {name: value for name, value in scores.items() if not math.isfinite(value)}
        assert not bad, f"not finite on {split}: {bad}"


def evaluation_ignores_batch_size(case: Case) -> None:
    """Scores do not depend on how the examples fall into batches."""
    model, split = case.build(), case.dataset.split("valid").first(4 * FEW)
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(1))
    shuffled = Split(split.name, split.info, split.take(order))
    one = case.plugin.evaluate(model, case.short, split)
    two = case.plugin.evaluate(model, case.short, shuffled)
    for name, value in one.items():
        close = math.isclose(value, two[name], rel_tol=1e-4, abs_tol=1e-5)
        assert close, f"{name} is {value} in one order and {two[name]} in another"


def weights_survive_a_round_trip(case: Case) -> None:
    """A model rebuilt from its config and its safetensors file scores the same."""
    model, _ = case.stopped_at_once
    before = case.plugin.evaluate(model, case.short, case.few("valid"))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        checkpoint.save_weights(path, model, {})
        again = case.build(seed=99)
        checkpoint.load_weights(path, again)
    after = case.plugin.evaluate(again, case.short, case.few("valid"))
    assert before == after, f"scores before {before}, after {after}"


def readme_has_every_heading(case: Case) -> None:
    """The README beside the plugin is a model card with all the headings."""
    module = sys.modules[type(case.plugin).__module__]
    path = Path(str(module.__file__)).with_name("README.md")
    assert path.exists(), f"there is no {path.name} beside the plugin"
    lines = path.read_text().splitlines()
    headings = {line.lstrip("# ").strip() for line in lines if line.startswith("#")}
    missing = [heading for heading in HEADINGS if heading not in headings]
    assert not missing, f"README.md lacks: {', '.join(missing)}"


Law = Callable[[Case], None]
LAWS: tuple[Law, ...] = (
    paper_setting_is_inside_the_space,
    config_survives_json,
    bad_config_is_refused_by_name,
    import_has_no_effect,
    plugin_holds_no_state,
    splits_are_disjoint,
    data_is_deterministic,
    same_seed_same_history,
    fit_reports,
    fit_stops_when_told,
    fit_beats_untrained,
    resume_equals_uninterrupted,
    scores_are_the_declared_metrics,
    evaluation_ignores_batch_size,
    weights_survive_a_round_trip,
    readme_has_every_heading,
)


@dataclass(frozen=True)
class Finding:
    """What became of one law: kept, broken with the reason, or waived with the reason."""

    law: str
    state: str  # "kept", "broken", "waived"
    reason: str = ""


def check(case: Case, laws: Iterable[Law] = LAWS) -> Iterator[Finding]:
    """Try each law on a plugin; an error inside the plugin breaks that law only."""
    for law in laws:
        name = law.__name__
        if name in case.plugin.waivers:
            yield Finding(name, "waived", case.plugin.waivers[name])
            continue
        try:
            law(case)
        except AssertionError as error:
            yield Finding(name, "broken", str(error))
        except (Exception, Stop) as error:  # noqa: BLE001  foreign code
            kind = "" if isinstance(error, AutoMLError) else f"{type(error).__name__}: "
            yield Finding(name, "broken", f"{kind}{error}")
        else:
            yield Finding(name, "kept")
