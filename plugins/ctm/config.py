"""The settings of one machine; names follow the spec of the paper."""

from __future__ import annotations

import math
from dataclasses import dataclass

from automl.core.api import ConfigError, Training, setting

ARCHITECTURES = ("ctm", "lstm", "ff")
SELECTIONS = ("random", "first-last", "random-pairing")
LOWEST_RATE = 1e-7  # the end of the cosine
LOSS_TICKS = ("min+certain", "min+last", "last", "mean")


@dataclass(frozen=True)
class Config(Training):
    """The settings of a Continuous Thought Machine, its LSTM rival or a feed-forward control."""

    steps: int = setting(1500, low=0, high=100_000_000, unit="steps", doc="optimiser steps")
    batch_size: int = setting(64, low=1, unit="examples", doc="examples per step")
    lr: float = setting(2e-3, low=1e-8, high=1, doc="learning rate of AdamW")
    warmup: int = setting(50, low=0, high=1_000_000, unit="steps", doc="linear rise of the rate")
    lr_decay: str = setting(
        "cosine", choices=("cosine", "multistep", "constant"), doc="of the rate after the rise"
    )
    clip_norm: float = setting(5.0, low=0, high=1000, doc="largest L2 norm of the gradient")
    eval_every: int = setting(100, low=1, unit="steps", doc="steps between two reports")
    arch: str = setting("ctm", choices=ARCHITECTURES, doc="the paper's machine, or a rival")
    iterations: int = setting(10, low=1, high=1000, unit="ticks", doc="internal ticks T")
    memory_length: int = setting(5, low=1, high=1000, unit="ticks", doc="history M of a neuron")
    d_model: int = setting(96, low=4, high=16_384, unit="neurons", doc="neurons, or LSTM units")
    d_input: int = setting(32, low=4, high=4096, unit="features", doc="width of the attention")
    heads: int = setting(4, low=1, high=64, unit="heads", doc="of the attention")
    synapse_depth: int = setting(1, low=1, high=16, doc="1: one layer; more: a U-Net")
    nlm: str = setting("deep", choices=("deep", "linear"), doc="each neuron's private model")
    nlm_hidden: int = setting(8, low=1, high=256, unit="units", doc="of a deep private model")
    neuron_select: str = setting("random", choices=SELECTIONS, doc="which pairs synchronise")
    n_synch_out: int = setting(16, low=1, high=4096, unit="neurons", doc="J of the readout")
    n_synch_action: int = setting(16, low=1, high=4096, unit="neurons", doc="J of the queries")
    n_self: int = setting(0, low=0, high=4096, doc="random-pairing: pairs of a neuron with itself")
    readout: str = setting("sync", choices=("sync", "state"), doc="state: an ablation")
    loss_ticks: str = setting("min+certain", choices=LOSS_TICKS, doc="ticks that are trained")
    dropout: float = setting(0.0, low=0, high=0.9, doc="before synapses")
    positions: str = setting(
        "auto",
        choices=("auto", "learned", "none"),
        doc="auto: none for mazes, else as in the paper",
    )
    tau: float = setting(0.8, low=0, high=1, doc="certainty at which thinking stops")
    lookahead: int = setting(5, low=1, high=1000, unit="moves", doc="mazes: trained past the right")
    answer_ticks: int = setting(3, low=1, high=1000, unit="ticks", doc="of digit-questions")

    def rate(self, step: int, per_epoch: int) -> float:
        """The factor of the rate: a linear rise, then a cosine, or falls at 60 and 80 %."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        if self.lr_decay == "multistep":
            return 0.1 ** ((share >= 0.6) + (share >= 0.8))
        if self.lr_decay == "constant":
            return 1.0
        lowest = LOWEST_RATE / self.lr
        return lowest + (1 - lowest) * 0.5 * (1 + math.cos(math.pi * share))

    def check(self) -> None:
        """Refuse combinations that make no sense.

        Raises:
            ConfigError: naming the settings.
        """
        if self.d_input % self.heads:
            raise ConfigError(
                f"heads={self.heads} must divide d_input={self.d_input}: take one of its divisors"
            )
        if self.arch != "ctm":
            return
        wanted = self.n_synch_out + self.n_synch_action
        if self.neuron_select == "first-last" and self.d_model < wanted:
            raise ConfigError(
                f"neuron_select='first-last' wants n_synch_out + n_synch_action = {wanted} "
                f"neurons, d_model={self.d_model} has fewer"
            )
        fewest = min(self.n_synch_out, self.n_synch_action)
        if self.n_self > fewest:
            raise ConfigError(
                f"n_self={self.n_self} pairs must be at most n_synch_out and n_synch_action: "
                f"{fewest}"
            )
        if self.n_self and self.neuron_select != "random-pairing":
            raise ConfigError(
                f"n_self={self.n_self} with neuron_select={self.neuron_select!r}: only "
                "random-pairing has such pairs"
            )


DEFAULTS = Config()
FULL = Config(
    steps=200_000, lr=1e-4, warmup=500, clip_norm=0.0, eval_every=1000, iterations=75,
    memory_length=25, d_model=1024, d_input=512, heads=8, nlm_hidden=16, n_synch_out=32,
    n_synch_action=32,
)  # fmt: skip
