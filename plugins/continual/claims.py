"""The thesis's claims in small, on digits and glyphs; and GSS's own table on MNIST."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import torch

from automl.core.api import Bar, Claim, ClaimRun, RunResult, Scores
from automl.plugins.continual.config import ONLINE, Config
from automl.plugins.continual.importance import memory_aware, squared_norm
from automl.plugins.continual.model import Network

# ---------------------------------------------------------------- task after task

# Five permutations of the pixels, one head. Settings were looked at on seeds 0 and 1.
PERMUTED = "digit-stream:seed=10"
SEQUENTIAL = Config()  # 64-64, 15 epochs, SGD at 0.05, batches of 32
PROBES = ("forgetting",)
ACCURACY, LOST = "forgetting.average_accuracy", "forgetting.forgetting"


def sequential(label: str, **changes: object) -> ClaimRun:
    """A method on the permuted digits; strengths were fixed beforehand, nothing is tuned."""
    return ClaimRun(label, PERMUTED, replace(SEQUENTIAL, **changes), probes=PROBES)  # type: ignore[arg-type]


FINETUNE = sequential("finetune", method="finetune")
MAS = sequential("MAS, lam 0.1", method="mas", lam=0.1)
EWC = sequential("EWC, lam 10", method="ewc", lam=10.0)
JOINT = sequential("joint", method="joint")
RIGID = sequential("MAS, lam 1", method="mas", lam=1.0)
SELFLESS = sequential("SLNID + MAS, lam 1", method="slnid", lam=1.0, lam_ssl=1e-3)


def brute_force(seed: int) -> Scores:
    """The importance of MAS against a loop over examples: the largest difference."""
    torch.manual_seed(seed)
    config = replace(SEQUENTIAL, hidden=12)
    model = Network(7, [[0, 1, 2]], 3, config, multi=False).double()
    x, nothing = torch.rand(20, 7, dtype=torch.float64), torch.zeros(20, dtype=torch.int64)
    fast = memory_aware(model, {"x": x, "target": nothing, "task": nothing})
    worst = 0.0
    names = [name for name, _ in model.named_parameters()]
    total = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    for row in range(20):
        logits = model(x[row : row + 1], nothing[:1])["logits"][0]
        found = torch.autograd.grad(squared_norm(logits, nothing[0]), list(model.parameters()))
        for name, gradient in zip(names, found, strict=True):
            total[name] += gradient.abs() / 20
    for name in names:
        worst = max(worst, float((total[name] - fast[name]).abs().max()))
    return {"difference": worst}


TASK_INCREMENTAL = Claim(
    name="task_incremental",
    statement=(
        "Holding the weights that earlier tasks depend on keeps accuracy that fine-tuning loses; "
        "codes that leave room help a rigid network."
    ),
    source="Memory Aware Synapses; Selfless Sequential Learning",
    runs=(FINETUNE, MAS, EWC, JOINT, RIGID, SELFLESS),
    bars=(
        Bar(MAS.label, ACCURACY, at_least=1.0, relative_to=FINETUNE.label, offset=0.08),
        Bar(MAS.label, LOST, at_most=0.5, relative_to=FINETUNE.label),
        Bar("importance", "difference", at_most=1e-6),
        Bar(SELFLESS.label, ACCURACY, at_least=1.0, relative_to=RIGID.label, offset=-0.01),
        Bar(
            SELFLESS.label, "forgetting.mean_activation", at_most=1.0, relative_to=RIGID.label,
        ),
    ),
    checks={"importance": brute_force},
    check_seeds=3,
)  # fmt: skip

# ---------------------------------------------------------------- online

METHODS = ("finetune", "random", "reservoir", "gss_greedy")
STREAMS = range(5)  # seeds, each with an order of classes of its own; methods share them
SIZES = {"first": 0, "third": 2, "last": 4, "none": -1}  # which of five tasks is ten times as big


def stream(where: str, seed: int) -> str:
    """The name of a stream of pairs of digits."""
    big = f"big={SIZES[where]}," if SIZES[where] >= 0 else ""
    chosen = f",seed={seed}" if seed else ""
    return f"digit-stream:{big}kind=split{chosen},size=200"


def online(method: str, where: str, seed: int) -> ClaimRun:
    """One method on one stream, once."""
    config = replace(ONLINE, method=method)
    label = f"{method}, big task {where}, stream {seed}"
    return ClaimRun(label, stream(where, seed), config, seeds=1, probes=PROBES)


def averages(rows: Sequence[RunResult]) -> Mapping[str, Scores]:
    """Average accuracy of each method over streams, where the big task is, and early ones."""
    found: dict[str, dict[str, float]] = {}
    for method in METHODS:
        scores: dict[str, float] = {}
        for where in SIZES:
            labels = {online(method, where, seed).label for seed in STREAMS}
            mine = [row.scores[ACCURACY] for row in rows if row.run in labels and row.scores]
            scores[where] = fmean(mine) if mine else 0.0
        scores["early"] = (scores["first"] + scores["third"]) / 2
        found[method] = scores
    return found


ONLINE_SELECTION = Claim(
    name="online_selection",
    statement=(
        "On an imbalanced stream whose boundaries are hidden, keeping examples whose gradients "
        "differ beats keeping examples at random."
    ),
    source="Gradient-based Sample Selection",
    runs=tuple(online(m, where, seed) for where in SIZES for m in METHODS for seed in STREAMS),
    bars=(
        Bar("gss_greedy", "early", at_least=1.0, relative_to="reservoir", offset=0.02),
        Bar("gss_greedy", "early", at_least=1.0, relative_to="random", offset=0.04),
    ),
    summary=averages,
)

# ---------------------------------------------------------------- experts

GATED = replace(SEQUENTIAL, method="expert_gate")
# a code of 100 would not be undercomplete on 64 pixels
ROTATED = ClaimRun(
    "expert gate, rotated",
    "digit-stream:kind=rotated,seed=10",
    replace(GATED, gate=32),
    probes=PROBES,
)
GLYPHS = ClaimRun("expert gate, glyphs", "glyph-stream:seed=10", GATED, probes=PROBES)


def gaps(rows: Sequence[RunResult]) -> Mapping[str, Scores]:
    """What the gate loses against a known task."""
    return {
        f"{row.run}: gap": {"gap": row.scores["forgetting.oracle_accuracy"] - row.scores[ACCURACY]}
        for row in rows
        if row.scores
    }


EXPERTS = Claim(
    name="expert_gate",
    statement="Autoencoders tell which expert to ask, nearly as well as if the task were known.",
    source="Expert Gate",
    runs=(ROTATED, GLYPHS),
    bars=tuple(
        bar
        for run in (ROTATED, GLYPHS)
        for bar in (
            Bar(run.label, "forgetting.gate_accuracy", at_least=0.9),
            Bar(f"{run.label}: gap", "gap", at_most=0.02),
        )
    ),
    summary=gaps,
)

# ---------------------------------------------------------------- the paper's own scale

DISJOINT = {
    name: ClaimRun(
        name,
        "mnist-stream:kind=split,size=1000",
        replace(ONLINE, method=name, memory=300),
        seeds=5,
        probes=PROBES,
    )
    for name in ("random", "reservoir", "gss_greedy", "gss_iqp", "gss_clust")
}  # fmt: skip
DISJOINT_MNIST = Claim(
    name="disjoint_mnist",
    statement="GSS on disjoint MNIST with a buffer of 300.",
    source="Gradient-based Sample Selection, disjoint MNIST",
    runs=tuple(DISJOINT.values()),
    bars=(
        Bar("gss_greedy", ACCURACY, at_least=0.80, paper="82.6 %"),
        Bar("gss_iqp", ACCURACY, at_least=0.72, paper="75.9 %"),
        Bar("gss_clust", ACCURACY, at_least=0.72, paper="75.7 %"),
    ),
    scale="full",
)
CLAIMS = (TASK_INCREMENTAL, ONLINE_SELECTION, EXPERTS, DISJOINT_MNIST)
