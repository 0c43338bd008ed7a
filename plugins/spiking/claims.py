"""The review's conclusion in parts: accuracy near ReLUs', operations counted, not assumed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from automl.core.api import Bar, Claim, ClaimRun, DataInfo, RunResult, Scores
from automl.core.digits import Digits
from automl.plugins.spiking.config import Config
from automl.plugins.spiking.data import xor_times
from automl.plugins.spiking.events import SpikeProp
from automl.plugins.spiking.stdp import Competition

SPLITS = (20, 21, 22)  # seeds of the splits; settings were chosen on others
PROBE = "spike_energy"
ALL = ", all splits"


def on_digits(label: str, config: Config, *, probes: bool = True) -> tuple[ClaimRun, ...]:
    """One run on each split of the digits."""
    return tuple(
        ClaimRun(
            label,
            f"digits:seed={seed},test=0.3",
            config,
            seeds=1,
            probes=(PROBE,) if probes else (),
        )
        for seed in SPLITS
    )


def over_splits(reference: str) -> Callable[[Sequence[RunResult]], Mapping[str, Scores]]:
    """A summary: each run's means over the splits, and its accuracy beside ``reference``'s.

    ``lowest`` is the worst split, ``gap`` the mean difference to the reference, ``distance`` its
    absolute value.
    """

    def summary(rows: Sequence[RunResult]) -> Mapping[str, Scores]:
        beside = {row.on: row.scores.get("accuracy") for row in rows if row.run == reference}
        found: dict[str, Scores] = {}
        for label in dict.fromkeys(row.run for row in rows if row.on):
            mine = [row for row in rows if row.run == label and row.scores]
            if len(mine) < len(SPLITS):
                continue  # a fit failed: bars on this row stay open
            means = {
                name: statistics.fmean(row.scores[name] for row in mine) for name in mine[0].scores
            }
            means["lowest"] = min(row.scores["accuracy"] for row in mine)
            others = [beside.get(row.on) for row in mine]
            known = [other for other in others if other is not None]
            if len(known) == len(mine):
                gaps = [r.scores["accuracy"] - o for r, o in zip(mine, known, strict=True)]
                means |= {"gap": statistics.fmean(gaps), "distance": abs(statistics.fmean(gaps))}
            found[label + ALL] = means
        return found

    return summary


SMALL = Config(keep="best")
ANN = on_digits("ReLU network", replace(SMALL, mode="ann", epochs=40))

# ---------------------------------------------------------------- conversion

CONVERTED = replace(SMALL, mode="conversion", encoding="analog", time_steps=64, epochs=40)
POISSON_STEPS = (4, 16, 64)
POISSON = {steps: f"converted, Poisson, T={steps}" for steps in POISSON_STEPS}


def conversion_summary(rows: Sequence[RunResult]) -> Mapping[str, Scores]:
    """Means over splits, and the slope of the accuracy over the doublings of Poisson steps."""
    found = dict(over_splits("ReLU network")(rows))
    curve = [found[label + ALL]["accuracy"] for label in POISSON.values() if label + ALL in found]
    if len(curve) == len(POISSON):
        slope = np.polyfit(np.log2(POISSON_STEPS), curve, 1)[0]
        found["Poisson inputs, more steps"] = {"slope": float(slope), "rise": curve[-1] - curve[0]}
    return found


CONVERSION = Claim(
    name="conversion",
    statement=(
        "A trained network of ReLUs becomes a spiking one at no loss of accuracy; with random "
        "inputs accuracy grows with the number of steps. Operations are then more, not fewer."
    ),
    source="Section 3.1.2; Diehl 2015; Rueckauer 2017",
    runs=(
        *ANN,
        *on_digits("converted, T=64", CONVERTED),
        *(
            run
            for steps, label in POISSON.items()
            for run in on_digits(label, replace(CONVERTED, encoding="poisson", time_steps=steps))
        ),
    ),
    bars=(
        Bar(
            "converted, T=64" + ALL, "distance", at_most=0.01, paper="MNIST: 98.6 % against 98.7 %"
        ),
        Bar("Poisson inputs, more steps", "slope", at_least=0.0),
        Bar("Poisson inputs, more steps", "rise", at_least=0.0),
    ),
    summary=conversion_summary,
)

# ---------------------------------------------------------------- surrogate gradients

FEWER = Claim(
    name="fewer_operations",
    statement=(
        "With one spike per input and a penalty on activity, a spiking network comes near the "
        "accuracy of ReLUs with a fraction of the operations, additions all of them."
    ),
    source="Abstract, Section 4",
    runs=(*ANN, *on_digits("latency code, T=8", Config(epochs=30, lr=4e-3))),
    bars=(
        Bar("latency code, T=8" + ALL, "gap", at_least=-0.02),
        Bar("latency code, T=8" + ALL, f"{PROBE}.ops_ratio", at_most=0.5, paper="'many fewer'"),
    ),
    summary=over_splits("ReLU network"),
)
VANISHES = Claim(
    name="gap_vanishes",
    statement="With real-valued inputs a spiking network is as accurate as the one of ReLUs.",
    source="Abstract, Section 4",
    runs=(*ANN, *on_digits("analog inputs, T=8", replace(SMALL, encoding="analog", epochs=30))),
    bars=(Bar("analog inputs, T=8" + ALL, "gap", at_least=-0.005),),
    summary=over_splits("ReLU network"),
)

# ---------------------------------------------------------------- spike times

ONE_EACH = replace(SMALL, mode="ttfs_exact", hidden="64", lr=1e-3, clip_norm=1.0, epochs=30)
ONE_SPIKE = Claim(
    name="one_spike",
    statement=(
        "Neurons that spike once at most, trained by exact spike times, come near the accuracy of "
        "ReLUs with half as many operations, additions all of them."
    ),
    source="Section 3.1; Mostafa 2017",
    runs=(
        *on_digits("ReLU network, 64", replace(SMALL, mode="ann", hidden="64", epochs=30)),
        *on_digits("one spike per neuron", ONE_EACH),
    ),
    bars=(
        Bar("one spike per neuron" + ALL, "accuracy", at_least=0.94, paper="MNIST: 97.5 to 98 %"),
        Bar("one spike per neuron" + ALL, "lowest", at_least=0.92),
        Bar("one spike per neuron" + ALL, f"{PROBE}.ops_ratio", at_most=0.6),
        Bar("one spike per neuron" + ALL, "gap", at_least=-0.025),
    ),
    summary=over_splits("ReLU network, 64"),
)
CYCLES = 1000


def xor_cycles(seed: int) -> Scores:
    """Train SpikeProp on the XOR of spike times: cycles until every time is within 1 ms."""
    config = Config(mode="spikeprop", optimizer="sgd", lr=0.01)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SpikeProp(config, (2,), 1, hidden=5, grid=0.25)
    x, wanted = xor_times()
    optimizer = torch.optim.SGD(model.parameters(), lr=config.lr)
    for cycle in range(CYCLES + 1):
        _, times = model.times(x)
        worst = float((times - wanted).detach().abs().max())
        if worst <= 1 or cycle == CYCLES:
            break
        optimizer.zero_grad()
        (0.5 * (times - wanted).square().sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {"solved": float(worst <= 1), "cycles": float(cycle), "worst_error_ms": worst}


XOR = Claim(
    name="xor",
    statement="SpikeProp learns the XOR of spike times with five hidden neurons, one inhibitory.",
    source="Section 3.1; Bohte 2002",
    runs=(),
    bars=(Bar("SpikeProp", "solved", at_least=0.8, paper="about 250 cycles"),),
    checks={"SpikeProp": xor_cycles},
    check_seeds=5,
)

# ---------------------------------------------------------------- STDP

STDP_CONFIG = Config(mode="stdp", time_steps=40)


def digits_of(seed: int) -> tuple[Digits, DataInfo]:
    """The split of that rank."""
    data = Digits(seed=SPLITS[seed], test=0.3)
    return data, data.info


def untrained(seed: int) -> Scores:
    """The competition with its first weights: only the neurons are named."""
    data, info = digits_of(seed)
    train, test = data.load("train"), data.load("test")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Competition(STDP_CONFIG, info.shapes["x"], 10)  # type: ignore[arg-type]
    model.read_out(train["x"], train["target"])
    right = model(test["x"])["logits"].argmax(-1) == test["target"]
    return {"accuracy": float(right.float().mean())}


def k_means(seed: int) -> Scores:
    """A hundred centres, each named by the class that is most frequent in it."""
    from sklearn.cluster import KMeans

    data, _ = digits_of(seed)
    train, test = data.load("train"), data.load("test")
    centres = KMeans(100, n_init=1, random_state=seed).fit(train["x"].flatten(1).numpy())
    votes = np.zeros((100, 10))
    np.add.at(votes, (centres.labels_, train["target"].numpy()), 1)
    label = votes.argmax(1)
    found = label[centres.predict(test["x"].flatten(1).numpy())]
    return {"accuracy": float(np.mean(found == test["target"].numpy()))}


STDP = Claim(
    name="stdp",
    statement=(
        "Neurons that compete and learn by spike timing, without labels, come to stand for classes."
    ),
    source="Section 3.2; Diehl & Cook 2015",
    runs=on_digits("STDP, 100 neurons", STDP_CONFIG, probes=False),
    bars=(Bar("STDP, 100 neurons" + ALL, "accuracy", at_least=0.80, paper="MNIST, 6,400: 95.0 %"),),
    checks={"same competition, untrained": untrained, "k-means, 100 centres": k_means},
    check_seeds=len(SPLITS),
    summary=over_splits(""),
)

# ---------------------------------------------------------------- the papers' own size

MNIST_FC = ClaimRun(
    "surrogate gradients, dense",
    "mnist",
    Config(hidden="1200-1200", encoding="analog", epochs=40, batch_size=128, keep="best"),
    seeds=1,
    probes=(PROBE,),
)
MNIST_CONV = ClaimRun(
    "converted, convolutional",
    "mnist",
    Config(
        mode="conversion", encoding="analog", time_steps=128, hidden="8c5-p2-16c5-p2-128",
        dropout=0.2, epochs=30, batch_size=128, keep="best",
    ),
    seeds=1,
    probes=(PROBE,),
)  # fmt: skip
MNIST_STDP = ClaimRun(
    "STDP, 6,400 neurons", "mnist", replace(STDP_CONFIG, neurons=6400, stdp_epochs=3), seeds=1
)
MNIST = Claim(
    name="mnist",
    statement="The accuracies on MNIST that the review collects.",
    source="Table 1",
    runs=(MNIST_FC, MNIST_CONV, MNIST_STDP),
    bars=(
        Bar(MNIST_FC.label, "accuracy", at_least=0.985, paper="98.88 % (Lee 2016)"),
        Bar(MNIST_CONV.label, "accuracy", at_least=0.991, paper="99.1 % (Diehl 2015)"),
        Bar(MNIST_STDP.label, "accuracy", at_least=0.95, paper="95.0 % (Diehl & Cook 2015)"),
    ),
    scale="full",
)

CLAIMS = (CONVERSION, FEWER, VANISHES, ONE_SPIKE, XOR, STDP, MNIST)
