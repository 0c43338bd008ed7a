"""The settings of one network and of the noise."""

from __future__ import annotations

from dataclasses import dataclass

from automl.core.api import ConfigError, Training, setting

ARCHITECTURES = ("mlp20", "memn2n", "neural_gpu")
INITS = ("simple", "he", "sussillo_abbott", "orthogonal", "zero")
SCHEDULES = ("annealed", "constant", "none")
ORDERS = ("after_clip", "before_clip")
OPTIMIZERS = ("sgd", "momentum", "adam")


@dataclass(frozen=True)
class Config(Training):
    """The settings of one network; names follow the spec of the paper."""

    steps: int = setting(3000, low=0, high=100_000_000, unit="steps", doc="optimiser steps")
    batch_size: int = setting(50, low=1, unit="examples", doc="examples per step")
    lr: float = setting(0.05, low=1e-8, high=100, doc="learning rate")
    clip_norm: float = setting(10.0, low=0, high=1e6, doc="largest gradient norm; 0: none")
    eval_every: int = setting(100, low=1, unit="steps", doc="steps between two reports")
    keep: str = setting("best", choices=("last", "best"), doc="noisy training dips: best")
    arch: str = setting("auto", choices=("auto", *ARCHITECTURES), doc="auto: by the problem")
    optimizer: str = setting("sgd", choices=OPTIMIZERS, doc="momentum is 0.9")
    noise: str = setting("annealed", choices=SCHEDULES, doc="variance over steps")
    eta: float = setting(0.3, low=0, high=1e6, doc="variance of the noise at the first step")
    gamma: float = setting(0.55, low=0, high=10, doc="exponent of the variance's decay")
    noise_order: str = setting("after_clip", choices=ORDERS, doc="before: noise is clipped too")
    halve_every: int = setting(
        0, low=0, high=1_000_000, unit="epochs", doc="learning rate is halved; 0: never"
    )
    depth: int = setting(20, low=1, high=1000, unit="layers", doc="hidden layers of mlp20")
    width: int = setting(50, low=1, high=65_536, unit="units", doc="of each hidden layer")
    init: str = setting("simple", choices=INITS, doc="weights of mlp20; biases are zero")
    dropout: float = setting(0.0, low=0, high=0.95, doc="after each layer, or of the state")
    standardise: bool = setting(False, doc="scale inputs to mean 0, variance 1 by training data")
    hops: int = setting(3, low=1, high=20, doc="reads of the memory")
    d_mem: int = setting(20, low=1, high=4096, unit="units", doc="width of the memory")
    linear_start: bool = setting(False, doc="no softmax over memories until validation stalls")
    gpu_width: int = setting(4, low=1, high=64, unit="columns", doc="of a neural GPU's state")
    gpu_maps: int = setting(24, low=1, high=1024, unit="maps", doc="of a neural GPU's state")
    copies: int = setting(
        6, low=1, high=64, doc="of a neural GPU's parameters, used in turn and pulled together"
    )
    pull: float = setting(1e-3, low=0, high=1e3, doc="weight of that pull at the end, from 0")
    curriculum: float = setting(
        0.5, low=0, high=1, unit="share", doc="of the steps until all lengths take part"
    )

    def check(self) -> None:
        """Refuse combinations that make no sense.

        Raises:
            ConfigError: naming the settings.
        """
        if self.noise != "none" and self.noise_order == "before_clip" and not self.clip_norm:
            raise ConfigError(
                "noise_order='before_clip' with clip_norm=0: nothing is clipped, use 'after_clip'"
            )


DEFAULTS = Config()
FULL = Config(steps=21_600, eval_every=1080, lr=0.1)  # 20 epochs of MNIST
