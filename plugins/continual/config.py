"""The settings: which method, in which setting, and what each method asks for."""

from __future__ import annotations

from dataclasses import dataclass

from automl.core.api import ConfigError, Settings, setting

# task boundaries are known
TASK_METHODS = ("finetune", "joint", "lwf", "ebll", "ewc", "si", "mas", "slnid", "expert_gate")
REPLAY_METHODS = (
    "random", "reservoir", "balanced", "gss_greedy", "gss_iqp", "gss_clust", "mir", "agem",
)  # fmt: skip
ONLINE_METHODS = ("finetune", "task_free", *REPLAY_METHODS)  # boundaries are hidden
METHODS = tuple(dict.fromkeys((*TASK_METHODS, *ONLINE_METHODS)))
WEIGHT_METHODS = ("ewc", "si", "mas", "slnid", "task_free")  # a quadratic penalty on weights
DISTILLING = ("lwf", "ebll")


@dataclass(frozen=True)
class Config(Settings):
    """A method with its network and its descent; settings of other methods do nothing."""

    method: str = setting("mas", choices=METHODS, doc="how forgetting is fought")
    boundaries: str = setting("known", choices=("known", "hidden"), doc="of tasks, while learning")
    heads: str = setting("single", choices=("single", "multi"), doc="one output layer for a task?")
    hidden: int = setting(64, low=1, high=4096, unit="units", doc="width of hidden layers")
    layers: int = setting(2, low=1, high=8, doc="hidden layers")
    lr: float = setting(0.05, low=1e-5, high=10, doc="learning rate of SGD")
    momentum: float = setting(0.0, low=0, high=0.999, doc="of SGD; starts anew with every task")
    batch_size: int = setting(32, low=1, high=10_000, unit="examples", doc="examples per step")
    epochs: int = setting(15, low=1, high=1000, unit="epochs", doc="passes over a task; online: 1")
    iterations: int = setting(1, low=1, high=100, doc="steps on each batch")
    lam: float = setting(0.1, low=0, high=1e6, doc="strength of the penalty on important weights")
    importance: str = setting(
        "gradient", choices=("gradient", "vector", "hebbian"), doc="MAS: of the squared norm, of "
        "each output, or local",
    )  # fmt: skip
    accumulate: str = setting("sum", choices=("sum", "mean", "decay"), doc="importance over tasks")
    samples: int = setting(1000, low=1, high=1_000_000, doc="examples that importance is taken on")
    lam_ssl: float = setting(1e-3, low=0, high=1e3, doc="SLNID: strength of the sparsity penalty")
    scale: float = setting(6.0, low=1, high=100, doc="SLNID: units over the inhibition's radius")
    inhibition: str = setting(
        "full", choices=("full", "no_discount", "no_window", "window"), doc="SLNID: its variants"
    )
    temperature: float = setting(2.0, low=0.1, high=100, doc="of distillation")
    alpha: float = setting(1e-2, low=0, high=1e3, doc="EBLL: strength of the code loss")
    code: int = setting(32, low=1, high=4096, unit="units", doc="EBLL: size of a task's code")
    gate: int = setting(100, low=1, high=4096, unit="units", doc="expert gate: autoencoder")
    gate_temperature: float = setting(2.0, low=0.01, high=100, doc="expert gate: softmax")
    related: float = setting(0.85, low=-10, high=1, doc="expert gate: distil from here on")
    memory: int = setting(100, low=1, high=1_000_000, unit="examples", doc="size of the buffer")
    replay: int = setting(10, low=1, high=10_000, unit="examples", doc="replayed in each step")
    vectors: int = setting(10, low=1, high=1000, doc="GSS: gradients of the buffer compared with")
    threshold: float = setting(0.0, low=-1, high=1, doc="GSS: a batch this similar is not stored")
    hard: int = setting(50, low=1, high=10_000, unit="examples", doc="task-free: hard examples")
    window: int = setting(5, low=2, high=1000, unit="batches", doc="task-free: losses looked at")
    plateau_mean: float = setting(0.3, low=0, high=100, doc="task-free: mean loss of a plateau")
    plateau_std: float = setting(0.1, low=0, high=100, doc="task-free: its standard deviation")

    def check(self) -> None:
        """Refuse methods that want to know what their setting hides."""
        allowed = TASK_METHODS + REPLAY_METHODS if self.boundaries == "known" else ONLINE_METHODS
        if self.method not in allowed:
            hidden = self.boundaries == "hidden"
            why = "task boundaries are hidden in this setting" if hidden else "it needs none"
            raise ConfigError(
                f"method={self.method!r} does not go with boundaries={self.boundaries!r}: {why}; "
                f"use one of {', '.join(allowed)}"
            )
        if self.boundaries == "hidden" and self.heads == "multi":
            raise ConfigError(
                "heads='multi' does not go with boundaries='hidden': task boundaries are hidden "
                "in this setting, so no head can be chosen; use heads=single"
            )
        if self.method in REPLAY_METHODS and self.memory < self.replay:
            raise ConfigError(
                f"memory={self.memory} is smaller than replay={self.replay}: a buffer must hold "
                "at least what one step replays"
            )


DEFAULTS = Config()
FULL = Config(hidden=100, lr=0.01, batch_size=200, epochs=10)
ONLINE = Config(
    method="gss_greedy", boundaries="hidden", hidden=100, batch_size=10, epochs=1, iterations=3
)
