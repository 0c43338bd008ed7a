"""How the coefficients of a kernel machine are found: dual ascent, Newton's method, descent.

All minimise lam / 2 |g|^2 + sum_i w_i loss(g(x_i), y_i) with g(x) = sum_i a_i Theta(x_i, x) and
no intercept, for each of O outputs apart. Shapes: K (n, n) double, y and a (n, O), w (n,).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.linalg.blas import daxpy
from torch import Tensor

from automl.plugins.ntk_svm import losses

JITTER = 1e-10  # on the diagonal of systems that lam leaves singular
VISITED = 320  # coordinates of a pass: what is worst changes as they are visited
SETTLED = 0.25  # share of the free coordinates that a pass may change before Newton's step pays
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Task:
    """One fit: the kernel matrix, the targets, the weights of the examples and the penalty.

    ``lam`` is of the sum form: n times that of the mean form.
    """

    kernel: Tensor
    target: Tensor
    weight: Tensor
    lam: float
    loss: str
    eps: float = 0.0


def objective(task: Task, alpha: Tensor) -> float:
    """The value that the solvers minimise."""
    g = task.kernel @ alpha
    each = losses.value(task.loss, g, task.target, task.eps) * task.weight[:, None]
    return float(each.sum() + task.lam / 2 * (alpha * g).sum())


class Progress(NamedTuple):
    """Coefficients (n, O), the outputs K a that go with them, and whether they are final."""

    alpha: Tensor
    outputs: Tensor
    final: bool = False


def start(task: Task) -> Progress:
    """No coefficients yet: every output is 0."""
    return Progress(torch.zeros_like(task.target), torch.zeros_like(task.target))


def solve(task: Task, progress: Progress, tolerance: float) -> Iterator[Progress]:
    """Go on from ``progress``, pass by pass.

    Coordinate ascent in the dual where the loss has a kink (box constraints), else Newton's
    method, which for the squared loss is kernel ridge regression, done in one pass.
    """
    if task.loss in ("hinge", "eps_insensitive"):
        yield from ascend(task, progress, tolerance)
    else:
        yield from newton(task, progress, tolerance)


def solved(task: Task, tolerance: float = 1e-6, passes: int = 5000) -> Tensor:
    """The optimal coefficients (n, O)."""
    found = start(task)
    for progress in itertools.islice(solve(task, found, tolerance), passes):
        found = progress
        if progress.final:
            break
    return found.alpha


def ascend(task: Task, progress: Progress, tolerance: float) -> Iterator[Progress]:
    """Dual coordinate ascent: a coefficient at a time, kept within its box of w / lam.

    A pass visits the examples whose optimality condition is violated most, the worst first.
    """
    kernel, box = task.kernel.cpu().numpy(), task.weight.cpu().numpy() / task.lam
    columns = [
        Coordinates(kernel, box, task.loss == "hinge", task.eps, *(part[:, o].cpu().numpy().copy()
                    for part in (task.target, progress.alpha, progress.outputs)))
        for o in range(task.target.shape[1])
    ]  # fmt: skip
    final = False
    while not final:
        final = all([column.visit(tolerance) for column in columns])
        alpha, outputs = (
            torch.from_numpy(np.stack(parts, 1)).to(task.target.device)
            for parts in ([c.a for c in columns], [c.g for c in columns])
        )
        yield Progress(alpha, outputs, final)


class Coordinates:
    """The dual problem of one output.

    Both losses are |a| <= w / lam around a dead zone: g fits the target up to ``eps``. For the
    hinge loss the sign of a is the label's and there is no dead zone.
    """

    def __init__(
        self,
        kernel: Floats,
        box: Floats,
        hinge: bool,
        eps: float,
        *columns: Floats,
    ) -> None:
        self.kernel, self.box, self.hinge, self.eps = kernel, box, hinge, eps
        self.target, self.a, self.g = columns  # each (n,)
        self.rows = torch.from_numpy(kernel)  # the same memory: torch keeps to its threads
        self.diagonal = kernel.diagonal().copy()
        facts = (self.target, self.diagonal, self.box)
        self.plain: list[tuple[float, float, float]] = list(
            zip(*(column.tolist() for column in facts), strict=True)
        )

    def best(self, i: Any) -> Any:
        """The optimal coefficients at ``i`` (indices), the others held."""
        q = self.diagonal[i]
        wanted = self.target[i] - self.g[i] + q * self.a[i]
        if self.hinge:
            y = self.target[i]
            return y * np.clip(y * wanted / q, 0, self.box[i])
        inner = np.sign(wanted) * np.maximum(np.abs(wanted) - self.eps, 0)
        return np.clip(inner / q, -self.box[i], self.box[i])

    def visit(self, tolerance: float) -> bool:
        """One pass; whether no coefficient could change its output by more than ``tolerance``."""
        everything = slice(None)
        change = np.abs(self.best(everything) - self.a) * self.diagonal
        order = np.flatnonzero(change > tolerance)
        if not len(order):
            return True
        free = self.free()
        worst = order[np.argsort(-change[order])[:VISITED]].tolist()
        a, g, kernel = self.a, self.g, self.kernel
        optimum = self.hinge_step if self.hinge else self.tube_step
        for i in worst:
            old = a.item(i)
            new = optimum(i, old)
            if new != old:
                a[i] = new
                daxpy(kernel[i], g, a=new - old)  # g += (new - old) kernel[i]
        now_free = self.free()
        if np.count_nonzero(free != now_free) <= SETTLED * np.count_nonzero(now_free):
            self.jump()
        return False

    def free(self) -> Any:
        """Which coefficients are at no bound, bool (n,)."""
        return (self.a != 0) & (np.abs(self.a) < self.box)

    def jump(self) -> None:
        """Newton's step of all coefficients within their boxes at once, bent at the boxes.

        Single coordinates creep where examples resemble each other; this makes the passes few. It
        pays only once they hardly change any more which of them are free.
        """
        inside = np.flatnonzero(self.free())
        if not len(inside):
            return
        a, box = self.a[inside], self.box[inside]
        sign = np.sign(a)
        wanted = self.target[inside] - self.g[inside] - (0 if self.hinge else self.eps) * sign
        system = torch.from_numpy(self.kernel[np.ix_(inside, inside)])
        system.diagonal().add_(JITTER)
        right = torch.from_numpy(wanted)
        lower, failed = torch.linalg.cholesky_ex(system)
        if int(failed):
            return
        direction = torch.cholesky_solve(right[:, None], lower)[:, 0].numpy()
        for share in (1.0, 0.5, 0.25, 0.125):
            step = sign * np.clip(sign * (a + share * direction), 0, box) - a
            moved = torch.from_numpy(step)
            if float(moved @ right - moved @ (system @ moved) / 2) > 0:  # the dual's gain
                self.a[inside] = a + step
                self.g += (moved @ self.rows[inside]).numpy()
                return

    def hinge_step(self, i: int, old: float) -> float:
        """``best`` for one example, in plain numbers: a pass is a loop over these."""
        y, q, box = self.plain[i]
        g: float = self.g.item(i)
        b = y * old + (1 - y * g) / q
        return y * (0.0 if b < 0 else min(b, box))

    def tube_step(self, i: int, old: float) -> float:
        """``best`` for one example of the insensitive loss."""
        y, q, box = self.plain[i]
        g: float = self.g.item(i)
        wanted = y - g + q * old
        inner = max(abs(wanted) - self.eps, 0.0) / q
        return min(max(inner if wanted > 0 else -inner, -box), box)


def newton(task: Task, progress: Progress, tolerance: float) -> Iterator[Progress]:
    """Newton's method with halved steps: an iteration is a weighted kernel ridge regression."""
    alpha = progress.alpha
    final = False
    while not final:
        proposal = ridge(task, alpha)
        before, size = objective(task, alpha), 1.0
        change = float((task.kernel @ (proposal - alpha)).abs().max())
        found = proposal
        while objective(task, found) > before + 1e-12 * abs(before) and size > 1e-6:
            size /= 2
            found = alpha + size * (proposal - alpha)
        final = task.loss == "squared" or change <= tolerance or size <= 1e-6
        alpha = found
        yield Progress(alpha, task.kernel @ alpha, final)


