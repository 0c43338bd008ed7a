"""How a network does on grids that it was not trained on (Section 4)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.neural_operator.config import Config
from automl.plugins.neural_operator.data import Fields
from automl.plugins.neural_operator.model import Network

REMEDIES = ("unet_io", "unet_ki")  # of a U-Net, with the same weights
LABEL_FREE = 16  # functions for the discretisation error


def grids(data: Fields) -> list[int]:
    """Half the dataset's resolution, itself, and each doubling up to the finest."""
    found = [data.resolution // 2]
    while found[-1] * 2 <= max(data.finest, data.resolution):
        found.append(found[-1] * 2)
    return found


class Resolution(Probe):
    """Errors at half, once, twice, … the resolution, their gap, and the discretisation error."""

    name = "resolution"

    @torch.no_grad()
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``rel_l2@N`` and ``discr_error@N``, N points a side, and what sums them up.

        ``resolution_gap`` is the worst error over the error on the dataset's own grid,
        ``gap_finer`` the same of finer grids only; a grid that the network refuses has no
        score and makes no gap. ``discr_error@N`` is the relative difference between the answers
        on N and 2 N points, ``discr_slope`` its descent (2: halving the cells quarters it).
        ``unet_io@N`` and ``unet_ki@N`` are a U-Net's errors with its inputs or its kernels
        interpolated, the weights being the same.

        Raises:
            DataError: if the dataset is not made on several grids.
        """
        if not isinstance(data, Fields):
            raise DataError(f"{data.name!r} has one grid only: resolution wants generated fields")
        sizes = grids(data)
        found = errors(plugin, model, config, data, sizes)
        scores: Scores = {f"rel_l2@{size}": value for size, value in found.items()}
        own = found[data.resolution]
        scores["resolution_gap"] = max(found.values()) / own
        finer = [value for size, value in found.items() if size > data.resolution]
        if finer:
            scores["gap_finer"] = max(finer) / own
        scores |= discretisation(model, data, sorted(found))
        if isinstance(model, Network) and isinstance(config, Config) and config.arch == "unet":
            for arch in REMEDIES:
                other = plugin.build(replace(config, arch=arch), data.info)
                other.load_state_dict(model.state_dict())
                other.to(next(model.parameters()).device)
                more = errors(plugin, other, config, data, sizes)
                scores |= {f"{arch}@{size}": value for size, value in more.items()}
        return scores


def at(data: Fields, resolution: int) -> Fields:
    """The same functions on another grid."""
    name = f"{data.name} at {resolution}"
    return type(data).from_dict({**data.to_dict(), "resolution": resolution, "name": name})


def errors(
    plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Fields, sizes: list[int]
) -> dict[int, float]:
    """The relative L2 error of the test split on every grid that the network takes."""
    device = next(model.parameters()).device
    found = {}
    for size in sizes:
        split = at(data, size).split("test").to(device)
        try:
            found[size] = plugin.evaluate(model, config, split)["rel_l2"]
        except DataError:
            if size == data.resolution:
                raise
    return found


def discretisation(model: nn.Module, data: Fields, sizes: list[int]) -> Scores:
    """Differences between the answers on neighbouring grids, without labels."""
    device = next(model.parameters()).device
    answers = {}
    for size in sizes:
        x = at(data, size).split("test").first(LABEL_FREE).to(device).examples["x"]
        answers[size] = torch.cat([model.eval()(part)["value"] for part in torch.split(x, 4)])
    scores: Scores = {}
    if not data.periodic:  # values in the middle of cells: finer grids do not contain the coarser
        return scores
    for size in sizes:
        if 2 * size in answers:
            fine = answers[2 * size][..., ::2, ::2]
            error = float((answers[size] - fine).norm() / fine.norm().clamp(min=1e-12))
            scores[f"discr_error@{size}"] = error
    values = [math.log2(max(value, 1e-12)) for value in scores.values()]
    if len(values) > 1:
        scores["discr_slope"] = (values[0] - values[-1]) / (len(values) - 1)
    return scores
