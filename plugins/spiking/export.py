"""What goes into ONNX: the whole simulation, the same from spikes given, and a single step.

Up to 16 steps are unrolled; longer simulations are an ONNX Scan. In a deployed spiking network
batch norms are folded; the surrogate derivative is gone, a spike is a comparison.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import Axis, Exportable
from automl.plugins.spiking.network import SpikingNetwork, fold_norms, over_time
from automl.plugins.spiking.neurons import Neuron
from automl.plugins.spiking.stdp import Competition

OUTPUTS = ("logits", "spikes")
UNROLLED = 16  # steps up to which a loop is written out
SAMPLES = 64


class Whole(nn.Module):
    """A model by position."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, ...) to logits (B, classes) and spikes (B,)."""
        found = self.model(x)
        return found["logits"], found["spikes"]


class FromSpikes(nn.Module):
    """A spiking network whose host encodes: for sensors that spike, and random codes."""

    def __init__(self, model: SpikingNetwork) -> None:
        super().__init__()
        self.model = model

    def forward(self, events: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes (B, T, ...) of zeros and ones to logits (B, classes) and spikes (B,)."""
        found = self.model.answer(self.model.simulate(events.transpose(0, 1)))
        return found["logits"], found["spikes"]


class Step(nn.Module):
    """One step of a spiking network, its potentials going in and out."""

    def __init__(self, model: SpikingNetwork) -> None:
        super().__init__()
        self.model = model

    def initial(self, x: Tensor) -> list[Tensor]:
        """The potentials before the first step, layer after layer."""
        states: list[Tensor] = []
        values = x
        for layer in self.model.layers:
            values = layer(values)
            if isinstance(layer, nn.ReLU):
                states += self.model.neurons[len(states)].initial(values)  # type: ignore[operator]
        return states

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Inputs of a step (B, ...) and potentials to output currents (B, classes) and potentials.

        The host adds the currents up and divides by the number of steps.
        """
        x, *states = given
        values, index, after = x[None], 0, []
        for layer in self.model.layers:
            if isinstance(layer, nn.ReLU):
                scale = self.model.scale(index)
                neuron = self.model.neurons[index]
                state, fired = neuron.step((states[index],), values[0] / scale)  # type: ignore[operator]
                values = (fired * scale)[None]
                after.append(state[0])
                index += 1
            else:
                values = over_time(layer, values)
        return (values[0], *after)


def deployed(model: Any) -> Any:
    """A copy to ship: norms folded, long loops as scans."""
    found = copy.deepcopy(model).eval()
    if isinstance(found, SpikingNetwork):
        found.layers = fold_norms(found.layers)
    for module in found.modules():
        if isinstance(module, Neuron | Competition):
            module.scanned = found.config.time_steps > UNROLLED
    return found


def exportable(model: Any, x: Tensor) -> Exportable:
    """The graph of a model for inputs like ``x``, with the parts that its kind has."""
    ready, batch = deployed(model), {0: Axis("batch")}
    samples = {"x": torch.rand(SAMPLES, *x.shape[1:], generator=torch.Generator().manual_seed(0))}
    parts = {}
    if isinstance(ready, SpikingNetwork) and ready.config.mode != "ann":
        neuron = ready.neurons[0]
        pooled = any(isinstance(layer, nn.MaxPool2d) for layer in ready.layers)
        if ready.config.encoding != "analog":
            parts["events"] = from_spikes(ready, x, batch)
        # A single step has no memory of which neuron of a window was the busiest.
        if not (pooled or neuron.refractory or neuron.kind == "srm"):
            parts["step"] = single_step(ready, x, batch)
    return Exportable(Whole(ready), {"x": x}, OUTPUTS, {"x": batch}, parts=parts, samples=samples)


def from_spikes(model: SpikingNetwork, x: Tensor, batch: dict[int, Axis]) -> Exportable:
    """The part that takes spikes."""
    shape, steps = x.shape[1:], model.steps
    draw = torch.Generator().manual_seed(0)
    few = (torch.rand(2, steps, *shape, generator=draw) < 0.3).float()
    many = (torch.rand(SAMPLES, steps, *shape, generator=draw) < 0.3).float()
    return Exportable(
        FromSpikes(model), {"events": few}, OUTPUTS, {"events": batch}, samples={"events": many}
    )


def single_step(model: SpikingNetwork, x: Tensor, batch: dict[int, Axis]) -> Exportable:
    """The part that makes one step."""
    step = Step(model)
    with torch.no_grad():
        states = step.initial(x)
    names = [f"potential_{index}" for index in range(len(states))]
    inputs = {"x": x, **dict(zip(names, states, strict=True))}
    outputs = ("currents", *(f"{name}_after" for name in names))
    return Exportable(step, inputs, outputs, dict.fromkeys(inputs, batch))
