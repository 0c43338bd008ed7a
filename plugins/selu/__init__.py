"""Self-normalizing networks: SELU, LeCun-normal weights, alpha dropout (Klambauer et al., 2017)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CARD = PluginCard(
    name="selu",
    target=f"{__name__}.plugin:SelfNormalizing",
    summary="deep fully connected networks for tables, without batch statistics, and six rivals",
    paper=Paper(
        "Self-Normalizing Neural Networks",
        2017,
        arxiv="1706.02515",
        authors="Klambauer, Unterthiner, Mayr, Hochreiter",
    ),
    problems=(
        "tabular-classification",
        "tabular-regression",
        "tabular-multilabel",
        "image-classification",
    ),
    dataset="uci-suite",
    version=1,
)
DATASETS = {
    "uci-suite": ("Suite", "tabular-classification", "18 small tables, bundled or generated"),
    "uci-regression": ("RegressionSuite", "tabular-regression", "diabetes and linnerud"),
    "uci121": ("Archive", "tabular-classification", "the 121 UCI tables, from a folder of yours"),
    "assays": ("Assays", "tabular-multilabel", "generated: 12 yes/no targets, some not measured"),
}
PROBES = {
    "self_normalisation": ("SelfNormalisation", "activation moments and gradients by layer"),
    "roc_auc": ("RocAuc", "area under the ROC curve on the test split, one class against the rest"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the tables."""
    for name, (kind, problem, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=problem, summary=summary))


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the measurement of the paper's theorem, and AUC."""
    for name, (kind, summary) in PROBES.items():
        problems = CARD.problems
        if name == "roc_auc":
            problems = ("tabular-classification", "image-classification")
        target = f"{__name__}.probe:{kind}"
        register(ProbeCard(name=name, target=target, problems=problems, summary=summary))
