"""What thinking in ticks does: refinement, certainty and early exit, beside an LSTM; parity."""

from __future__ import annotations

from dataclasses import replace

from automl.core.api import Bar, Claim, ClaimRun, Scores, Split
from automl.plugins.ctm.config import DEFAULTS, FULL, Config

PROBE = "thought_trace"
DIGITS = "digits-noisy"


def run(label: str, dataset: str, seeds: int = 3, **changes: object) -> ClaimRun:
    """A run of the default setting with changes, all of its ticks looked at."""
    config = replace(DEFAULTS, **changes)  # type: ignore[arg-type]
    return ClaimRun(label, dataset, config, seeds=seeds, probes=(PROBE,))


# ---------------------------------------------------------------- refinement

CTM = run("CTM", DIGITS)
LSTM = run("LSTM", DIGITS, arch="lstm")
LSTM_LONGER = run("LSTM, equal time", DIGITS, arch="lstm", steps=3000)
CONTROLS = (
    run("LSTM, last tick trained", DIGITS, arch="lstm", loss_ticks="last", seeds=1),
    run("feed-forward", DIGITS, arch="ff"),
)
ABLATIONS = (
    run("CTM, linear neuron models", DIGITS, nlm="linear", seeds=1),
    run("CTM, no history", DIGITS, memory_length=1, seeds=1),
    run("CTM, read from the state", DIGITS, readout="state", seeds=1),
    run("CTM, last tick trained", DIGITS, loss_ticks="last", seeds=1),
)
LATE = f"{PROBE}.late_tick_accuracy"
REFINEMENT = Claim(
    name="refinement",
    statement=(
        "Tick by tick the machine refines its answer and stays with it, is certain where it is "
        "right and can stop early; an LSTM with the same inputs and loss scatters. Accuracy "
        "itself is no better at equal time, and a feed-forward network's is best."
    ),
    source="Sections 3 and 4 in small: certainty, early exit, calibration",
    runs=(CTM, LSTM, LSTM_LONGER, *CONTROLS, *ABLATIONS),
    bars=(
        Bar("CTM", LATE, at_least=1.0, relative_to="LSTM", offset=0.10),
        Bar("CTM", LATE, at_least=1.0, relative_to="LSTM, equal time", offset=0.10),
        Bar("CTM", f"{PROBE}.ece", at_most=0.9, relative_to="LSTM"),
        Bar("CTM", "accuracy", at_least=1.0, relative_to="LSTM", offset=0.005),
        Bar("CTM", "accuracy", at_least=0.84),
        Bar("CTM", f"{PROBE}.accuracy@0.8", at_least=0.80),
        Bar("CTM", f"{PROBE}.mean_ticks@0.8", at_most=7.5),
        Bar("CTM", f"{PROBE}.gain", at_least=0.5),
        Bar("CTM", f"{PROBE}.ticks_rise", at_least=1.0),
    ),
)

# ---------------------------------------------------------------- parity

PARITY_8 = "cumulative-parity"
SHORT = Config(
    steps=1000, lr=1e-3, warmup=100, eval_every=250, iterations=15, memory_length=8, d_model=128,
    d_input=64,
)  # fmt: skip


def guessing(split: Split) -> Scores:
    """Every answer by a coin."""
    n = split.examples["target"].shape[1]
    return {"bit_accuracy": 0.5, "exact_accuracy": 0.5**n}


PARITY = Claim(
    name="parity",
    statement=(
        "The machine learns cumulative parity. At eight signs there are 256 patterns to "
        "memorise, so this is a check of soundness: an LSTM and a single tick learn them too."
    ),
    source="Section on parity; its 64 signs want the full scale",
    runs=(
        ClaimRun("CTM, 8 signs", PARITY_8, SHORT, probes=(PROBE,)),
        ClaimRun(
            "CTM, 8 signs, one tick",
            PARITY_8,
            replace(SHORT, iterations=1, memory_length=1, steps=2600),
            seeds=1,
        ),
        ClaimRun(
            "LSTM, 8 signs, last tick",
            PARITY_8,
            replace(SHORT, arch="lstm", d_model=150, loss_ticks="last", steps=2600),
            seeds=1,
        ),
    ),
    bars=(Bar("CTM, 8 signs", "exact_accuracy", at_least=0.9),),
    controls={"a coin": guessing},
)

# ---------------------------------------------------------------- the paper's own size

PARITY_16 = "cumulative-parity:n=16,train_size=1000000"
LONG = replace(SHORT, steps=20_000, eval_every=1000, iterations=24)
SIXTEEN = Claim(
    name="parity_16",
    statement="Given 20,000 steps the machine learns the parities of sixteen signs.",
    source="Section on parity, between the scales",
    runs=(
        ClaimRun("CTM, 16 signs", PARITY_16, LONG, probes=(PROBE,)),
        ClaimRun("LSTM, 16 signs", PARITY_16, replace(LONG, arch="lstm", d_model=150)),
    ),
    bars=(Bar("CTM, 16 signs", "bit_accuracy", at_least=0.95, paper="99 % (a replication)"),),
    scale="full",
)
PARITY_64 = "cumulative-parity:n=64,train_size=10000000"
SIXTY_FOUR = Claim(
    name="parity_64",
    statement=(
        "With 75 ticks the machine learns the parities of 64 signs, which an LSTM of as many "
        "parameters with its best number of ticks does not."
    ),
    source="Section on parity",
    runs=(
        ClaimRun("CTM, 75 ticks", PARITY_64, FULL, probes=(PROBE,)),
        ClaimRun(
            "LSTM, 10 ticks",
            PARITY_64,
            replace(FULL, arch="lstm", iterations=10, d_model=857, loss_ticks="min+last"),
        ),
    ),
    bars=(
        Bar("CTM, 75 ticks", "bit_accuracy", at_least=0.99, rank=1, paper="100 % on some seeds"),
        Bar("LSTM, 10 ticks", "bit_accuracy", at_most=0.85, paper="about 60 to 70 %"),
    ),
    scale="full",
)

CLAIMS = (REFINEMENT, PARITY, SIXTEEN, SIXTY_FOUR)
