"""What the engine itself offers: small datasets to try plugins on, and ensembles of models."""

from __future__ import annotations

from collections.abc import Callable

from automl.core.cards import DatasetCard, Paper, PluginCard
from automl.core.hooks import hookimpl

ENSEMBLE = PluginCard(
    name="ensemble",
    target="automl.core.ensemble.plugin:EnsemblePlugin",
    paper=Paper("Ensemble selection from libraries of models", 2004, authors="Caruana et al."),
    problems=(),  # it learns nothing by itself, so no search has it
    dataset="",
    summary="models of a study as one: automl ensemble STUDY",
)


@hookimpl
def register_plugins(register: Callable[[PluginCard], None]) -> None:
    """Offer ensembles, which are made of a study's models."""
    register(ENSEMBLE)


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the two spirals, scikit-learn's digits, the user's MNIST and own data."""
    register(
        DatasetCard(
            name="data",
            target="automl.core.own.dataset:OwnData",
            problem="any",
            summary="your own: automl search --data table.csv --target column",
        )
    )
    register(
        DatasetCard(
            name="spirals",
            target="automl.core.spirals:Spirals",
            problem="tabular-classification",
            summary="two intertwined spirals in the plane, generated",
        )
    )
    register(
        DatasetCard(
            name="digits",
            target="automl.core.digits:Digits",
            problem="image-classification",
            summary="1,797 handwritten digits of 8 x 8 pixels, from scikit-learn",
        )
    )
    register(
        DatasetCard(
            name="mnist",
            target="automl.core.mnist:Mnist",
            problem="image-classification",
            summary="handwritten digits of 28 x 28 pixels, from mnist.npz or idx files of yours",
        )
    )
