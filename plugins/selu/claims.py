"""The paper's statements as executable claims: the theorems in numbers, and ranks over tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from automl.core.api import Bar, Claim, ClaimRun, RunResult, Scores
from automl.plugins.selu import moments
from automl.plugins.selu.archive import UCI_TABLES
from automl.plugins.selu.config import DEPTHS, SEVEN, Config
from automl.plugins.selu.data import Suite
from automl.plugins.selu.model import Network
from automl.plugins.selu.probe import layer_moments

# ---------------------------------------------------------------- the theorems in numbers

POINTS = 10_000
UNITS, INPUTS = 256, 2000


def uniform(random: np.random.Generator, low: float, high: float) -> moments.Array:
    """Random points of one side of a domain."""
    return random.uniform(low, high, POINTS)


def fixed_point(seed: int) -> Scores:
    """Distance of g(0, 1) from (0, 1) and of its derivatives from the paper's."""
    mean, variance = moments.next_moments(0.0, 1.0)
    found = moments.jacobian()
    return {
        "error": float(max(abs(mean), abs(variance - 1))),
        "jacobian_error": float(abs(found - [[0, 0.088835], [0, 0.782648]]).max()),
        "spectral_norm": float(np.linalg.norm(found, 2)),
    }


def domains(seed: int) -> Scores:
    """Share of random points that break Theorem 1, 2 or 3 in one step."""
    random = np.random.default_rng(seed)
    mean, omega = (uniform(random, -0.1, 0.1) for _ in range(2))
    new, variance = moments.next_moments(
        mean, uniform(random, 0.8, 1.5), omega, uniform(random, 0.95, 1.1)
    )
    outside = (abs(new) > 0.1) | (variance < 0.8) | (variance > 1.5)
    wide = uniform(random, -1, 1)
    high = uniform(random, 3, 16)
    _, less = moments.next_moments(wide, high, omega, uniform(random, 0.8, 1.25))
    scores = {"theorem_1": float(outside.mean()), "theorem_2": float((less >= high).mean())}
    broken = []
    for top, tau in ((0.16, 0.8), (0.24, 0.9)):
        low = uniform(random, 0.02, top)
        _, more = moments.next_moments(mean, low, omega, uniform(random, tau, 1.25))
        broken.append((more <= low).mean())
    return {**scores, "theorem_3": float(max(broken))}


def sampled(depth: int, variant: str = "snn") -> Callable[[int], Scores]:
    """A check: moments after ``depth`` random layers of inputs with mean 0.1, variance 1.5."""

    def check(seed: int) -> Scores:
        generator = torch.Generator().manual_seed(seed)
        x = 0.1 + 1.5**0.5 * torch.randn(INPUTS, UNITS, generator=generator)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = Config(variant=variant, depth=depth, width=UNITS, dropout=0.0)
            mean, variance = layer_moments(Network(config, (UNITS,), 2, "classes"), x)[-1]
        return {"distance_from_0": abs(mean), "mean": mean, "variance": variance}

    return check


NETS = {f"SNN, {depth} layers": sampled(depth) for depth in (8, 32, 100)}
FIXED_POINT = Claim(
    name="fixed_point",
    statement=(
        "Mean 0, variance 1 is a stable and attracting fixed point of a SELU layer; activations "
        "of random networks stay near it through 100 layers."
    ),
    source="Theorems 1 to 3, Equations 4 and 5",
    runs=(),
    bars=(
        Bar("fixed point", "error", at_most=1e-12),
        Bar("fixed point", "jacobian_error", at_most=1e-5, paper="0.0, 0.088834; 0.0, 0.782648"),
        Bar("fixed point", "spectral_norm", at_most=1.0, paper="0.7877"),
        *(Bar("domains", f"theorem_{i}", at_most=0.0, rank=5) for i in (1, 2, 3)),
        *(Bar(name, "distance_from_0", at_most=0.1, rank=5) for name in NETS),
        *(Bar(name, "variance", at_least=0.8, rank=5) for name in NETS),
        *(Bar(name, "variance", at_most=1.5, rank=5) for name in NETS),
    ),
    checks={
        "fixed point": fixed_point,
        "domains": domains,
        **NETS,
        "ReLU, He weights, 100 layers": sampled(100, "relu_msra"),
    },
    check_seeds=5,
)

