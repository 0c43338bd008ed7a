"""Learning tasks one after another without forgetting (Aljundi, thesis, 2019)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, TechniqueCard, hookimpl

CARD = PluginCard(
    name="continual",
    target=f"{__name__}.plugin:Continual",
    summary="importance, distillation, replay and experts against catastrophic forgetting",
    paper=Paper(
        "Continual Learning in Neural Networks", 2019, arxiv="1910.02718", authors="Aljundi"
    ),
    problems=("tabular-classification",),
    dataset="digit-stream",
    version=1,
)
DATASETS = {
    "digit-stream": ("DigitStream", "scikit-learn's digits as a sequence of tasks"),
    "glyph-stream": ("GlyphStream", "36 drawn letters and figures, new classes in every task"),
    "ring-stream": ("RingStream", "ten Gaussian clouds that drift around a circle"),
    "mnist-stream": ("MnistStream", "the user's own MNIST as a sequence of tasks"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer streams: classification whose examples belong to tasks that come one by one."""
    for name, (kind, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        problem = "tabular-classification"
        register(DatasetCard(name=name, target=target, problem=problem, summary=summary))


@hookimpl
def register_techniques(register: Callable[[TechniqueCard], None]) -> None:
    """Offer importance regularisation for every network that learns a stream by descent."""
    register(
        TechniqueCard(
            name="continual",
            target=f"{__name__}.technique:ImportanceRegularisation",
            summary="keep weights that earlier tasks of a stream depend on (MAS, EWC)",
        )
    )


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer what accuracy at the end does not tell."""
    register(
        ProbeCard(
            name="forgetting",
            target=f"{__name__}.probe:Forgetting",
            problems=CARD.problems,
            summary="accuracy of each task after each task, and what follows from it",
        )
    )
