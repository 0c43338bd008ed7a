"""What the paper asserts of the swimmer, at a scale of two cores and at its own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from automl.core.api import Bar, Claim, ClaimRun, RunResult, Scores, Split
from automl.plugins.ncap.config import Config
from automl.plugins.ncap.data import body_of
from automl.plugins.ncap.rollout import play
from automl.plugins.ncap.simulator import Floats

BODY = "swimmer"
OTHER_BODIES = tuple(f"swimmer:n_links={links}" for links in (4, 8, 10, 12))
FIGURES = "figures of the paper; no tables"


def random_actions(split: Split) -> Scores:
    """Uniform random actions on the split's episodes."""
    body, generator = body_of(split.info), np.random.default_rng(0)

    def act(observation: Floats, clock: object) -> Floats:
        return generator.uniform(-1, 1, (len(observation), body.joints))

    played = play(body, act, split.examples["episode_seed"].tolist())
    return {"return": float(played.returns.mean()), "energy": float(played.energy.mean())}


# ---------------------------------------------------------------- before and while learning

CIRCUIT = Config()
NETWORK = Config(policy="mlp")
UNTRAINED = ClaimRun("NCAP, untrained", BODY, replace(CIRCUIT, steps=0), seeds=1)
NETWORK_UNTRAINED = ClaimRun("MLP 64-64, untrained", BODY, replace(NETWORK, steps=0), seeds=5)
EFFICIENCY = ("data_efficiency",)
TRAINED = ClaimRun(
    "NCAP, 480 episodes", BODY, CIRCUIT, (BODY, *OTHER_BODIES), seeds=3, probes=EFFICIENCY
)
NETWORK_HALF = ClaimRun("MLP 64-64, 240 episodes", BODY, replace(NETWORK, steps=15), seeds=3)
NETWORK_TRAINED = ClaimRun("MLP 64-64, 480 episodes", BODY, NETWORK, seeds=3, probes=EFFICIENCY)

INITIAL_PERFORMANCE = Claim(
    name="initial_performance",
    statement="The circuit swims well before any learning; plain networks do not.",
    source=f"abstract; {FIGURES}",
    runs=(UNTRAINED, NETWORK_UNTRAINED),
    bars=(
        Bar(UNTRAINED.label, "return", at_least=750, paper="a curve's start"),
        Bar(NETWORK_UNTRAINED.label, "return", at_most=150, paper="a curve's start"),
    ),
    controls={"random actions": random_actions},
)
DATA_EFFICIENCY = Claim(
    name="data_efficiency",
    statement=(
        "With the same evolution strategy and episodes, the circuit is better before learning "
        "than a plain network half-way, and still improves."
    ),
    source=f"abstract; {FIGURES}",
    runs=(UNTRAINED, TRAINED, NETWORK_HALF, NETWORK_TRAINED),
    bars=(
        Bar(TRAINED.label, "return", at_least=830),
        Bar(UNTRAINED.label, "return", at_least=1.0, relative_to=NETWORK_HALF.label),
    ),
)

# ---------------------------------------------------------------- other bodies

UNTRAINED_ELSEWHERE = replace(
    UNTRAINED, label="NCAP, untrained, other bodies", evaluate=(BODY, *OTHER_BODIES)
)
TRANSFER = Claim(
    name="transfer",
    statement="The circuit moves to longer bodies without any change.",
    source="Section on transfer; figures of the paper",
    runs=(UNTRAINED_ELSEWHERE, TRAINED),
    bars=tuple(
        Bar(run.label, "return", at_least=850, on=body)
        for run in (UNTRAINED_ELSEWHERE, TRAINED)
        for body in OTHER_BODIES[1:]
    ),
)

# ---------------------------------------------------------------- ablation

# Large steps: with the usual ones, randomly started circuits hardly move in so few generations.
RANDOM = Config(steps=12, sigma=0.1, lr=0.05, init="uniform")
CONSTRAINED = ClaimRun(
    "signs constrained, random sizes", BODY, RANDOM, seeds=5, probes=EFFICIENCY
)  # fmt: skip
UNCONSTRAINED = ClaimRun(
    "signs free, random signs", BODY, replace(RANDOM, init="signs", sign_constraints=False),
    seeds=5, probes=EFFICIENCY,
)  # fmt: skip
MEDIANS = "medians over seeds"


def medians(rows: Sequence[RunResult]) -> dict[str, Scores]:
    """The medians of both sides' returns, and by how much constraints are ahead."""
    values = {row.run: statistics.median(row.values["return"]) for row in rows if row.values}
    if not {CONSTRAINED.label, UNCONSTRAINED.label} <= values.keys():
        return {}
    kept, free = values[CONSTRAINED.label], values[UNCONSTRAINED.label]
    return {MEDIANS: {"constrained": kept, "free": free, "constrained_minus_free": kept - free}}


ABLATION = Claim(
    name="ablation",
    statement="Constrained excitation and inhibition are what makes random circuits learn.",
    source="Section on ablations; figures of the paper",
    runs=(CONSTRAINED, UNCONSTRAINED),
    bars=(
        Bar(CONSTRAINED.label, "return", at_least=400, rank=4),
        Bar(MEDIANS, "constrained_minus_free", at_least=1e-9),
    ),
    summary=medians,
)

# ---------------------------------------------------------------- the paper's own scale

SEGMENTS = 245  # 10^6 control steps
PAPER_CIRCUIT = {
    algo: ClaimRun(
        f"NCAP, {algo}", BODY, replace(CIRCUIT, algo=algo, steps=steps, eval_every=5), seeds=10,
        probes=EFFICIENCY,
    )
    for algo, steps in (("es", 625), ("ppo", SEGMENTS), ("ddpg", SEGMENTS))
}  # fmt: skip
PAPER_NETWORK = {
    "es": replace(NETWORK, steps=625, eval_every=5),
    "ppo": replace(NETWORK, algo="ppo", steps=SEGMENTS, eval_every=5),
    "ddpg": replace(
        NETWORK, algo="ddpg", steps=SEGMENTS, eval_every=5, hidden="256x256", activation="relu"
    ),
}
NETWORKS = {
    algo: ClaimRun(f"MLP, {algo}", BODY, config, seeds=10, probes=EFFICIENCY)
    for algo, config in PAPER_NETWORK.items()
}
ASYMPTOTE = Claim(
    name="asymptote",
    statement="Trained for long, the circuit is comparable with plain networks 1,500 times larger.",
    source=f"abstract; {FIGURES}",
    runs=(*PAPER_CIRCUIT.values(), *NETWORKS.values()),
    bars=tuple(
        Bar(
            PAPER_CIRCUIT[algo].label, "return", at_least=0.9, relative_to=NETWORKS[algo].label,
            paper="comparable",
        )
        for algo in PAPER_CIRCUIT
    )
    + tuple(
        Bar(
            PAPER_CIRCUIT[algo].label, "data_efficiency.steps_to_80pct", at_most=1.0,
            relative_to=NETWORKS[algo].label, paper="far fewer samples",
        )
        for algo in PAPER_CIRCUIT
    ),
    scale="full",
)  # fmt: skip

CLAIMS = (INITIAL_PERFORMANCE, DATA_EFFICIENCY, TRANSFER, ABLATION, ASYMPTOTE)
