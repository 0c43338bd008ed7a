"""Annealed Gaussian noise added to every gradient (Neelakantan et al., 2015)."""

from collections.abc import Callable

from automl.core.api import (
    DatasetCard,
    Paper,
    PluginCard,
    ProbeCard,
    TechniqueCard,
    hookimpl,
)

CARD = PluginCard(
    name="gradnoise",
    target=f"{__name__}.plugin:NoisyNetworks",
    summary="very deep, memory and algorithmic networks that noise helps to train",
    paper=Paper(
        "Adding Gradient Noise Improves Learning for Very Deep Networks",
        2015,
        arxiv="1511.06807",
        authors="Neelakantan, Vilnis, Le, Sutskever, Kaiser, Kurach, Martens",
    ),
    problems=(
        "image-classification",
        "tabular-classification",
        "tabular-regression",
        "story-answering",
        "binary-multiplication",
    ),
    dataset="digits",
    version=1,
)
DATASETS = {
    "babi-like": ("Stories", "story-answering", "who is where: generated stories, three tasks"),
    "binmul": ("Products", "binary-multiplication", "binary numbers multiplied, generated"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the networks of the paper."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer generated stories and multiplications."""
    for name, (kind, problem, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=problem, summary=summary))


@hookimpl
def register_techniques(register: Callable[[TechniqueCard], None]) -> None:
    """Offer the noise to every other architecture."""
    register(
        TechniqueCard(
            name="gradnoise",
            target=f"{__name__}.noise:GradientNoise",
            summary="annealed Gaussian noise added to every gradient",
        )
    )


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the measurement beyond the trained lengths."""
    register(
        ProbeCard(
            name="double_length",
            target=f"{__name__}.probe:DoubleLength",
            problems=("binary-multiplication",),
            summary="products of numbers twice as long as the longest trained on",
        )
    )
