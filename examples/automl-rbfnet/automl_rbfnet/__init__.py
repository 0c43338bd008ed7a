"""Radial basis function networks (Broomhead and Lowe, 1988), with a dataset and a technique."""

from collections.abc import Callable

from automl.core.api import DatasetCard, Paper, PluginCard, TechniqueCard, hookimpl

CARD = PluginCard(
    name="rbfnet",
    target=f"{__name__}.plugin:RadialBasisNetworks",
    summary="Gaussian bumps around learnt centres; smooth and local",
    paper=Paper(
        "Multivariable Functional Interpolation and Adaptive Networks",
        1988,
        authors="Broomhead, Lowe",
    ),
    problems=("tabular-classification",),
    dataset="rings",
)


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer the architecture."""
    register(CARD)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the concentric rings."""
    register(
        DatasetCard(
            name="rings",
            target=f"{__name__}.data:Rings",
            problem="tabular-classification",
            summary="concentric rings in the plane, generated",
        )
    )


@hookimpl
def register_techniques(register: Callable[[TechniqueCard], None]) -> None:
    """Offer weight averaging for any gradient-trained architecture."""
    register(
        TechniqueCard(
            name="averaging",
            target=f"{__name__}.averaging:WeightAveraging",
            summary="keep an exponential average of the weights",
        )
    )
