"""A LEMUR model seen from outside: its weights are here, its code runs in the sandbox."""

from __future__ import annotations

import warnings
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from automl.core.api import (
    ConfigError,
    DataError,
    ExportError,
    Limits,
    Sandbox,
    SandboxError,
    Split,
)
from automl.plugins.lemur.config import Config
from automl.plugins.lemur.graph import Graph
from automl.plugins.lemur.transform import Transform

SMALL_BATCH = 2  # images of the first try
SIZES = (32, 64, 128, 256)  # that a transform can make
EVALUATION_SEED = 0
HANDLER = "automl.plugins.lemur.runner:handler"


class SandboxedModel(nn.Module):
    """Parameters and buffers under the model's own names; ``forward`` asks the sandbox.

    What comes back is data (safetensors and JSON) and is checked. The answers are scored outside,
    so that code cannot give itself a score, and the true classes of validation and test images
    never go in.

    Raises:
        SandboxError: if the code fails or breaks a limit; its ``ending`` has the stage: import,
            construct, forward, train.
        ConfigError: if images of this size are too small and larger ones are not.
    """

    def __init__(self, config: Config, shape: tuple[int, ...], classes: int, seed: int) -> None:
        super().__init__()
        self.config, self.raw_shape, self.classes, self.model_seed = config, shape, classes, seed
        self.transform = Transform.named(config.transform)
        limits = Limits(
            seconds=config.seconds, cpu_seconds=config.cpu_seconds, memory_mb=config.memory_mb
        )
        self.sandbox = Sandbox(HANDLER, {"threads": torch.get_num_threads()}, limits)
        source = config.source
        self.sandbox.ask("import", {"do": "import", "code": source.code, "sha256": source.sha256})
        self.noted = ""
        try:
            self.start()
        except SandboxError as error:
            raise self.too_small() or error from None

    def start(self) -> None:
        """Construct the model, take its state and try one answer."""
        tensors, layout = self._construct(self.config.transform)
        self.names = [name for name, _, _ in layout]
        for name, parameter, first in layout:
            self._register(name, tensors[name], parameter, first)
        self._versions = self._seen()
        self._answer("forward", torch.zeros(SMALL_BATCH, *self.raw_shape))

    def _construct(self, transform: str) -> tuple[dict[str, Tensor], list[Any]]:
        _, height, width = self.raw_shape
        header = {
            "do": "construct",
            "in_shape": [self.config.batch, *Transform.named(transform).shape(height, width)],
            "out_shape": [self.classes],
            "prm": {**self.config.hyperparameters, "transform": transform},
            "transform": transform,
            "seed": self.model_seed,
        }
        frame = self.sandbox.ask("construct", header)
        return decoded(frame.payload), frame.header["layout"]

    def _register(self, name: str, tensor: Tensor, parameter: bool, first: str) -> None:
        *path, leaf = name.split(".")
        owner: nn.Module = self
        for part in ("net", *path):
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if not parameter:
            owner.register_buffer(leaf, tensor)
        elif first != name:  # the same parameter under another name
            owner.register_parameter(leaf, self.get_parameter(f"net.{first}"))
        else:
            trained = tensor.is_floating_point() or tensor.is_complex()
            owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=trained))

    def too_small(self) -> ConfigError | None:
        """What to say if larger images work where these do not."""
        size = self.transform.size or min(self.raw_shape[1:])
        for larger in (other for other in SIZES if other > size and self.sandbox.alive):
            name = f"{self.transform.kind}_{larger}"
            try:
                self._construct(name)
                self._ask_for_answer("forward", torch.zeros(SMALL_BATCH, *self.raw_shape))
            except SandboxError:
                continue
            return ConfigError(
                f"{self.config.source.name} needs larger images (got {size} px): it works at "
                f"{larger} px, use transform={name}"
            )
        return None

    def state(self) -> dict[str, Tensor]:
        """The tensors by the names that the model's own code gives them."""
        found = self.state_dict(keep_vars=True)
        return {name: found[f"net.{name}"] for name in self.names}

    def _seen(self) -> tuple[tuple[int, int], ...]:
        return tuple((tensor.data_ptr(), tensor._version) for tensor in self.state().values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images as the dataset has them (batch, channels, height, width) to logits.

        Who counts or follows its operators (a torch dispatch mode is on) sees the same computation
        here, outside.
        """
        if _get_current_dispatch_mode_stack():
            return {"logits": self.graph()[0](x)}
        self.send_state()
        return {"logits": self._answer("forward", x).to(x.device)}

    def send_state(self) -> None:
        """Give the sandbox the weights if they have changed here."""
        if self._seen() != self._versions:
            kept = {n: tensor.detach().cpu().contiguous() for n, tensor in self.state().items()}
            copies = {name: tensor.clone() for name, tensor in kept.items()}
            self.sandbox.ask("load", {"do": "load"}, safetensors.torch.save(copies))
            self._versions = self._seen()

    def _ask_for_answer(self, stage: str, x: Tensor) -> tuple[Tensor, str]:
        content = safetensors.torch.save({"x": x.detach().cpu().contiguous()})
        header = {"do": "predict", "seed": EVALUATION_SEED, "batch": self.config.batch}
        frame = self.sandbox.ask(stage, header, content)
        return decoded(frame.payload)["logits"], str(frame.header["note"])

    def _answer(self, stage: str, x: Tensor) -> Tensor:
        logits, note = self._ask_for_answer(stage, x)
        if tuple(logits.shape) != (len(x), self.classes) or not logits.is_floating_point():
            raise DataError(
                f"{self.config.source.name} answers {len(x)} images with {logits.dtype} "
                f"{tuple(logits.shape)}: floating point ({len(x)}, {self.classes}) is wanted"
            )
        if note and note != self.noted:
            self.noted = note
            warnings.warn(f"{self.config.source.name}: {note}", stacklevel=2)
        return logits

    def give_data(self, train: Split) -> None:
        """Send the training split; nothing else of the data ever goes in with its classes."""
        data = {key: train.examples[key].cpu().contiguous() for key in ("x", "target")}
        self.sandbox.ask("train", {"do": "data"}, safetensors.torch.save(data))

    def learn(self) -> dict[str, float]:
        """One epoch inside; take the weights and return what it said of it."""
        self.send_state()
        frame = self.sandbox.ask("train", {"do": "train", "batch": self.config.batch})
        found, mine = decoded(frame.payload), self.state()
        with torch.no_grad():
            for name, tensor in mine.items():
                if name not in found or found[name].shape != tensor.shape:
                    raise DataError(f"{name!r} changed its shape or went away while training")
                tensor.copy_(found[name])
        self._versions = self._seen()
        told = frame.header["train"]
        return {str(name): float(value) for name, value in told.items()}

    def graph(self) -> tuple[nn.Module, str]:
        """The computation outside the sandbox, and why its batch size is fixed (empty: free).

        Raises:
            ExportError: if it cannot be had, or is not the same twice.
        """
        self.send_state()
        x = torch.rand(SMALL_BATCH, *self.raw_shape, generator=torch.Generator().manual_seed(0))
        content = safetensors.torch.save({"x": x})
        try:
            header, payload = self.sandbox.ask("trace", {"do": "trace"}, content)
        except SandboxError as error:
            raise ExportError(f"the model's computation cannot be followed: {error}") from error
        if header["stochastic"]:
            raise ExportError(
                f"{self.config.source.name} is stochastic at inference: two answers to the same "
                "images differ, so no file can be checked against it"
            )
        state = {name: tensor.detach().cpu() for name, tensor in self.state().items()}
        graph = Graph(header["nodes"], header["output"], state, decoded(payload))
        return Outside(self.transform, graph), str(header["static"])


class Outside(nn.Module):
    """The transform and the computation, one after another."""

    def __init__(self, transform: Transform, graph: Graph) -> None:
        super().__init__()
        self.transform, self.computation = transform, graph

    def forward(self, x: Tensor) -> Tensor:
        """Images as the dataset has them to logits."""
        answer: Tensor = self.computation(self.transform(x))
        return answer


def decoded(payload: bytes) -> dict[str, Tensor]:
    """Tensors that came out of the sandbox.

    Raises:
        DataError: if they are none.
    """
    try:
        return safetensors.torch.load(payload)
    except SafetensorError as error:
        raise DataError(f"the sandbox answered with what is no safetensors: {error}") from None
