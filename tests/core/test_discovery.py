import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from automl.core.api import Paper, PluginCard, hookimpl
from automl.core.cards import DatasetCard
from automl.core.discovery import Catalogue
from automl.core.errors import BrokenPlugin, ConfigError, UnknownName


def offering(name: str, *cards: PluginCard) -> str:
    """A module in memory that registers cards."""
    module = ModuleType(name)

    @hookimpl
    def register_plugins(register):
        for card in cards:
            register(card)

    module.register_plugins = register_plugins
    sys.modules[name] = module
    return name


def card(name: str, target: str = "nowhere:Nothing") -> PluginCard:
    return PluginCard(
        name=name, target=target, paper=Paper("T", 2020), problems=("p",), dataset="d"
    )


def catalogue(**modules: str) -> Catalogue:
    return Catalogue(EntryPoint(name, module, "automl") for name, module in modules.items())


def test_a_broken_entry_point_takes_down_nothing_else() -> None:
    found = catalogue(broken="no_such_module_anywhere", fine=offering("fine_module", card("fine")))
    assert [c.name for c in found.cards(PluginCard)] == ["fine"]
    with pytest.raises(BrokenPlugin, match="'broken'.*ModuleNotFoundError"):
        found.card(PluginCard, "broken")


def test_a_misspelt_hook_is_reported() -> None:
    module = ModuleType("misspelt_module")

    @hookimpl
    def register_plugin(register):
        pass

    module.register_plugin = register_plugin
    sys.modules["misspelt_module"] = module
    (offer,) = catalogue(misspelt="misspelt_module").offers
    assert "register_plugin" in offer.problem


def test_one_name_from_two_distributions_is_refused_naming_both() -> None:
    found = catalogue(a=offering("module_a", card("same")), b=offering("module_b", card("same")))
    problems = [offer.problem for offer in found.offers]
    assert problems[0] == ""
    assert "module_a" in problems[1]
    assert "module_b" in problems[1]


def test_an_unknown_name_suggests_the_nearest() -> None:
    found = catalogue(fine=offering("fine_module_2", card("ptrnet")))
    with pytest.raises(UnknownName, match="no plugin named 'ptrnt'. Did you mean 'ptrnet'"):
        found.plugin("ptrnt")


def test_a_target_that_does_not_import_is_a_broken_plugin() -> None:
    found = catalogue(fine=offering("fine_module_3", card("fine", "no.such.module:Thing")))
    with pytest.raises(BrokenPlugin, match="'fine'.*failed to load"):
        found.plugin("fine")


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("spiral", UnknownName, "no dataset named 'spiral'. Did you mean 'spirals'"),
        ("spirals:noise", ConfigError, "'noise' in 'spirals:noise' must be NAME=VALUE"),
        ("spirals:nose=1", ConfigError, "no setting named 'nose'. Did you mean 'noise'"),
        ("spirals:noise=-1", ConfigError, "noise=-1.0 must be at least 0"),
        ("spirals:train_size=many", ConfigError, "train_size='many' must be an integer"),
    ],
)
def test_a_bad_dataset_is_refused(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        catalogue(core="automl.core.offers").dataset(spec)
    assert message in str(caught.value)


def test_a_dataset_has_one_name_however_it_is_spelt() -> None:
    found = catalogue(core="automl.core.offers")
    one = found.dataset("spirals:noise=0.10,train_size=100")
    two = found.dataset("spirals:train_size=1e2,noise=0.1")
    assert one == two
    assert one.name == "spirals:noise=0.1,train_size=100"
    assert found.dataset("spirals:noise=0.02").name == "spirals"
    assert found.dataset(one.name) == one
    assert found.card(DatasetCard, "spirals").problem == "tabular-classification"


def test_the_environment_restricts_what_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOML_PLUGINS", "core")
    assert [offer.name for offer in Catalogue().offers] == ["core"]
    monkeypatch.setenv("AUTOML_PLUGINS", "")
    assert Catalogue().offers == []


def test_a_folder_is_a_plugin(make_plugin, tmp_path: Path) -> None:
    found = catalogue(core="automl.core.offers")
    plugin = found.plugin(make_plugin())
    assert plugin.name == "tested"
    with pytest.raises(UnknownName, match="needs an __init__.py"):
        found.plugin(str(tmp_path / "nowhere"))


def test_a_folder_that_raises_is_named(make_plugin) -> None:
    folder = make_plugin(init="raise RuntimeError('boom')", name="boom")
    with pytest.raises(BrokenPlugin, match="plugin_boom.*RuntimeError: boom"):
        catalogue().plugin(folder)


@pytest.mark.parametrize("command", ["--help", "plugins", "datasets", "search --help"])
def test_listing_and_help_import_no_torch(command: str) -> None:
    code = (
        "import sys; sys.argv[1:] = sys.argv[1].split();"
        "from automl.ui.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'optuna', 'sqlmodel', 'numpy', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, command], check=True, capture_output=True)


@pytest.mark.parametrize("misuse", ["-p ptrnt", "-p ptrnet -n 0", "-p ptrnet --sampler tp"])
def test_a_slip_is_told_before_torch_is_imported(misuse: str) -> None:
    code = (
        "import sys; sys.argv[1:] = ['search', *sys.argv[1].split()];"
        "from automl.ui.cli import main\n"
        "try: main()\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, misuse], check=True, capture_output=True)


def test_what_a_trial_imports_late_leaves_its_seed_alone() -> None:
    code = (
        "import random, numpy as np, sys, torch\n"
        "from automl.core.digits import Digits\n"
        "from automl.core.trial import seed_everything\n"
        "seed_everything(0)\n"
        "states = lambda: (random.getstate(), np.random.get_state()[2], torch.initial_seed())\n"
        "before = states()\n"
        "assert 'sklearn' not in sys.modules\n"
        "Digits().load('train')\n"
        "import sklearn.metrics, sklearn.cluster, sklearn.ensemble, scipy.stats, pandas\n"
        "assert states() == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_dataset_is_made_once_until_its_name_stands_for_another(make_plugin) -> None:
    found = Catalogue()
    first = found.dataset("spirals:noise=0.1")
    assert found.dataset("spirals:noise=0.1") is first
    init = """
    from automl.core.api import DatasetCard, Paper, PluginCard, hookimpl

    @hookimpl
    def register_plugins(register):
        register(PluginCard(name="{name}", target="nowhere:Nothing", paper=Paper("A paper", 2020),
                            problems=("p",), dataset="spirals"))

    @hookimpl
    def register_datasets(register):
        register(DatasetCard(name="spirals", target="automl.core.spirals:Spirals",
                             problem="tabular-classification", options=dict(noise=0.5)))
    """
    folder = make_plugin(init=init)
    assert found.plugin_card(folder) is found.plugin_card(folder)
    assert found.dataset("spirals").to_dict()["noise"] == 0.5
    assert found.dataset("spirals:noise=0.1") is not first