def ridge(task: Task, alpha: Tensor) -> Tensor:
    """Solve (K + lam / s) a = g - l' / s on the examples with curvature s; the others get 0.

    For the squared loss s = 2 w, so this is (K + lam / 2) a = y, one system for all outputs.
    """
    g = task.kernel @ alpha
    s = losses.curvature(task.loss, g, task.target) * task.weight[:, None]
    slope = losses.slope(task.loss, g, task.target, task.eps) * task.weight[:, None]
    wanted = g - slope / s.clamp(min=1e-10)
    if task.loss == "squared":
        return weighted_ridge(task, s[:, 0], wanted)
    columns = [weighted_ridge(task, s[:, o], wanted[:, [o]]) for o in range(s.shape[1])]
    return torch.cat(columns, 1)


def weighted_ridge(task: Task, s: Tensor, wanted: Tensor) -> Tensor:
    """Coefficients (n, O) that fit ``wanted`` (n, O) with curvatures s (n,)."""
    on = s > 1e-10
    kernel = task.kernel if bool(on.all()) else task.kernel[on][:, on]
    system = kernel + torch.diag((task.lam / s[on]).clamp(min=JITTER))
    found = torch.zeros_like(wanted)
    found[on] = torch.cholesky_solve(wanted[on], factor(system))
    return found


