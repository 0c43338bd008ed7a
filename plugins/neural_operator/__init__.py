"""Neural architectures on function spaces: operators that keep their error on any grid (2025)."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, ProbeCard, hookimpl

CARD = PluginCard(
    name="neural_operator",
    target=f"{__name__}.plugin:NeuralOperators",
    summary="functions in, functions out on any grid: twelve architectures, Fourier to ViT",
    paper=Paper(
        "Principled Approaches for Extending Neural Architectures to Function Spaces for "
        "Operator Learning",
        2025,
        arxiv="2506.10973",
        authors="Berner, Liu-Schiaffini, Kossaifi and others",
    ),
    problems=("operator-learning", "image-classification"),
    dataset="ns-forced",
    version=1,
)
DATASETS = {
    "ns-forced": ("ForcedFlow", "Navier-Stokes on a torus: forcing to vorticity, generated"),
    "darcy": ("Darcy", "flow through porous ground: permeability to pressure, generated"),
    "poisson-periodic": ("Poisson", "Poisson's equation on a torus in closed form, instant"),
    "darcy-bundled": ("BundledDarcy", "1,000 Darcy flows of 16 x 16 in a neuraloperator wheel"),
}


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the plugin."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the fields."""
    for name, (kind, summary) in DATASETS.items():
        target = f"{__name__}.data:{kind}"
        register(DatasetCard(name=name, target=target, problem=CARD.problems[0], summary=summary))


@hookimpl
def register_probes(register: Callable[[ProbeCard], None]) -> None:
    """Offer the measurement on other grids."""
    register(
        ProbeCard(
            name="resolution",
            target=f"{__name__}.probe:Resolution",
            problems=CARD.problems[:1],
            summary="errors on coarser and finer grids, their gap, and the discretisation error",
        )
    )
