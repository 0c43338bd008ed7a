"""How a neural GPU multiplies numbers twice as long as any that it was trained on."""

from __future__ import annotations

from typing import Any

from torch import nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.gradnoise.data import Products
from automl.plugins.gradnoise.model import NeuralGpu


class DoubleLength(Probe):
    """The problem's metrics on factors of twice the longest trained length."""

    name = "double_length"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """The metrics of ``binary-multiplication`` at ``kmin = kmax = 2 kmax``.

        Raises:
            DataError: for models and data that are not of this plugin.
        """
        if not isinstance(data, Products) or not isinstance(model, NeuralGpu):
            raise DataError(
                f"double_length wants a neural GPU and dataset 'binmul', not {plugin.name!r}'s "
                f"model on {data.name!r}"
            )
        length = 2 * data.kmax
        if length > 30:
            raise DataError(f"kmax={data.kmax}: products of {length} bits overflow, use up to 15")
        device = next(model.parameters()).device
        changes = {"kmin": length, "kmax": length, "name": f"{data.name} at {length} bits"}
        longer = Products.from_dict({**data.to_dict(), **changes})
        return plugin.evaluate(model, config, longer.split("test").to(device))
