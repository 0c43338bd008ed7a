"""How the machines are built, fitted and scored, what is searched and what is exported."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import (
    Batch,
    ConfigError,
    DataError,
    DataInfo,
    ExampleScores,
    Exportable,
    Outputs,
    Plugin,
    Run,
    Scores,
    Split,
    Trial,
    mean_scores,
    sgd,
)
from automl.plugins.ntk_svm import CARD, CERTIFIED, certificate, losses, solvers
from automl.plugins.ntk_svm.claims import CLAIMS
from automl.plugins.ntk_svm.config import (
    DEFAULTS,
    FULL,
    LOSSES,
    MODELS,
    NUMBER_LOSSES,
    Config,
)
from automl.plugins.ntk_svm.kernel import gram, row_norms
from automl.plugins.ntk_svm.model import CentredNetwork, KernelMachine, Kind, Machine
from automl.plugins.ntk_svm.solvers import Progress, Task

MAX_WIDTH = 16_384


class TangentMachines(Plugin[Config, Machine]):
    """Kernel machines of infinitely wide networks, and the finite networks they stand for."""

    card = CARD
    defaults = DEFAULTS
    full = FULL
    claims = CLAIMS
    no_techniques = "its kernel machines are solved for, not descended by batches of gradients"

    def check_data(self, data: DataInfo) -> None:
        """Refuse data with one class only."""
        if data.classes is not None and data.classes < 2:
            raise DataError(f"{data.name!r} has {data.classes} class: there is nothing to learn")

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The spec's ranges; widths up to twice the base's, steps up to the base's."""
        kind, certified = (
            trial.suggest_categorical("model", list(MODELS)),
            data.problem.name == CERTIFIED,
        )
        name, choices = ("number_loss", NUMBER_LOSSES) if data.classes is None else ("loss", LOSSES)
        loss = trial.suggest_categorical(name, list(choices))
        found: dict[str, Any] = {
            "model": kind,
            name: loss,
            "lam": trial.suggest_float("lam", 1e-5, 1e-1, log=True),
            "constant": trial.suggest_categorical("constant", [0.0, 1.0]),
            "standardise": trial.suggest_categorical("standardise", [False, True]),
        }
        if loss == "eps_insensitive":
            found["svr_eps"] = trial.suggest_float("svr_eps", 0.01, 0.5)
        if not certified or kind == "finite_nn":  # the closed form is for one hidden layer
            found["n_hidden"] = trial.suggest_int("n_hidden", 1, 4)
        if kind != "ntk_dual":
            found |= {
                "lr": trial.suggest_float("lr", 1e-2, 1.0, log=True),
                "steps": trial.suggest_int(
                    "steps", min(200, base.steps), max(200, base.steps), log=True
                ),
                "batch_size": trial.suggest_categorical("batch_size", [0, 16, 64, 256]),
            }
        if kind == "finite_nn":
            most = max(base.width, min(MAX_WIDTH, 2 * base.width))
            found["width"] = trial.suggest_int("width", 64, most, log=True)
        return replace(base, **found)

    def build(self, config: Config, data: DataInfo) -> Machine:
        """An untrained machine for the dataset's inputs and targets.

        Raises:
            DataError: for a kernel matrix beyond ``config.max_examples``.
            ConfigError: if certificates are asked of a deep kernel machine.
        """
        features = 1
        for axis in data.shapes["x"]:
            features *= axis or 1
        kind: Kind = "values" if data.classes is None else "classes"
        if kind == "values":
            outputs = data.shapes["target"][0] or 1
        else:
            outputs = 1 if data.classes == 2 else data.classes or 1
        if config.model == "finite_nn":
            return CentredNetwork(
                features, outputs, kind, config.constant,
                width=config.width, n_hidden=config.n_hidden,
            )  # fmt: skip
        examples = data.sizes["train"]
        if examples > config.max_examples:
            raise DataError(
                f"{data.name!r} has {examples} training examples: a kernel matrix of "
                f"{8 * examples**2 / 1e9:.1f} GB; take fewer, use model=finite_nn, or raise "
                f"max_examples={config.max_examples}"
            )
        if data.problem.name == CERTIFIED and config.n_hidden > 1:
            raise ConfigError(
                f"n_hidden={config.n_hidden}: the closed-form certificate is implemented for one "
                "hidden layer, use n_hidden=1 or model=finite_nn"
            )
        return KernelMachine(
            features, outputs, kind, config.constant, examples=examples, n_hidden=config.n_hidden
        )

    def steps(self, config: Config) -> int:
        """Steps of descent, or the most passes of the dual solver."""
        return config.steps

    def fit(self, model: Machine, config: Config, run: Run) -> None:
        """Solve for the coefficients, descend in function space, or train the network."""
        train, valid = run.split("train"), run.split("valid")
        prepare(model, config, train)
        model.seed.fill_(run.seed)

        def validate() -> Scores:
            return self.evaluate(model, config, valid)

        if isinstance(model, CentredNetwork):
            size = min(len(train), config.batch_size or len(train))
            sgd(
                model,
                loss=lambda batch: network_loss(model, config, batch, len(train)),
                train=train,
                optimizer=torch.optim.SGD(model.layers, lr=config.lr),
                config=replace(config, batch_size=size),
                run=run,
                validate=validate,
            )
            return
        assert isinstance(model, KernelMachine)
        fit_kernel_machine(model, config, train, run, validate)

    @torch.no_grad()
    def evaluate(self, model: Machine, config: Config, split: Split) -> Scores:
        """Means of the problem's scores; certified radii and the hinge loss where asked for."""
        problem = split.info.problem
        if problem.score is None:
            raise ConfigError(f"problem {problem.name!r} has no score of its own")
        score = problem.score

        def each(batch: Batch) -> ExampleScores:
            return score(self.predict(model, batch), batch)

        found = mean_scores(model, each, split)
        if problem.name != CERTIFIED:
            return found
        x, target = split.examples["x"], split.examples["target"]
        return {
            **certificate.summary(certificate.radii(model, x, target)),
            **found,
            "hinge_loss": hinge(model, x, target),
        }

    def predict(self, model: Machine, batch: Batch) -> Outputs:
        """Named outputs of a batch."""
        outputs: Outputs = model(batch["x"])
        return outputs

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two random inputs."""
        generator = torch.Generator().manual_seed(0)
        shape = [axis or 1 for axis in data.shapes["x"]]
        return {"x": torch.rand(2, *shape, generator=generator)}

    def export(self, model: Machine, config: Config, data: DataInfo) -> Exportable:
        """One graph of what carries weight, and for two classes one with a certificate."""
        from automl.plugins.ntk_svm.export import exportable

        return exportable(model, self.example(config, data))


def prepare(model: Machine, config: Config, train: Split) -> None:
    """Check the training data and set the scales of inputs and numeric targets by them.

    Raises:
        DataError: naming what is not finite, no class, or zero.
    """
    x, target = train.examples["x"].flatten(1), train.examples["target"]
    name = train.info.name
    bad = (~x.isfinite().all(0)).nonzero()[:, 0].tolist()
    if bad:
        raise DataError(f"features {bad[:8]} of {name!r} hold NaN or infinity: clean or drop them")
    if model.kind == "classes":
        classes = train.info.classes or 2
        found = torch.unique(target).tolist()
        if len(found) < 2 or not set(found) <= set(range(classes)):
            raise DataError(
                f"{name!r} has the classes {found}: two at least are wanted, of 0 to {classes - 1}"
            )
    elif not target.isfinite().all():
        raise DataError(f"targets of {name!r} hold NaN or infinity: drop these rows")
    else:
        model.offset.copy_(target.mean(0))
        model.spread.copy_(target.std(0, correction=0).clamp(min=1e-6))
    if config.standardise:
        scale = x.std(0, correction=0)
        constant = scale < 1e-6 * x.abs().amax(0).clamp(min=1e-6)
        model.mean.copy_(x.mean(0))
        model.scale.copy_(scale.masked_fill(constant, 1.0))
    zero = (row_norms(model.prepared(x)) == 0).nonzero()[:, 0].tolist()
    if zero:
        raise DataError(
            f"the kernel is undefined for the zero vector at row {zero[0]} of {name!r}: use "
            "constant=1, or drop the row"
        )


def targets_of(model: Machine, target: Tensor) -> Tensor:
    """What each output is to be (B, O): -1 or 1 for classes, standardised numbers."""
    if model.kind == "values":
        return (target - model.offset) / model.spread
    if model.outputs == 1:
        return 2.0 * target[:, None] - 1
    return 2.0 * functional.one_hot(target, model.outputs) - 1


def loss_name(model: Machine, config: Config) -> str:
    """The loss for classes or for numbers."""
    return config.loss if model.kind == "classes" else config.number_loss


def mean_lam(config: Config, examples: int) -> float:
    """The penalty of the mean form."""
    return config.lam if config.lam_form == "mean" else config.lam / examples


def network_loss(model: CentredNetwork, config: Config, batch: Batch, examples: int) -> Tensor:
    """Mean loss of the centred outputs, and lam / 2 times the last layer's squared norm."""
    g = model.function(model.prepared(batch["x"]))
    y = targets_of(model, batch["target"]).to(g.dtype)
    each = losses.value(loss_name(model, config), g, y, config.svr_eps).sum(1)
    if "weight" in batch:
        each = each * batch["weight"]
    return each.mean() + mean_lam(config, examples) / 2 * model.penalty()


