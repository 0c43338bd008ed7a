"""The settings of one network: the paper's, and choices that its successors added."""

from dataclasses import dataclass

from automl.core.api import Training, setting

ARCHITECTURES = ("ptrnet", "seq2seq_attention", "seq2seq")


@dataclass(frozen=True)
class Config(Training):
    """The settings of one network; names follow the spec of the paper."""

    steps: int = setting(1200, low=0, high=10_000_000, unit="steps", doc="optimiser steps")
    clip_norm: float = setting(2.0, low=0, high=1000, doc="largest L2 norm of the gradient")
    lr_decay: str = setting(
        "linear", choices=("none", "linear", "cosine", "exp"), doc="learning-rate schedule"
    )
    lr: float = setting(2e-3, low=1e-8, high=100, doc="learning rate of Adam")
    optimizer: str = setting("adam", choices=("adam", "sgd"), doc="adam, or the paper's sgd")
    lr_sgd: float = setting(1.0, low=1e-6, high=100, doc="learning rate of SGD")
    arch: str = setting("ptrnet", choices=ARCHITECTURES, doc="the paper's network or a baseline")
    hidden: int = setting(128, low=2, high=4096, unit="units", doc="width of both LSTMs")
    encoder: str = setting("uni", choices=("uni", "bi"), doc="directions of the encoder")
    glimpse: bool = setting(False, doc="one attention read before pointing")
    embed_dim: int = setting(0, low=0, high=4096, unit="units", doc="of points; 0: raw")
    dropout: float = setting(0.0, low=0, high=0.9, doc="on encoder and decoder states")
    logit_clip: float = setting(0.0, low=0, high=1000, doc="C in C tanh(u); 0: none")
    mask_training: bool = setting(False, doc="mask points used before, also in training")
    constrain: bool = setting(False, doc="decode hulls as polygons: no point twice, three at least")
    beam: int = setting(1, low=1, high=10, doc="answers kept while decoding; 1: greedy")
    init_scale: float = setting(0.08, low=1e-4, high=10, doc="weights start in U(-s, s)")


DEFAULTS = Config(eval_every=100)
FULL = Config(steps=100_000, eval_every=2000, hidden=512, optimizer="sgd", lr_decay="none", beam=3)
