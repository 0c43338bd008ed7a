"""The settings of one machine: a kernel machine solved, one descended, or a finite network."""

from __future__ import annotations

from dataclasses import dataclass

from automl.core.api import ConfigError, Training, setting

MODELS = ("ntk_dual", "ntk_gd", "finite_nn")
LOSSES = ("hinge", "sq_hinge", "squared", "logistic", "eps_insensitive")
NUMBER_LOSSES = ("squared", "eps_insensitive")  # Table 1's losses for numeric targets


@dataclass(frozen=True)
class Config(Training):
    """The settings of one machine; names follow the spec of the paper."""

    steps: int = setting(
        2000, low=0, high=100_000_000, unit="steps", doc="of descent; passes of the dual solver"
    )
    batch_size: int = setting(0, low=0, unit="examples", doc="per step; 0: all of them")
    lr: float = setting(0.1, low=1e-8, high=100, doc="learning rate, constant")
    eval_every: int = setting(100, low=1, unit="steps", doc="steps between two reports")
    model: str = setting(
        "ntk_dual", choices=MODELS, doc="kernel machine at its optimum or descended, or network"
    )
    loss: str = setting("hinge", choices=LOSSES, doc="of classes against margins (Table 1)")
    number_loss: str = setting("squared", choices=NUMBER_LOSSES, doc="of numeric targets")
    svr_eps: float = setting(0.1, low=0, high=10, doc="half width of the insensitive tube")
    lam: float = setting(1e-3, low=0, high=1e6, doc="weight of the penalty")
    lam_form: str = setting(
        "mean", choices=("mean", "sum"), doc="the penalty stands beside a mean or a sum of losses"
    )
    decay: str = setting(
        "all", choices=("all", "batch_only"), doc="which coefficients decay (authors' code: batch)"
    )
    n_hidden: int = setting(1, low=1, high=16, unit="layers", doc="hidden layers")
    width: int = setting(1024, low=1, high=2_000_000, unit="units", doc="of a finite network")
    constant: float = setting(
        0.0, low=0, high=100, doc="appended to every input, as a bias would be; 0: the paper's none"
    )
    standardise: bool = setting(False, doc="scale inputs to mean 0, variance 1 by training data")
    tolerance: float = setting(1e-3, low=1e-12, high=1, doc="violation at which the dual stops")
    max_examples: int = setting(
        10_000, low=2, high=200_000, unit="examples", doc="largest kernel matrix"
    )

    def check(self) -> None:
        """Refuse combinations that make no sense.

        Raises:
            ConfigError: naming the settings.
        """
        if self.model == "ntk_dual" and self.lam == 0:
            for name, loss in (("loss", self.loss), ("number_loss", self.number_loss)):
                if loss != "squared":
                    raise ConfigError(
                        f"lam=0 with {name}={loss!r}: a hard margin is not supported by "
                        "model='ntk_dual', use lam > 0"
                    )
        if self.model != "ntk_dual" and self.lam_form == "mean" and self.lr * self.lam >= 1:
            raise ConfigError(
                f"lr={self.lr:g} and lam={self.lam:g}: the decay factor 1 - lr*lam must be in "
                "(0, 1), lower one of them"
            )
        if self.model == "ntk_gd" and (self.lr_decay != "none" or self.clip_norm):
            raise ConfigError(
                f"lr_decay={self.lr_decay!r}, clip_norm={self.clip_norm:g}: model='ntk_gd' "
                "descends by a constant rate without clipping"
            )
        if self.model != "ntk_gd" and self.decay != "all":
            raise ConfigError(f"decay={self.decay!r} is for model='ntk_gd', not {self.model!r}")


DEFAULTS = Config()
FULL = Config(model="finite_nn", width=10_000, batch_size=64, lr=1.0, steps=53_400, eval_every=1780)
