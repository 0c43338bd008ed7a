"""How a network answers sets longer than any that it was trained on (Section 4.2)."""

from __future__ import annotations

from typing import Any

from torch import nn

from automl.core.api import Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.ptrnet.data import PointSets

FACTORS = (1.5, 2, 3, 5)  # of the longest trained length


class LengthGeneralisation(Probe):
    """The problem's metrics at 1.5, 2, 3 and 5 times the longest trained length."""

    name = "length_generalisation"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``n=N.METRIC`` for each length.

        Raises:
            DataError: for a network with a fixed dictionary, which cannot be asked at all.
        """
        if not isinstance(data, PointSets):
            raise TypeError(f"{data.name!r} is no set of points")
        found: Scores = {}
        for factor in FACTORS:
            count = round(factor * data.lengths[1])
            changes: dict[str, Any] = {"n": str(count), "name": f"{data.name} at n={count}"}
            if "teacher" in data.to_dict() and count > 13:
                changes["teacher"] = "a2"
            longer = type(data).from_dict({**data.to_dict(), **changes})
            scores = plugin.evaluate(model, config, longer.split("test"))
            found |= {f"n={count}.{name}": value for name, value in scores.items()}
        return found
