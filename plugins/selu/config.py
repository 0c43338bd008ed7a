"""The settings of one network: the paper's, and those of the six networks it is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from automl.core.api import ConfigError, Training, setting

SEVEN = ("snn", "relu_msra", "batchnorm", "layernorm", "weightnorm", "highway", "resnet")
VARIANTS = (*SEVEN, "gelu")  # GELU came after the paper
PLAIN = ("snn", "relu_msra", "gelu")  # variants to which a normalisation can be added
DEPTHS, WIDTHS = (2, 3, 4, 8, 16, 32), (64, 128, 256, 512, 1024)


@dataclass(frozen=True)
class Config(Training):
    """The settings of one network; names follow the spec of the paper."""

    steps: int = setting(2000, low=0, high=100_000_000, unit="steps", doc="optimiser steps")
    epochs: int = setting(
        0, low=0, high=100_000, unit="epochs", doc="passes over the data, one report each; 0: steps"
    )
    batch_size: int = setting(128, low=1, unit="examples", doc="examples per step")
    lr: float = setting(0.01, low=1e-8, high=100, doc="learning rate of SGD")
    momentum: float = setting(0.0, low=0, high=0.999, doc="of SGD; the paper has none")
    weight_decay: float = setting(0.0, low=0, high=1, doc="pushes tau below 1: off by default")
    eval_every: int = setting(50, low=1, unit="steps", doc="steps between two reports")
    keep: str = setting("best", choices=("last", "best"), doc="best: early stopping")
    variant: str = setting("snn", choices=VARIANTS, doc="the paper's network or a rival")
    depth: int = setting(8, low=1, high=1000, unit="layers", doc="hidden layers")
    width: int = setting(256, low=1, high=65_536, unit="units", doc="of the first hidden layer")
    shape: str = setting(
        "rectangular", choices=("rectangular", "conic"), doc="equal widths, or down to the output"
    )
    dropout: float = setting(0.05, low=0, high=0.999, doc="rate of alpha dropout or dropout")
    target_mean: float = setting(0.0, low=-5, high=5, doc="mean of the SELU's fixed point")
    target_variance: float = setting(1.0, low=1e-3, high=100, doc="variance of the fixed point")
    gate_bias: float = setting(-2.0, low=-20, high=20, doc="of highway gates at the start")
    convolutions: int = setting(
        0, low=0, high=16, unit="layers", doc="3x3 layers before the dense ones; snn on images"
    )
    channels: int = setting(32, low=1, high=4096, unit="channels", doc="of convolutions")
    dropout_kind: str = setting(
        "auto", choices=("auto", "alpha", "plain"), doc="auto: alpha for snn, plain for others"
    )
    norm: str = setting(
        "auto", choices=("auto", "batch", "layer"), doc="normalisation added to a plain variant"
    )
    force: bool = setting(False, doc="allow what breaks self-normalisation")
    standardise: bool = setting(True, doc="scale inputs to mean 0, variance 1 by training data")

    def check(self) -> None:
        """Refuse combinations that make no sense.

        Raises:
            ConfigError: naming the settings.
        """
        if self.norm != "auto" and self.variant not in PLAIN:
            raise ConfigError(
                f"norm={self.norm!r} cannot be added to variant={self.variant!r}, which has its "
                f"own: use one of {', '.join(PLAIN)}"
            )
        if self.variant == "snn" and not self.force:
            for name, value in (("norm", self.norm), ("dropout_kind", self.dropout_kind)):
                if value not in ("auto", "alpha"):
                    raise ConfigError(
                        f"{name}={value!r} breaks self-normalisation; use alpha dropout and no "
                        "normalisation, or force=true"
                    )
        if self.batch_size == 1 and (
            self.variant in ("batchnorm", "resnet") or self.norm == "batch"
        ):
            raise ConfigError("batch_size=1 leaves batch normalisation without a variance: use 2")
        if self.convolutions and self.variant != "snn":
            raise ConfigError(
                f"convolutions={self.convolutions} with variant={self.variant!r}: only snn has them"
            )


DEFAULTS = Config()
FULL = Config(epochs=100, width=1024)
