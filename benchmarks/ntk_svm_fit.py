"""From inputs to predictions: ntk_svm against NumPy's kernel and scikit-learn's SVC on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from measure import finish, interleaved
from sklearn.svm import SVC

from automl.plugins.ntk_svm import solvers
from automl.plugins.ntk_svm.data import Clouds
from automl.plugins.ntk_svm.kernel import gram, ntk
from automl.plugins.ntk_svm.solvers import Task

POINTS, PENALTY, TOLERANCE, ROUNDS = 2000, 1.0, 1e-3, 9  # SVC's tolerance is 1e-3 too
Floats = np.ndarray[Any, np.dtype[np.float64]]


def numpy_ntk(x: Floats, other: Floats) -> Floats:
    """The closed form for one hidden layer, as a user of NumPy writes it."""
    norms = np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(other, axis=1))
    u = np.clip(x @ other.T / norms, -1, 1)
    angle = np.pi - np.arccos(u)
    return norms * (2 * u * angle + np.sqrt(1 - u * u)) / (2 * np.pi * x.shape[1])


def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    x, target = Clouds(n=2 * POINTS, d=20, distance=3.0).generate()
    x = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    y = 2.0 * target.double() - 1
    train, test = x[:POINTS], x[POINTS:]
    found: dict[str, Any] = {}

    def theirs() -> None:
        kernel = numpy_ntk(train.numpy(), train.numpy())
        machine = SVC(C=1 / PENALTY, kernel="precomputed").fit(kernel, y[:POINTS].numpy())
        answers = machine.predict(numpy_ntk(test.numpy(), train.numpy()))
        found["theirs"] = float((answers == y[POINTS:].numpy()).mean())

    def solve(kernel: torch.Tensor) -> torch.Tensor:
        weight = torch.ones(POINTS, dtype=torch.float64)
        task = Task(kernel, y[:POINTS, None], weight, PENALTY, "hinge")
        return solvers.solved(task, TOLERANCE)

    def ours() -> None:
        alpha = solve(gram(train, 1))
        used = alpha[:, 0] != 0
        g = ntk(test, train[used]) @ alpha[used, 0]
        found["ours"] = float((g.sign() == y[POINTS:]).double().mean())

    kernel = gram(train, 1)

    def their_solver() -> None:
        SVC(C=1 / PENALTY, kernel="precomputed").fit(kernel.numpy(), y[:POINTS].numpy())

    theirs(), ours()
    one, two, three, four = interleaved([theirs, ours, their_solver, lambda: solve(kernel)], ROUNDS)
    details = {
        "scikit-learn": f"{1000 * one:.0f} ms, accuracy {found['theirs']:.4f}",
        "ours": f"{1000 * two:.0f} ms, accuracy {found['ours']:.4f}",
        "solver alone": f"ours {1000 * four:.1f} ms, SVC (compiled, with an intercept) "
        f"{1000 * three:.1f} ms: {three / four:.2f}",
        "task": f"{POINTS} points to learn from and as many to answer, two Gaussians in 20 "
        "dimensions, kernel computed within the time, one thread",
    }
    met = one / two >= 1.0 and found["ours"] >= found["theirs"] - 0.0025
    finish(
        "ntk_svm, inputs to predictions, over NumPy and scikit-learn's SVC", one / two,
        "at least 1.0 at equal accuracy", met, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