# ---------------------------------------------------------------- ranks over tables

TABLES = (
    "iris", "wine", "breast_cancer", "five_classes", "gaussian_quantiles", "hastie", "parity",
    "friedman",
)  # fmt: skip
FOLDS = (0, 1)
EPOCHS, BATCH = 60, 32
SMALL = Config(epochs=EPOCHS, batch_size=BATCH, momentum=0.9, depth=8, width=64)
RATES = {"lr": (0.01, 0.03, 0.1)}


def named(dataset: str, table: str, fold: int) -> str:
    """The canonical name of one fold of a table: only options that are not the usual ones."""
    options = [f"fold={fold}"] * (fold > 0) + [f"table={table}"] * (table != "wine")
    return f"{dataset}:{','.join(options)}".rstrip(":")


def table_of(dataset: str) -> str:
    """A dataset's name without its fold: splits of one table are averaged before ranking."""
    head, _, options = dataset.partition(":")
    kept = [option for option in options.split(",") if not option.startswith("fold=")]
    return f"{head}:{','.join(kept)}"


def ranks(rows: Sequence[RunResult]) -> Mapping[str, Scores]:
    """Over all tables, for each of the seven networks: see ``compare``.

    A network without a result on a table (its fits diverged) ranks last there.
    """
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    depths: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.run in SEVEN:
            found[table_of(row.on)][row.run].append(row.scores.get("accuracy", 0.0))
            depths[row.run].append(float(row.tuned.get("depth", SMALL.depth)))
    accuracy = np.asarray([[np.mean(table[name]) for name in SEVEN] for table in found.values()])
    failures = {name: sum(row.run == name and not row.scores for row in rows) for name in SEVEN}
    scores = compare(accuracy)
    for name in SEVEN:
        scores[name]["failures"] = float(failures[name])
        scores[name]["mean_depth"] = float(np.mean(depths[name]))
    return scores


def compare(accuracy: moments.Array) -> dict[str, Scores]:
    """Scores of each of the seven networks from their accuracies (tables, 7).

    Average rank (1 is best, ties averaged), its difference to the mean rank, mean accuracy, and
    the p of a Wilcoxon test that SNN is better.
    """
    from scipy.stats import rankdata, wilcoxon  # takes a second, in every worker

    rank = rankdata(-accuracy, axis=1).mean(0)
    scores: dict[str, Scores] = {}
    for i, name in enumerate(SEVEN):
        better = accuracy[:, 0] - accuracy[:, i]
        p = float(wilcoxon(better, alternative="greater").pvalue) if better.any() else 1.0
        scores[name] = {
            "average_rank": float(rank[i]),
            "rank_difference": float(rank[i] - (len(SEVEN) + 1) / 2),
            "mean_accuracy": float(accuracy[:, i].mean()),
            "wilcoxon_p": p,
        }
    return scores


Candidates = Callable[[], Iterable[Any]]


def outsider(candidates: Candidates) -> Callable[[int], Scores]:
    """A check: mean test accuracy over the tables of a method that is no network.

    The candidate with the best validation accuracy speaks for it on each split.
    """

    def check(seed: int) -> Scores:
        found = []
        for table in TABLES:
            for fold in FOLDS:
                data = Suite(table=table, fold=fold)
                (x, y), (vx, vy), (tx, ty) = (
                    (batch["x"].numpy(), batch["target"].numpy())
                    for batch in (data.load(name) for name in ("train", "valid", "test"))
                )
                fitted = [model.fit(x, y) for model in candidates()]
                best = max(fitted, key=lambda model: model.score(vx, vy))
                found.append(best.score(tx, ty))
        return {"mean_accuracy": float(np.mean(found))}

    return check


def support_vector_machines() -> list[Any]:
    """With a radial kernel."""
    from sklearn.svm import SVC

    return [SVC(C=c) for c in (1, 10, 100)]


def random_forests() -> list[Any]:
    """One of 200 trees."""
    from sklearn.ensemble import RandomForestClassifier

    return [RandomForestClassifier(200, random_state=0)]


