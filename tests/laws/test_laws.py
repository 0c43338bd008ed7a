"""Every plugin obeys every law: ours, the example's and a freshly written one."""

import functools
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from automl.core.check import (
    LAWS,
    Case,
    check,
    data_is_deterministic,
    fit_beats_untrained,
    import_has_no_effect,
    imports_have_no_effect,
    splits_are_disjoint,
)
from automl.core.data import Dataset
from automl.core.discovery import catalogue
from automl.core.settings import Settings
from automl.export.law import export_matches_torch
from automl.ui.scaffold import new_plugin

ROOT = Path(__file__).parents[2]
EVERY_LAW = (*LAWS, export_matches_torch)
ALONE = [law for law in EVERY_LAW if law is not import_has_no_effect]
OURS = [card.name for card in catalogue().architectures()]
EXAMPLE = str(ROOT / "examples/automl-rbfnet/automl_rbfnet")


# Where an episode or a layer takes long: a shorter body and fewer of each show the same of a law.
SHORTER: dict[str, tuple[str, dict[str, Any]]] = {
    "ncap": ("swimmer:n_links=3,train_episodes=8", {"population": 4}),
    "neural_operator": ("", {"n_layers": 2}),
}
OF_THE_DEFAULT = (splits_are_disjoint, data_is_deterministic, fit_beats_untrained)


class ShorterCase(Case):
    """A plugin of those above."""

    @functools.cached_property
    def dataset(self) -> Dataset:
        named = SHORTER[self.reference][0]
        return catalogue().dataset(named) if named else case(self.reference).dataset

    @functools.cached_property
    def short(self) -> Settings:
        return replace(super().short, **SHORTER[self.reference][1])


@functools.cache
def case(plugin: str) -> Case:
    """Laws share the fits that they only look at."""
    return Case(plugin)


@functools.cache
def shorter_case(plugin: str) -> Case:
    """The same of a plugin of those above."""
    return ShorterCase(plugin)


@pytest.mark.parametrize("law", ALONE, ids=lambda law: law.__name__)
@pytest.mark.parametrize("plugin", [*OURS, EXAMPLE])
def test_law(plugin: str, law) -> None:
    made = case if plugin not in SHORTER or law in OF_THE_DEFAULT else shorter_case
    (finding,) = check(made(plugin), [law])
    assert finding.state == "kept", finding.reason


def test_importing_any_plugin_has_no_effect() -> None:
    every = [*OURS, EXAMPLE]
    try:
        imports_have_no_effect(every)  # one process: each has to import PyTorch
    except AssertionError:
        for plugin in every:  # which one was it?
            test_law(plugin, import_has_no_effect)
        raise


def test_an_import_with_an_effect_is_noticed_among_others(make_plugin) -> None:
    guilty = Path(make_plugin(name="guilty")) / "plugin.py"
    guilty.write_text(f"{guilty.read_text()}\ntorch.manual_seed(3)\n")
    with pytest.raises(AssertionError, match="guilty changes a seed"):
        imports_have_no_effect(["selu", str(guilty.parent), EXAMPLE])


def test_every_folder_of_a_paper_is_registered_and_the_other_way_round() -> None:
    folders = {path.parent.name for path in (ROOT / "plugins").glob("*/__init__.py")}
    entries = {entry.name for entry in entry_points(group="automl") if "plugins" in entry.value}
    assert folders == entries


def test_a_new_plugin_passes_every_law_and_its_own_test(tmp_path: Path) -> None:
    package = new_plugin("fresh", tmp_path)
    findings = list(check(Case(str(package)), EVERY_LAW))
    assert {finding.state for finding in findings} == {"kept"}, findings
    assert pytest.main(["-q", "-p", "no:cacheprovider", str(tmp_path / "fresh" / "tests")]) == 0


BREAKERS = {
    "paper_setting_is_inside_the_space": ("x=trial.suggest_float('x', 0.6, 1)", None),
    "same_seed_same_history": (None, "run.report(1, {'accuracy': time.time(), 'nll': 1.0})"),
    "fit_reports": (None, "pass"),
    "fit_stops_when_told": (
        None,
        """
from automl.core.run import Stop
for step in range(1, 4):
    try:
        run.report(step, {'accuracy': 0.5, 'nll': 1.0})
    except Stop:
        pass
""",
    ),
    "fit_beats_untrained": (None, "run.report(1, {'accuracy': 0.5, 'nll': 1.0})"),
    "plugin_holds_no_state": (
        None,
        "self.last = model; run.report(1, {'accuracy': 1.0, 'nll': 1.0})",
    ),
    "readme_has_every_heading": (None, None),
}


@pytest.mark.parametrize("law", BREAKERS)
def test_a_law_notices_what_it_forbids(make_plugin, law: str) -> None:
    space, fit = BREAKERS[law]
    given = {"fit": fit} if fit else {}
    if space:
        given["space"] = f"return replace(base, {space})"
    (chosen,) = [candidate for candidate in LAWS if candidate.__name__ == law]
    (finding,) = check(Case(make_plugin(**given)), [chosen])
    assert finding.state == "broken", "the law holds, though it is broken on purpose"
    assert finding.reason
