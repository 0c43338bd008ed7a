"""Certificates, attacks within them, the gap to the kernel machine, and the bound on the loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings, Split
from automl.plugins.ntk_svm import certificate, losses, solvers
from automl.plugins.ntk_svm.bound import bound, rkhs_norm
from automl.plugins.ntk_svm.config import Config
from automl.plugins.ntk_svm.kernel import ntk
from automl.plugins.ntk_svm.model import CentredNetwork, KernelMachine, Machine
from automl.plugins.ntk_svm.plugin import hinge, targets_of, task_of, walking

CONFIDENCE = 0.95


def ours(plugin: Plugin[Any, Any], model: nn.Module, what: str) -> Machine:
    """The model, if it is one of this plugin's; else ``DataError``."""
    if not isinstance(model, Machine):
        raise DataError(f"{what} is for models of plugin 'ntk_svm'; this one is {plugin.name!r}'s")
    return model


def test_split(model: Machine, data: Dataset) -> tuple[Tensor, Tensor]:
    """Inputs and classes of the test split, on the model's device."""
    split = data.split("test").to(model.mean.device)
    return split.examples["x"], split.examples["target"]


class Certificate(Probe):
    """Certified l-infinity radii of the right answers on the test split."""

    name = "certificate"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """Mean, median and standard deviation of the radii; ``accuracy``, to be read with them.

        Raises:
            DataError: for other plugins' models and for deep kernel machines.
        """
        machine = ours(plugin, model, "certificate")
        x, target = test_split(machine, data)
        right = machine.eval()(x)["label"] == target
        return {
            **certificate.summary(certificate.radii(machine, x, target)),
            "accuracy": float(right.float().mean()),
        }


class Attack(Probe):
    """Projected gradient descent, 40 steps and 5 restarts, within the certified radii."""

    name = "attack"

    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``flipped``: right answers that change, none if the certificates are sound.

        ``flipped_beyond``: the share that changes within 0.3, so that an attack that never finds
        anything is seen to be one.

        Raises:
            DataError: as ``certificate``.
        """
        machine = ours(plugin, model, "attack")
        x, target = test_split(machine, data)
        found = certificate.radii(machine, x, target)
        right = found > 0
        if not bool(right.any()):
            raise DataError(f"no answer on {data.name!r} is right: there is nothing to attack")
        x, target, found = x[right], target[right], found[right]
        generator = torch.Generator().manual_seed(0)
        inside, beyond = (
            certificate.attack(machine, x, target, radius, generator)
            for radius in (found, torch.full_like(found, certificate.LARGEST))
        )
        return {"flipped": float(inside.sum()), "flipped_beyond": float(beyond.float().mean())}


def twin(model: CentredNetwork, config: Config, train: Split) -> KernelMachine:
    """The kernel machine that took the same steps on the same examples as a network."""
    found = KernelMachine(
        len(model.mean), model.outputs, model.kind, model.constant,
        examples=len(train), n_hidden=model.n_hidden,
    ).to(model.mean.device)  # fmt: skip
    for name in ("mean", "scale", "offset", "spread", "seed"):
        getattr(found, name).copy_(getattr(model, name))
    found.support.copy_(model.prepared(train.examples["x"]))
    config = replace(config, model="ntk_gd", lr_decay="none", clip_norm=0.0)
    task = task_of(found, config, train)
    order = torch.Generator().manual_seed(int(model.seed))
    start = solvers.start(task)
    *_, last = start, *islice(walking(task, start, config, order), config.steps)
    found.alpha.copy_(last.alpha)
    return found


class KernelGap(Probe):
    """How far a finite network is from the kernel machine that took the same steps."""

    name = "ntk_gap"

    @torch.no_grad()
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``nn_km_gap``, the largest difference over the test split, and relative to mean |g|.

        Raises:
            DataError: unless the model is a finite network of this plugin.
        """
        network = ours(plugin, model, "ntk_gap")
        if not isinstance(network, CentredNetwork) or not isinstance(config, Config):
            raise DataError("ntk_gap compares a finite network with its kernel machine: use "
                            "model=finite_nn")  # fmt: skip
        if config.lr_decay != "none" or config.clip_norm:
            raise DataError(
                f"lr_decay={config.lr_decay!r}, clip_norm={config.clip_norm:g}: the kernel machine "
                "takes steps of constant rate without clipping"
            )
        machine = twin(network, config, data.split("train").to(network.mean.device))
        x, _ = test_split(network, data)
        z = network.prepared(x.double())
        f, g = network.function(z), machine.function(z)
        gap = float((f - g).abs().max())
        return {"nn_km_gap": gap, "nn_km_gap_rel": gap / max(float(g.abs().mean()), 1e-12)}


class GeneralisationBound(Probe):
    """The bound on the hinge loss through the kernel machine, and what it is made of."""

    name = "generalisation_bound"

    @torch.no_grad()
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """``gen_bound``, ``gen_bound_stratified``, both losses, ``rkhs_norm`` and ``n_sv``.

        For a finite network they are those of the kernel machine that took the same steps.

        Raises:
            DataError: for other plugins' models, and for more than two classes.
        """
        machine = ours(plugin, model, "generalisation_bound")
        if machine.outputs != 1 or machine.kind != "classes" or not isinstance(config, Config):
            raise DataError("generalisation_bound is for two classes")
        train = data.split("train").to(machine.mean.device)
        if isinstance(machine, CentredNetwork):
            machine = twin(machine, config, train)
        assert isinstance(machine, KernelMachine)
        support, alpha = machine.support.double(), machine.alpha.double()
        kernel = ntk(support, support, machine.n_hidden)
        y = targets_of(machine, train.examples["target"]).double()
        train_loss = float(losses.value("hinge", kernel @ alpha, y, 0.0).mean())
        norm = rkhs_norm(kernel, alpha)
        return {
            "gen_bound": bound(train_loss, kernel, norm, CONFIDENCE),
            "gen_bound_stratified": bound(train_loss, kernel, norm, CONFIDENCE, stratified=True),
            "train_hinge_loss": train_loss,
            "hinge_loss": hinge(machine, *test_split(machine, data)),
            "rkhs_norm": norm,
            "n_sv": float((alpha != 0).any(1).sum()),
        }
