"""What can be checked of the paper at our size: the adapter adds nothing, and is uniform."""

from __future__ import annotations

import os
import warnings
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from automl.core.api import (
    Bar,
    Claim,
    ConfigError,
    DataError,
    ExportError,
    PolicyError,
    Run,
    SandboxError,
    Scores,
)
from automl.core.digits import Digits
from automl.plugins.lemur import small
from automl.plugins.lemur.config import DEFAULTS, Config, with_model
from automl.plugins.lemur.runner import Images, seed_everything

WHEEL = "AUTOML_LEMUR_WHEEL"  # where the user's wheel of nn-dataset is
EPOCHS, RATE = 10, 0.1
# models of nn-dataset 2.1.0 that need torch alone; the list was fixed beforehand
MODELS = (
    "AirNet", "AirNext", "BagNet", "BayesianNet-1", "BayesianNet-3", "ComplexNet", "DPN131",
    "DarkNet", "Diffuser", "FractalNet", "ICNet", "UNet2D", "MoEv3", "AlexNet", "InceptionV3-2",
    "ga-mut-244", "ga-mut-515", "ga-mut-285", "ga-0", "rag-a9364e66250d1f9976606fb27ad417b9",
    "alt-nn1-00b41e0154a74cd210d41f8917916a7d", "alt-0006f20cc50a90b11b218f712d9bc45b",
    "ast-dimension-AlexNet-00e3022272731eecdd9feb94c6b9a4e3",
    "FractalNet-000b91f6d44690e45b29060858c5db71", "rag-003f24dda0265971fea206c01cbd5718",
)  # fmt: skip
COMPLEX = ("ComplexNet",)
PARITY = 1e-4
BATCHES = (1, 2, 7)
FIXED = (2,)  # of a graph whose batch size is baked in


def learning(seed: int) -> Scores:
    """Train the plugin's small network through the sandbox, and in a plain loop."""
    from automl.plugins.lemur.plugin import Lemur

    plugin, data = Lemur(), Digits(name="digits")
    config = Config.from_dict({**DEFAULTS.to_dict(), "epoch": EPOCHS, "lr": RATE})
    seed_everything(seed)
    model = plugin.build(config, data.info)
    run = Run(data, seed)
    plugin.fit(model, config, run)
    mine, plain = model.state(), plain_loop(config, data, seed)
    return {
        "accuracy": max(report.scores["accuracy"] for report in run.history),
        "different_tensors": sum(not torch.equal(mine[name], plain[name]) for name in plain),
    }


def plain_loop(config: Config, data: Digits, seed: int) -> dict[str, Tensor]:
    """The state of the same network after as many epochs without any of this plugin."""
    from automl.plugins.lemur.transform import Transform

    transform, examples = Transform.named(config.transform), data.split("train").examples
    images = Images(examples["x"], examples["target"], transform)
    seed_everything(seed)
    shape = (config.batch, *transform.shape(8, 8))
    net = small.Net(shape, (10,), config.hyperparameters, torch.device("cpu"))
    net.train_setup(config.hyperparameters)
    for _ in range(config.epoch):
        net.train()
        net.learn(DataLoader(images, batch_size=config.batch, shuffle=True))
    return dict(net.state_dict())


def uniformity(seed: int) -> Scores:
    """Try every model of the list for an epoch of a quarter of digits.

    Without the wheel there is nothing to count, and the claim stays inconclusive.
    """
    wheel = os.environ.get(WHEEL, "")
    if not wheel:
        warnings.warn(
            f"set {WHEEL} to a wheel (pip download --no-deps nn-dataset==2.1.0)", stacklevel=2
        )
        return {}
    found = [attempt(wheel, name, seed) for name in MODELS]
    built = [scores for scores in found if scores["constructed"]]
    names = ("trained", "taken_out", "refused")
    counts = {name: float(sum(scores[name] for scores in built)) for name in names}
    good = sum(s["trained"] and (s["taken_out"] or s["refused"]) for s in built)
    return {"constructed": float(len(built)), **counts, "share": good / max(1, len(built))}


def attempt(wheel: str, name: str, seed: int) -> dict[str, bool]:
    """How far one model gets at 32 x 32 pixels."""
    from automl.plugins.lemur.plugin import Lemur

    plugin, data = Lemur(), Digits(name="digits", test=0.5, valid=0.5)
    reached = dict.fromkeys(("constructed", "trained", "taken_out", "refused"), False)
    try:
        config = with_model(
            f"{wheel}!{name}", epoch=1, transform="complex_32" if name in COMPLEX else "norm_32"
        )
        seed_everything(seed)
        model = plugin.build(config, data.info)
        reached["constructed"] = True
        plugin.fit(model, config, Run(data, seed))
        reached["trained"] = True
        graph, static = model.graph()
        reached["taken_out"] = agrees(graph, model, data, FIXED if static else BATCHES)
    except ExportError:
        reached["refused"] = True
    except (ConfigError, DataError, PolicyError, SandboxError) as error:
        print(f"{name}: {error}")  # noqa: T201  the reason, beside the count
    return reached


def agrees(graph: Any, model: Any, data: Digits, sizes: tuple[int, ...]) -> bool:
    """Whether the computation outside equals the model's answers at these batch sizes."""
    x = data.split("valid").examples["x"]
    with torch.no_grad():
        gaps = [(graph(x[:n]) - model(x[:n])["logits"]).abs().max() for n in sizes]
    return float(torch.stack(gaps).max()) <= PARITY


CLAIMS = (
    Claim(
        name="learning",
        statement="A model trains through the adapter as in a plain loop, bit for bit, and learns.",
        source="the uniform code template; no figure of the paper's own",
        runs=(),
        bars=(
            Bar("small network", "accuracy", at_least=0.95),
            Bar("small network", "different_tensors", at_most=0),
        ),
        checks={"small network": learning},
        check_seeds=3,
    ),
    Claim(
        name="uniformity",
        statement="Models published in the format train, answer and are exported unmodified, or "
        "are refused with a reason.",
        source="the uniform code template; no figure of the paper's own",
        runs=(),
        bars=(Bar("published models", "share", at_least=0.9),),
        checks={"published models": uniformity},
        scale="full",
    ),
)
