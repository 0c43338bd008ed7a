"""The inside of the sandbox: makes a LEMUR model, trains it an epoch at a time, lets it answer."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from automl.core.api import Frame, load_code
from automl.plugins.lemur.transform import Transform

LEMURS_OWN = ("ab.nn.util.Util", "ab.nn.loader.coco_.Caption", "ab.nn.util.Const")


class Images(Dataset[tuple[Tensor, Tensor]]):
    """Images with their classes, transformed when they are asked for; half of them mirrored."""

    def __init__(self, x: Tensor, target: Tensor, transform: Transform) -> None:
        self.x, self.target, self.transform = x, target, transform

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.transform(self.x[index : index + 1])[0]
        if self.transform.flip and torch.rand(()) < 0.5:
            image = image.flip(-1)
        return image, self.target[index]


class Hosted:
    """One untrusted model and what it is trained on."""

    def __init__(self, threads: int) -> None:
        torch.set_num_threads(threads)
        self.module: types.ModuleType | None = None
        self.net = nn.Module()
        self.prm: dict[str, Any] = {}
        self.transform = Transform("echo", 0, False)
        self.images: Images | None = None
        self.ready = False

    def __call__(self, header: dict[str, Any], payload: bytes) -> Frame:
        """Serve one request, named by ``do``."""
        command: Callable[..., Frame] = getattr(self, f"do_{header['do']}")
        return command(header, payload)

    def do_import(self, header: dict[str, Any], payload: bytes) -> Frame:
        """Execute the model's text."""
        for name in LEMURS_OWN:
            add_stand_in(name)
        self.module = load_code(header["code"], f"lemur_{header['sha256'][:16]}")
        return Frame({})

    def do_construct(self, header: dict[str, Any], payload: bytes) -> Frame:
        """Make the model anew; answer with its state."""
        assert self.module is not None
        self.prm, self.ready = header["prm"], False
        self.transform = Transform.named(header["transform"])
        seed_everything(header["seed"])
        shapes = tuple(header["in_shape"]), tuple(header["out_shape"])
        self.net = self.module.Net(*shapes, dict(self.prm), torch.device("cpu"))
        return self.state()

    def do_predict(self, header: dict[str, Any], payload: bytes) -> Frame:
        """Answer for images as they come from the dataset, at most a training batch at a time."""
        parts = torch.split(safetensors.torch.load(payload)["x"], header["batch"])
        with undisturbed(self.net, header["seed"]):
            found = [first_tensor(self.net(self.transform(part))) for part in parts]
        logits = torch.cat([tensor for tensor, _ in found])
        return Frame({"note": found[0][1]}, safetensors.torch.save({"logits": logits}))

    def do_load(self, header: dict[str, Any], payload: bytes) -> Frame:
        """Take weights."""
        self.net.load_state_dict(safetensors.torch.load(payload), strict=False)
        return Frame({})

    def do_data(self, header: dict[str, Any], payload: bytes) -> Frame:
        """Take the training split."""
        data = safetensors.torch.load(payload)
        self.images = Images(data["x"], data["target"], self.transform)
        return Frame({})

    def do_train(self, header: dict[str, Any], payload: bytes) -> Frame:
        """One epoch of the model's own ``learn``; answer with its state and what it returned."""
        assert self.images is not None
        if not self.ready:
            self.net.train_setup(dict(self.prm))  # type: ignore[operator]
            self.ready = True
        self.net.train()
        size = header["batch"]
        alone = size > 1 and len(self.images) % size == 1  # which batch normalisation cannot take
        batches = DataLoader(self.images, batch_size=size, shuffle=True, drop_last=alone)
        told = self.net.learn(batches)  # type: ignore[operator]
        state = self.state()
        return Frame({**state.header, "train": told_of_training(told)}, state.payload)

    def do_trace(self, header: dict[str, Any], payload: bytes) -> Frame:
        """The computation of ``forward`` as data."""
        from automl.plugins.lemur.trace import trace

        x = self.transform(safetensors.torch.load(payload)["x"])
        with undisturbed(self.net, 0):
            return trace(self.net, x)

    def state(self) -> Frame:
        """Every tensor of the model's state, and which of them are parameters or the same."""
        tensors: dict[str, Tensor] = {}
        layout: list[Any] = []
        seen: dict[int, str] = {}
        parameters = dict(self.net.named_parameters(remove_duplicate=False))
        for name, tensor in self.net.state_dict(keep_vars=True).items():
            if not isinstance(tensor, Tensor):
                continue
            first = seen.setdefault(id(tensor), name)
            layout.append([name, name in parameters, first])
            tensors[name] = tensor.detach().contiguous().clone()
        return Frame({"layout": layout}, safetensors.torch.save(tensors))


def handler(threads: int) -> Hosted:
    """What the sandbox serves."""
    return Hosted(threads)


def add_stand_in(name: str) -> None:
    """A module of LEMUR's own that says so when something is taken from it."""

    def missing(attribute: str) -> Any:
        if attribute.startswith("__"):  # whoever looks through all modules is not the model
            raise AttributeError(attribute)
        raise ImportError(
            f"the model takes {attribute!r} from {name}, LEMUR's own code, which is no part of "
            "the format and not here"
        )

    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        module = sys.modules.setdefault(
            ".".join(parts[:count]), types.ModuleType(".".join(parts[:count]))
        )
        module.__path__ = []
    module.__getattr__ = missing  # type: ignore[method-assign]


def seed_everything(seed: int) -> None:
    """Seed the three generators that models draw from."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def undisturbed(net: nn.Module, seed: int | None) -> Iterator[None]:
    """Evaluation that leaves no trace in the training that goes on afterwards.

    With a ``seed`` models that draw numbers while they answer draw the same ones every time.
    """
    modes = {module: module.training for module in net.modules()}
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()
    if seed is not None:
        seed_everything(seed)
    net.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        random.setstate(kept[0])
        np.random.set_state(kept[1])
        torch.set_rng_state(kept[2])


def first_tensor(output: Any) -> tuple[Tensor, str]:
    """The first tensor of whatever a model returns, and a word if it was not alone.

    Raises:
        TypeError: if there is none.
    """
    if isinstance(output, Tensor):
        return output, ""
    kind = type(output).__name__
    values = output.values() if isinstance(output, dict) else output
    if isinstance(output, dict | list | tuple):
        for value in values:
            if isinstance(value, Tensor):
                return value, f"its output is a {kind}: the first tensor in it counts"
    raise TypeError(f"forward returned a {kind}, which holds no tensor")


def told_of_training(told: Any) -> dict[str, float]:
    """What ``learn`` returned: nothing, a loss, or an accuracy and a loss."""
    if told is None:
        return {}
    values = list(told) if isinstance(told, list | tuple) else [told]
    if not all(isinstance(value, int | float | Tensor | np.generic) for value in values):
        return {}
    numbers = [float(value) for value in values]
    if len(numbers) == 1:
        return {"loss": numbers[0]}
    return {"accuracy": numbers[0], "loss": numbers[1]} if numbers else {}