def task_of(model: Machine, config: Config, train: Split) -> Task:
    """The kernel machine's problem on the training split, in double precision.

    The penalty is of the sum form for solvers, of the mean form for descent.
    """
    lam = mean_lam(config, len(train))
    z = model.prepared(train.examples["x"].double())
    weight = train.examples.get("weight", torch.ones(len(train), device=z.device))
    return Task(
        gram(z, config.n_hidden),
        targets_of(model, train.examples["target"]).double(),
        weight.double(),
        lam * len(train) if config.model == "ntk_dual" else lam,
        loss_name(model, config),
        config.svr_eps,
    )


def fit_kernel_machine(
    model: KernelMachine, config: Config, train: Split, run: Run, validate: Callable[[], Scores]
) -> None:
    """Solve or descend, reporting every ``config.eval_every`` steps and at the end."""
    model.support.copy_(model.prepared(train.examples["x"]))
    task, solving = task_of(model, config, train), config.model == "ntk_dual"
    progress, step = solvers.start(task), 0
    state = run.restore()
    if state is not None:
        device, step = task.target.device, int(state["step"])
        progress = Progress(state["alpha"].to(device), state["outputs"].to(device))
    walk = (
        solvers.solve(task, progress, config.tolerance)
        if solving
        else walking(task, progress, config, run.generator(), step)
    )
    final = False
    while not final:
        if step < config.steps:
            progress = next(walk)
            step += 1
        final = progress.final or step >= config.steps
        if final or step % config.eval_every == 0:
            model.alpha.copy_(progress.alpha)
            state = {"step": step, "alpha": progress.alpha, "outputs": progress.outputs}
            value = objective(task, progress.alpha, solving)
            run.report(step, validate(), train={"objective": value}, state=partial(dict, state))


def objective(task: Task, alpha: Tensor, summed: bool) -> float:
    """The penalised mean loss, whichever form the task has."""
    count = len(alpha)
    lam = task.lam if summed else task.lam * count
    return solvers.objective(replace(task, lam=lam), alpha) / count


def walking(
    task: Task, progress: Progress, config: Config, generator: torch.Generator, done: int = 0
) -> Iterator[Progress]:
    """Subgradient descent by the settings."""
    return solvers.descent(
        task, progress, config.lr, config.batch_size, generator, done, config.decay == "batch_only"
    )


def hinge(model: Machine, x: Tensor, target: Tensor) -> float:
    """The mean hinge loss over examples and outputs."""
    parts = zip(torch.split(x, 256), torch.split(target, 256), strict=True)
    total = 0.0
    for some, labels in parts:
        g = model.function(model.prepared(some))
        each = losses.value("hinge", g, targets_of(model, labels).to(g.dtype), 0.0)
        total += float(each.double().mean(1).sum())
    return total / len(x)
