"""The settings of the five systems; those of one system mean nothing to the others."""

from __future__ import annotations

from dataclasses import dataclass

from automl.core.api import ConfigError, Training, setting

SEARCHED = ("surrogate", "conversion", "spikeprop", "ttfs_exact", "stdp")
MODES = (*SEARCHED, "ann")  # the same network of ReLUs, to compare with
DENSE = ("64", "128", "128-128", "256-256")
CONVOLUTIONAL = ("8c5-p2-16c5-p2", "8c5-p2-16c5-p2-128")
HIDDEN = (*DENSE, "1200-1200", *CONVOLUTIONAL)
SURROGATES = ("fast_sigmoid", "triangular", "atan", "sigmoid")


@dataclass(frozen=True)
class Config(Training):
    """The settings of one network; names follow the spec of the paper."""

    steps: int = setting(480, low=0, high=100_000_000, unit="steps", doc="optimiser steps")
    epochs: int = setting(
        0, low=0, high=100_000, unit="epochs", doc="passes over the data, one report each; 0: steps"
    )
    batch_size: int = setting(64, low=1, unit="examples", doc="examples per step")
    lr: float = setting(2e-3, low=1e-8, high=100, doc="learning rate")
    optimizer: str = setting("adam", choices=("adam", "sgd"), doc="sgd: SpikeProp's delta rule")
    eval_every: int = setting(48, low=1, unit="steps", doc="steps between two reports")
    mode: str = setting("surrogate", choices=MODES, doc="the system; ann: ReLUs instead of spikes")
    encoding: str = setting(
        "latency", choices=("latency", "analog", "poisson"), doc="how inputs become spikes"
    )
    time_steps: int = setting(8, low=2, high=4096, unit="steps", doc="simulated steps")
    max_rate: float = setting(1.0, low=1e-3, high=1, unit="spikes/step", doc="of Poisson inputs")
    scaling: str = setting(
        "auto", choices=("auto", "none", "minmax"), doc="auto: minmax where inputs leave [0, 1]"
    )
    hidden: str = setting(
        "128-128", choices=HIDDEN, doc="widths, convolutions (8c5: 8 maps, 5x5), pooling (p2)"
    )
    convolutions: bool = setting(False, doc="8c5-p2-16c5-p2 in place of hidden; images only")
    pool: str = setting("avg", choices=("avg", "max"), doc="pooling between convolutions")
    batch_norm: bool = setting(False, doc="after each layer of the network that is converted")
    dropout: float = setting(0.0, low=0, high=0.99, doc="after each ReLU before conversion")
    neuron: str = setting("lif", choices=("if", "lif", "srm"), doc="srm: currents decay as well")
    beta: float = setting(0.95, low=1e-6, high=1, doc="share of the potential kept per step")
    theta: float = setting(1.0, low=1e-6, high=1e6, doc="threshold of the potential")
    reset: str = setting("soft", choices=("soft", "hard"), doc="subtract the threshold, or to zero")
    refractory: int = setting(0, low=0, high=1000, unit="steps", doc="silence after a spike")
    learn_neuron: bool = setting(False, doc="learn beta and theta of each layer")
    surrogate: str = setting("fast_sigmoid", choices=SURROGATES, doc="derivative of a spike")
    slope: float = setting(10.0, low=0.01, high=1000, doc="steepness of the surrogate")
    logit_scale: float = setting(3.0, low=1e-3, high=1000, doc="of mean output currents")
    init_gain: float = setting(3.0, low=1e-3, high=100, doc="of weights that see latency codes")
    target_rate: float = setting(
        0.25, low=0.0, high=100, unit="spikes", doc="per neuron, tolerated"
    )
    activity: float = setting(1.0, low=0, high=1000, doc="weight of the penalty on more spikes")
    activity_warmup: int = setting(5, low=0, high=1000, unit="epochs", doc="without the penalty")
    percentile: float = setting(99.9, low=50, high=100, doc="of activations, the layer's scale")
    per_channel: bool = setting(False, doc="a scale for each channel instead of each layer")
    balance: str = setting(
        "activations", choices=("activations", "threshold"), doc="what the scales are taken from"
    )
    v0: float = setting(0.5, low=0, high=0.99, doc="initial potential after conversion, in theta")
    k_sum: float = setting(100.0, low=0, high=1e6, doc="weight of the cost of too small weights")
    tau_s: float = setting(1.0, low=0.01, high=1000, doc="time constant of exact synapses")
    delays: int = setting(16, low=1, high=64, unit="synapses", doc="of each SpikeProp connection")
    tau: float = setting(7.0, low=0.1, high=1000, unit="ms", doc="of SpikeProp's potentials")
    inhibitory: float = setting(0.2, low=0, high=0.9, doc="share of inhibitory hidden neurons")
    neurons: int = setting(100, low=2, high=100_000, unit="neurons", doc="that compete in STDP")
    eta: float = setting(0.02, low=1e-6, high=1, doc="learning rate of STDP")
    theta_plus: float = setting(0.05, low=0, high=10, doc="rise of a winner's threshold")
    stdp_epochs: int = setting(2, low=1, high=1000, unit="epochs", doc="passes without labels")
    rule: str = setting("trace", choices=("trace", "pair"), doc="Diehl & Cook's, or spike pairs")
    a_minus: float = setting(0.5, low=0, high=10, doc="pairs: depression relative to potentiation")
    tau_plus: float = setting(3.0, low=0.1, high=1000, unit="steps", doc="of potentiation")
    tau_minus: float = setting(3.0, low=0.1, high=1000, unit="steps", doc="of depression")
    receptive: int = setting(0, low=0, high=64, unit="pixels", doc="patch of conv-STDP; 0: whole")
    readout: str = setting(
        "labels", choices=("labels", "probe"), doc="a label per neuron, or a linear probe on counts"
    )

    @property
    def architecture(self) -> str:
        """What ``hidden`` says, or the convolutions."""
        return CONVOLUTIONAL[0] if self.convolutions else self.hidden

    def check(self) -> None:
        """Refuse combinations that make no sense.

        Raises:
            ConfigError: naming the settings.
        """
        convolutional = self.architecture in CONVOLUTIONAL
        if convolutional and self.mode in ("spikeprop", "ttfs_exact"):
            raise ConfigError(
                f"hidden={self.architecture!r} with mode={self.mode!r}: this system "
                f"has dense layers only, use one of {', '.join(DENSE)}"
            )
        if self.learn_neuron and self.mode != "surrogate":
            raise ConfigError(
                f"learn_neuron=True with mode={self.mode!r}: only mode='surrogate' has gradients "
                "for beta and theta"
            )
        if self.batch_norm and self.mode not in ("conversion", "ann"):
            raise ConfigError(
                f"batch_norm=True with mode={self.mode!r}: only mode='conversion' and 'ann' fold it"
            )


DEFAULTS = Config()
FULL = Config(epochs=60, hidden="256-256", batch_size=128, eval_every=100)
