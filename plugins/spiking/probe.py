"""Spikes, synaptic operations and energy of a fitted network, counted on the test split.

An addition (AC) and a multiplication with addition (MAC) of 32-bit floating-point numbers are
taken as 0.9 and 4.6 pJ at 45 nm (Horowitz, ISSCC 2014), memory and control left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.spiking.events import NEVER, FirstSpikeNetwork
from automl.plugins.spiking.network import SpikingNetwork, ann_macs

ADDITION, MULTIPLICATION = 0.9, 4.6  # pJ
PART = 128  # examples simulated at once


class SpikeEnergy(Probe):
    """Operations per example, by layer and in all, beside the ReLU network's."""

    name = "spike_energy"

    @torch.no_grad()
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """The table of scores in the README.

        ``ops_ratio`` is (synops + input MACs) / MACs of the ReLU network of the same widths, real
        inputs counted once; in ``ops_ratio_uncached`` they are multiplied anew at every step, and
        likewise for ``energy_ratio``, which is the ReLU network's energy over this one's.
        ``latency`` is the mean first step at which the running decision is the final one.

        Raises:
            DataError: for models of other plugins, and for the two systems whose synapses (several
                delays; a competition) have no counterpart in a network of ReLUs.
        """
        split = data.split("test")
        device = next((buffer.device for buffer in model.buffers()), torch.device("cpu"))
        parts = split.to(device).batches(PART)
        model.eval()
        if isinstance(model, FirstSpikeNetwork):
            return first_spike_costs(model, [part["x"] for part in parts])
        if not isinstance(model, SpikingNetwork):
            raise DataError(
                f"spike_energy counts what networks of plugin 'spiking' with modes surrogate, "
                f"conversion, ttfs_exact and ann do; this is a {type(model).__name__} of plugin "
                f"{plugin.name!r}"
            )
        return network_costs(model, [part["x"] for part in parts])


def compare(additions: list[float], inputs: float, macs: list[float], steps: int) -> Scores:
    """Scores from additions by layer, real-valued input MACs and the ReLU network's MACs."""
    total, whole = sum(additions), sum(macs)
    reference = MULTIPLICATION * whole

    def energy(times: int) -> float:
        return reference / max(1e-12, ADDITION * total + MULTIPLICATION * inputs * times)

    return {
        "synops": total,
        **{f"synops.{number}": value for number, value in enumerate(additions, start=1)},
        "macs": whole,
        "input_macs": inputs,
        "ops_ratio": (total + inputs) / whole,
        "ops_ratio_uncached": (total + inputs * steps) / whole,
        "energy_ratio": energy(1),
        "energy_ratio_uncached": energy(steps),
    }


def network_costs(model: SpikingNetwork, parts: list[Tensor]) -> Scores:
    """The costs of a simulated network; of the ReLU network itself in mode ``ann``."""
    macs = ann_macs(model.layers, parts[0][:1])
    if model.config.mode == "ann":
        found = compare([0.0] * len(macs), sum(macs), macs, 1)
        return {**found, "spikes_per_neuron": 0.0, "latency": 1.0, "steps": 1.0}
    operations, latency, spikes, inputs = [], [], [], 0.0
    neurons: list[int] = []
    for x in parts:
        trace = model.simulate(model.encode(x), count=True)
        operations.append(torch.stack(trace.operations, 1))
        spikes.append(torch.stack([layer.flatten(2).sum((0, 2)) for layer in trace.spikes], 1))
        neurons = [layer[0, 0].numel() for layer in trace.spikes]
        inputs = sum(trace.multiplications)
        decisions = trace.logits.argmax(-1)
        latency.append((decisions == decisions[-1]).to(torch.int64).argmax(0) + 1)
    additions = torch.cat(operations).double().mean(0).tolist()
    counts = torch.cat(spikes).double().mean(0).tolist()
    by_layer = {
        f"spikes_per_neuron.{number}": count / size
        for number, (count, size) in enumerate(zip(counts, neurons, strict=True), start=1)
    }
    return {
        **compare(additions, inputs, macs, model.steps),
        "spikes_per_neuron": sum(counts) / sum(neurons),
        **by_layer,
        "latency": float(torch.cat(latency).double().mean()),
        "steps": float(model.steps),
    }


def first_spike_costs(model: FirstSpikeNetwork, parts: list[Tensor]) -> Scores:
    """The costs of exact spike times: an addition for each input that a neuron waited for."""
    operations, fired, decided = [], [], []
    for x in parts:
        times, waited = model.layers(x)
        operations.append(torch.stack(waited, 1))
        fired.append(torch.cat([z < NEVER for z in times], 1).double().mean(1))
        decided.append(times[-1].amin(1).clamp(max=NEVER).log())
    macs = [float(weight.numel()) for weight in model.weights]
    additions = torch.cat(operations).double().mean(0).tolist()
    return {
        **compare(additions, 0.0, macs, 1),
        "spikes_per_neuron": float(torch.cat(fired).mean()),
        "latency": float(torch.cat(decided).mean()) * model.config.tau_s,
        "steps": 1.0,
    }
