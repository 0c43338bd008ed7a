"""What the engine itself offers: a small generated dataset to try plugins on."""

from __future__ import annotations

from collections.abc import Callable

from automl.core.cards import DatasetCard
from automl.core.hooks import hookimpl


@hookimpl
def register_datasets(register: Callable[[DatasetCard], None]) -> None:
    """Offer the two spirals."""
    register(
        DatasetCard(
            name="spirals",
            target="automl.core.spirals:Spirals",
            problem="tabular-classification",
            summary="two intertwined spirals in the plane, generated",
        )
    )