def factor(system: Tensor) -> Tensor:
    """The Cholesky factor of a matrix, with more on its diagonal where rounding demands it."""
    jitter = 0.0
    while True:
        shifted = system if not jitter else system + jitter * torch.eye(len(system)).to(system)
        found: Tensor
        found, failed = torch.linalg.cholesky_ex(shifted)
        if not int(failed):
            return found
        jitter = max(10 * jitter, JITTER)


def descend(
    task: Task,
    progress: Progress,
    rate: float,
    index: Tensor | slice = slice(None),
    batch_only: bool = False,
) -> Progress:
    """One subgradient step in function space, the network's own dynamics at infinite width.

    a <- (1 - rate lam) a - rate / B w l' on the B examples ``index``; ``task.lam`` is of the mean
    form here. With ``batch_only``, only those coefficients decay (the authors' code).
    """
    alpha, g = progress.alpha, progress.outputs
    y, weight = task.target[index], task.weight[index]
    each = losses.slope(task.loss, g[index], y, task.eps) * weight[:, None]
    step, keep = -rate / len(y) * each, 1 - rate * task.lam
    if batch_only:
        step, keep = step - rate * task.lam * alpha[index], 1.0
    found = keep * alpha
    found[index] += step
    return Progress(found, keep * g + task.kernel[:, index] @ step)


def descent(
    task: Task,
    progress: Progress,
    rate: float,
    batch_size: int,
    generator: torch.Generator,
    done: int = 0,
    batch_only: bool = False,
) -> Iterator[Progress]:
    """Steps in the order in which a network of the same seed sees the examples, without end.

    The first ``done`` steps are skipped; ``batch_size`` 0 stands for all examples.
    """
    count = len(task.target)
    size = min(count, batch_size or count)
    step = 0
    while True:
        order = torch.randperm(count, generator=generator).to(task.target.device)
        for position in range(count // size):
            step += 1
            if step <= done:
                continue
            index = order[position * size : (position + 1) * size] if size < count else slice(None)
            progress = descend(task, progress, rate, index, batch_only)
            yield progress
