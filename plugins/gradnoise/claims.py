"""What the paper asserts, as runs with bars: Table 1 on small digits, memories, the full tables."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from automl.core.api import Bar, Claim, ClaimRun, RunResult, Scores
from automl.plugins.gradnoise.config import Config

SMALL = Config(lr=0.05, eta=0.3, gamma=0.55, clip_norm=10.0, batch_size=50, steps=3000)
ZERO, SIMPLE, HE = (replace(SMALL, init=init) for init in ("zero", "simple", "he"))
SEEDS, MANY = 6, 20

# ---------------------------------------------------------------- Table 1 at small scale

ZERO_RUNS = (
    ClaimRun("noise", "digits", ZERO, seeds=SEEDS),
    ClaimRun("no noise", "digits", replace(ZERO, noise="none"), seeds=SEEDS),
    # beside the bars: what early stopping hides, noise that is not annealed, and where noise hurts
    ClaimRun("noise, last step", "digits", replace(ZERO, keep="last"), seeds=SEEDS),
    ClaimRun("constant noise", "digits", replace(ZERO, noise="constant"), seeds=SEEDS),
    ClaimRun("He weights, noise", "digits", HE, seeds=SEEDS),
    ClaimRun("He weights, no noise", "digits", replace(HE, noise="none"), seeds=SEEDS),
)
ZERO_WEIGHTS = Claim(
    name="zero_weights",
    statement=(
        "A network of twenty hidden layers whose weights all start at zero cannot learn by plain "
        "gradient descent; with annealed gradient noise it does."
    ),
    source="Table 1, experiment 6",
    runs=ZERO_RUNS,
    bars=(
        Bar("noise", "accuracy", at_least=0.85, paper="average 0.497"),
        Bar("noise", "accuracy", at_least=0.93, rank=1, paper="best 0.945"),
        Bar("noise", "accuracy", at_least=0.9, rank=4),  # a success rate of four in six
        Bar("no noise", "accuracy", at_most=0.15, rank=SEEDS, paper="best 0.114"),
    ),
)
SIMPLE_WEIGHTS = Claim(
    name="simple_weights",
    statement="With weights of deviation 0.1, noise raises the average accuracy.",
    source="Table 1, experiment 3",
    runs=(
        ClaimRun("noise", "digits", SIMPLE, seeds=MANY),
        ClaimRun("no noise", "digits", replace(SIMPLE, noise="none"), seeds=MANY),
    ),
    bars=(Bar("noise", "accuracy", at_least=1.0, relative_to="no noise", paper="0.536, 0.516"),),
)

# ---------------------------------------------------------------- memory networks

# The recipe of memory networks sums the losses of a batch of 32; ours is their mean, so its rate of
# 0.01 is 0.32 here, its norm of 40 is 1.25, and a variance of 0.3 is 0.3 / 32^2.
MEMORY = Config(
    lr=0.32, batch_size=32, clip_norm=1.25, steps=2800, halve_every=25, eval_every=280,
    eta=0.3 / 32**2,
)  # fmt: skip
TASK_2 = "babi-like:task=2"


def memories(seeds: int, dataset: str, base: Config) -> tuple[ClaimRun, ...]:
    """With and without noise, from the first step or after a linear start."""
    return tuple(
        ClaimRun(f"{noise}{start}", dataset, replace(config, linear_start=bool(start)), seeds=seeds)
        for start in ("", ", linear start")
        for noise, config in (("noise", base), ("no noise", replace(base, noise="none")))
    )


MEMORY_NETWORK = Claim(
    name="memory_network",
    statement="Without a linear start, noise raises a memory network's accuracy.",
    source="Table 2",
    runs=memories(3, TASK_2, MEMORY),
    bars=(
        Bar("noise", "accuracy", at_least=1.0, relative_to="no noise",
            paper="about one point of error less"),
    ),
)  # fmt: skip

# ---------------------------------------------------------------- the paper's own size

DEEP = Config(steps=21_600, eval_every=1080, lr=0.1)  # 20 epochs of MNIST
CHOICES = {"lr": (0.1, 0.01)}
NOISES = {**CHOICES, "eta": (0.01, 0.3, 1.0)}
EXPERIMENTS = {
    "1": replace(DEEP, init="simple", clip_norm=0.0),
    "2": replace(DEEP, init="simple", clip_norm=100.0),
    "3": replace(DEEP, init="simple", clip_norm=10.0),
    "4": replace(DEEP, init="sussillo_abbott", clip_norm=10.0),
    "5": replace(DEEP, init="he", clip_norm=10.0),
    "6": replace(DEEP, init="zero", clip_norm=10.0),
}
TABLE_1_RUNS = tuple(
    run
    for number, config in EXPERIMENTS.items()
    for run in (
        ClaimRun(f"{number}, noise", "mnist", config, seeds=MANY, tune=NOISES),
        ClaimRun(f"{number}, no noise", "mnist", replace(config, noise="none"), seeds=MANY,
                 tune=CHOICES),
    )
)  # fmt: skip
DROPOUT = ClaimRun("1, noise and dropout", "mnist", replace(EXPERIMENTS["1"], dropout=0.5),
                   seeds=MANY, tune=NOISES)  # fmt: skip
TABLE_1 = Claim(
    name="table_1",
    statement="On MNIST, noise helps twenty layers from bad weights and does not hurt good ones.",
    source="Table 1",
    runs=(*TABLE_1_RUNS, DROPOUT),
    bars=(
        Bar("1, noise", "accuracy", at_least=1.0, relative_to="1, no noise", offset=0.05,
            paper="0.527 over 0.431"),
        Bar("2, noise", "accuracy", at_least=1.0, relative_to="2, no noise",
            paper="0.523 over 0.463"),
        Bar("3, noise", "accuracy", at_least=1.0, relative_to="3, no noise",
            paper="0.536 over 0.516"),
        Bar("4, noise", "accuracy", at_least=1.0, relative_to="4, no noise", offset=-0.01,
            paper="0.922 and 0.921"),
        Bar("5, noise", "accuracy", at_least=1.0, relative_to="5, no noise", offset=-0.01,
            paper="0.917 and 0.917"),
        Bar("6, noise", "accuracy", at_least=0.9, rank=1, paper="best 0.945"),
        Bar("6, no noise", "accuracy", at_most=0.15, rank=MANY, paper="best 0.114"),
        Bar("1, noise and dropout", "accuracy", at_most=0.15, paper="0.108"),
    ),
    scale="full",
)  # fmt: skip

PRODUCTS = "binmul:kmax=20,train_size=100000"
RESTARTS = 200  # the paper has 7,290 of each kind
BELOW = (1, 2, 3, 5)  # percent of products that are wrong


def restarts() -> tuple[ClaimRun, ...]:
    """Random settings of a neural GPU, each with and without noise."""
    draw = random.Random(0)
    runs = []
    for number in range(RESTARTS):
        config = Config(
            steps=20_000, eval_every=1000, batch_size=32, optimizer="adam",
            lr=10 ** draw.uniform(-4, -2), gpu_maps=draw.choice((24, 32, 48)),
            dropout=draw.choice((0.06, 0.08, 0.1)), clip_norm=draw.choice((1.0, 10.0)),
            pull=10 ** draw.uniform(-4, -2), curriculum=draw.choice((0.25, 0.5, 0.75)),
            eta=draw.choice((0.01, 0.3, 1.0)),
        )  # fmt: skip
        for kind, chosen in (("noise", config), ("no noise", replace(config, noise="none"))):
            runs.append(ClaimRun(f"{kind}, {number}", PRODUCTS, chosen, seeds=1))
    return tuple(runs)


def count_models(rows: Sequence[RunResult]) -> Mapping[str, Scores]:
    """How many settings, with and without noise, have an error below 1, 2, 3 and 5 percent."""
    found: dict[str, Scores] = {}
    for kind in ("noise", "no noise"):
        errors = [
            1 - row.scores["sequence_accuracy"]
            for row in rows
            if row.run.startswith(f"{kind}, ") and "sequence_accuracy" in row.scores
        ]
        found[kind] = {
            f"n_models_below_{percent}pct_error": float(
                sum(error < percent / 100 for error in errors)
            )
            for percent in BELOW
        }
    return found


PAPER_COUNTS = {1: "58 over 28", 2: "159 over 90", 3: "282 over 172", 5: "570 over 387"}
TABLE_5 = Claim(
    name="table_5",
    statement="Of random settings of a neural GPU, more multiply binary numbers with noise.",
    source="Table 5",
    runs=restarts(),
    bars=tuple(
        Bar("noise", f"n_models_below_{percent}pct_error", at_least=1.0, relative_to="no noise",
            paper=PAPER_COUNTS[percent])
        for percent in BELOW
    ),
    summary=count_models,
    scale="full",
)  # fmt: skip
TABLE_2 = Claim(
    name="table_2",
    statement="Over three tasks noise lowers the error of memory networks.",
    source="Table 2",
    runs=tuple(
        replace(run, label=f"{run.label}, task {task}")
        for task in (1, 2, 3)
        for run in memories(10, f"babi-like:task={task}", MEMORY)
    ),
    bars=tuple(
        Bar(f"noise, task {task}", "accuracy", at_least=1.0, relative_to=f"no noise, task {task}",
            paper="about one point of error less, over all tasks")
        for task in (1, 2, 3)
    ),
    scale="full",
)  # fmt: skip
CLAIMS = (ZERO_WEIGHTS, SIMPLE_WEIGHTS, MEMORY_NETWORK, TABLE_1, TABLE_2, TABLE_5)
