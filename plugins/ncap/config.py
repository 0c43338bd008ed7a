"""The settings of a policy and of the three ways to learn it."""

from dataclasses import dataclass

from automl.core.api import ConfigError, Settings, setting

ALGORITHMS = ("es", "ppo", "ddpg", "search_weights")
HIDDEN = ("2x2", "16x16", "64x64", "256x256")
MOST_WEIGHT = 2.0


@dataclass(frozen=True)
class Config(Settings):
    """The settings of one policy; names follow the spec of the paper.

    A step is a generation of the evolution strategy, or ``segment`` control steps of the others.
    """

    steps: int = setting(30, low=0, high=1_000_000, unit="rounds", doc="generations or segments")
    eval_every: int = setting(1, low=1, unit="rounds", doc="rounds between two reports")
    algo: str = setting("es", choices=ALGORITHMS, doc="how to learn; search_weights: not at all")
    policy: str = setting("ncap", choices=("ncap", "mlp"), doc="the circuit or a plain network")

    oscillator_period: int = setting(60, low=2, high=1000, unit="steps", doc="of the head")
    weight_sharing: bool = setting(True, doc="one weight per kind of synapse, not per joint")
    sign_constraints: bool = setting(True, doc="excitation stays positive, inhibition negative")
    init: str = setting(
        "constant", choices=("constant", "uniform", "signs"), doc="+-1, U(0, +-1), or random +-1"
    )
    proprioception: bool = setting(True, doc="joints feel their neighbour's bend")
    oscillator: bool = setting(True, doc="the head's rhythm")
    turn_joints: int = setting(1, low=1, high=64, unit="joints", doc="that turning commands bend")
    controller: str = setting(
        "rule", choices=("rule", "learned"), doc="who steers to a target: thresholds, or a layer"
    )
    prop: float = setting(1.0, low=-MOST_WEIGHT, high=MOST_WEIGHT, doc="search_weights: bend")
    osc: float = setting(1.0, low=-MOST_WEIGHT, high=MOST_WEIGHT, doc="search_weights: rhythm")
    ipsi: float = setting(1.0, low=-MOST_WEIGHT, high=MOST_WEIGHT, doc="search_weights: own side")
    contra: float = setting(
        -1.0, low=-MOST_WEIGHT, high=MOST_WEIGHT, doc="search_weights: other side"
    )

    hidden: str = setting("64x64", choices=HIDDEN, doc="units of the plain network's two layers")
    activation: str = setting("tanh", choices=("tanh", "relu"), doc="of the plain network")
    normalise: bool = setting(True, doc="plain networks see observations standardised")

    population: int = setting(16, low=2, high=4096, unit="members", doc="es: half are mirrored")
    sigma: float = setting(0.02, low=1e-6, high=10, doc="es: standard deviation of the noise")
    lr: float = setting(0.01, low=1e-6, high=10, doc="es: learning rate of Adam")
    l2: float = setting(0.005, low=0, high=1, doc="es: weight decay")

    workers: int = setting(4, low=1, high=256, unit="swimmers", doc="ppo, ddpg: side by side")
    segment: int = setting(4096, low=16, high=1_000_000, unit="steps", doc="ppo, ddpg: a round")
    gamma: float = setting(0.99, low=0, high=1, doc="ppo, ddpg: discount")
    action_noise: float = setting(0.1, low=1e-4, high=2, doc="ppo, ddpg: of actions in training")
    lr_actor: float = setting(3e-4, low=1e-7, high=1, doc="ppo: learning rate of the policy")
    lr_critic: float = setting(1e-3, low=1e-7, high=1, doc="ppo: learning rate of the value")
    gae_lambda: float = setting(0.97, low=0, high=1, doc="ppo: of the advantage estimator")
    clip: float = setting(0.2, low=0.01, high=1, doc="ppo: largest change of a probability ratio")
    iterations: int = setting(80, low=1, high=10_000, doc="ppo: full-batch updates per segment")
    kl_stop: float = setting(0.015, low=1e-6, high=10, unit="nats", doc="ppo: stops the policy")
    lr_ddpg: float = setting(1e-3, low=1e-7, high=1, doc="ddpg: learning rate of both networks")
    batch_size: int = setting(100, low=1, high=100_000, unit="steps", doc="ddpg: replayed")
    buffer: int = setting(1_000_000, low=100, high=10_000_000, unit="steps", doc="ddpg: kept")
    start_steps: int = setting(20_000, low=0, high=10_000_000, unit="steps", doc="ddpg: random")
    start_learning: int = setting(
        10_000, low=0, high=10_000_000, unit="steps", doc="ddpg: before the first update"
    )
    update_every: int = setting(50, low=1, high=100_000, unit="steps", doc="ddpg: and as many")
    target_rate: float = setting(0.005, low=1e-6, high=1, doc="ddpg: of the target networks")

    def check(self) -> None:
        """Refuse what makes no sense together."""
        if self.population % 2:
            raise ConfigError(
                f"population={self.population}: ES population must be even (mirrored sampling)"
            )
        if self.init == "signs" and self.sign_constraints:
            raise ConfigError(
                "init='signs' contradicts sign_constraints=True: set sign_constraints=false, "
                "or init=uniform"
            )
        if self.segment % self.workers:
            raise ConfigError(
                f"segment={self.segment} must be a multiple of workers={self.workers}"
            )
        if self.algo == "search_weights" and (self.policy != "ncap" or not self.weight_sharing):
            raise ConfigError(
                "algo='search_weights' sets the four shared weights of the circuit: it needs "
                "policy=ncap and weight_sharing=true"
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """Units of the plain network's hidden layers."""
        return tuple(int(width) for width in self.hidden.split("x"))


DEFAULTS = Config()
FULL = Config(steps=625, eval_every=5)  # 10^7 control steps