def logistic_regressions() -> list[Any]:
    """Three strengths of regularisation."""
    from sklearn.linear_model import LogisticRegression

    return [LogisticRegression(C=c, max_iter=2000) for c in (0.1, 1, 10)]


OUTSIDERS = {
    "RBF-SVM": outsider(support_vector_machines),
    "random forest": outsider(random_forests),
    "logistic regression": outsider(logistic_regressions),
}
TABLE_RUNS = tuple(
    ClaimRun(
        name, named("uci-suite", table, fold), replace(SMALL, variant=name), seeds=1, tune=RATES
    )
    for table in TABLES
    for fold in FOLDS
    for name in SEVEN
)
TABLES_CLAIM = Claim(
    name="tables",
    statement=(
        "With eight hidden layers and the same budget and tuning, self-normalizing networks rank "
        "better over tables than the average of seven feed-forward networks."
    ),
    source="Section 3, Table 1, left",
    runs=TABLE_RUNS,
    bars=(
        Bar("snn", "average_rank", at_most=4.0, paper="-0.756 below the mean rank of 4"),
        Bar("snn", "mean_accuracy", at_least=1.0, relative_to="relu_msra", offset=-0.01),
        Bar("snn", "failures", at_most=0.0),
    ),
    checks=OUTSIDERS,
    summary=ranks,
)

# ---------------------------------------------------------------- depth, with equal steps

DEPTH_RUNS = tuple(
    ClaimRun(
        f"{name}, {depth} layers",
        named("uci-suite", "digits", 0),
        replace(SMALL, epochs=0, steps=1000, eval_every=100, variant=name, depth=depth),
        seeds=1,
        tune=RATES,
        probes=("self_normalisation",),
    )
    for name in ("snn", "relu_msra", "batchnorm")
    for depth in (2, 4, 8, 16, 32)
)
DEPTH = Claim(
    name="depth",
    statement="Self-normalizing networks train at depths from 2 to 32, with equal steps for all.",
    source="Section 3, Figure 1",
    runs=DEPTH_RUNS,
    # Deeper networks with few steps may rank either way, so no bar compares them: each must learn.
    bars=tuple(
        Bar(f"snn, {depth} layers", "accuracy", at_least=0.5, paper="curves only")
        for depth in (2, 4, 8, 16, 32)
    ),
)

# ---------------------------------------------------------------- the paper's own size

GRID = {"lr": (0.01, 0.1, 1.0), "depth": DEPTHS}
UCI_CLAIM = Claim(
    name="uci121",
    statement="Over the 121 UCI tables, self-normalizing networks rank first of seven networks.",
    source="Section 3, Table 1, left",
    runs=tuple(
        ClaimRun(
            name,
            named("uci121", table, fold),
            Config(epochs=100, variant=name),
            seeds=1,
            tune=GRID,
        )
        for table in UCI_TABLES
        for fold in range(4)
        for name in SEVEN
    ),
    bars=(
        Bar("snn", "average_rank", at_most=1.0, relative_to="relu_msra", paper="-0.756, -0.240"),
        Bar("snn", "rank_difference", at_most=-0.5, paper="-0.756"),
        *(Bar(name, "wilcoxon_p", at_most=0.05, paper="2.7e-2 and less") for name in SEVEN[1:]),
    ),
    summary=ranks,
    scale="full",
)
FIGURE_1_RUNS = tuple(
    ClaimRun(
        f"{name}, {depth} layers",
        "mnist",
        Config(epochs=2000, lr=1e-5, variant=name, depth=depth, width=512, dropout=0.0,
               keep="last"),
        seeds=1,
    )
    for name in ("snn", "batchnorm")
    for depth in (8, 16, 32)
)  # fmt: skip
FIGURE_1 = Claim(
    name="figure_1",
    statement="On MNIST, deep self-normalizing networks learn faster than batch normalisation.",
    source="Figure 1",
    runs=FIGURE_1_RUNS,
    bars=tuple(
        Bar(f"snn, {depth} layers", "nll", at_most=1.0, relative_to=f"batchnorm, {depth} layers")
        for depth in (8, 16, 32)
    ),
    scale="full",
)

CLAIMS = (FIXED_POINT, TABLES_CLAIM, DEPTH, UCI_CLAIM, FIGURE_1)
