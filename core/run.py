"""What a fit may ask of the engine: data, device, seed, and somewhere to report."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from automl.core import checkpoint
from automl.core.cards import Metric
from automl.core.data import Dataset, Scores, Split, SplitName
from automl.core.errors import CheckpointError, DataError, TrialError
from automl.core.technique import Technique

# What the engine answers to a report. "stop": the budget is spent, keep the model so far.
# "interrupt": checkpoint and give the trial back, to be continued later.
Decision = Literal["continue", "prune", "stop", "interrupt"]


class Stop(Exception):  # control flow, not an error
    """Raised by ``Run.report`` inside a fit; the model so far is kept. Fits let it pass."""

    def __init__(self, decision: Decision) -> None:
        super().__init__(decision)
        self.decision = decision


@dataclass(frozen=True)
class Report:
    """Scores at a step: validation metrics, and whatever the fit tells of its training.

    ``costs`` are what the trial's model costs where it is to run (see ``objectives.COSTS``); the
    engine adds them.
    """

    step: int
    scores: Scores
    train: Scores = field(default_factory=dict)
    costs: Scores = field(default_factory=dict)


class Best:
    """The weights of the report with the best objective so far: early stopping in retrospect."""

    def __init__(self, model: nn.Module, metric: Metric) -> None:
        self.model, self.metric = model, metric
        self.report: Report | None = None
        self.weights: dict[str, Tensor] = {}

    def consider(self, report: Report) -> None:
        """Copy the model's weights if the report is better than all before."""
        sign = 1 if self.metric.goal == "max" else -1
        value = report.scores[self.metric.name]
        if self.report is None or sign * value > sign * self.report.scores[self.metric.name]:
            self.report = report
            state = self.model.state_dict()
            self.weights = {key: value.detach().clone() for key, value in state.items()}

    def restore(self) -> Report | None:
        """Put the weights back into the model and return their report; ``None`` without one."""
        if self.report is not None:
            self.model.load_state_dict(self.weights)
        return self.report

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "report": None if self.report is None else vars(self.report),
            "weights": self.weights,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what ``state`` returned."""
        self.report = None if state["report"] is None else Report(**state["report"])
        self.weights = state["weights"]


@dataclass
class Run:
    """One fit in progress. ``amp`` is the autocast precision; ``compile`` uses torch.compile."""

    data: Dataset
    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    techniques: tuple[Technique, ...] = ()
    amp: Literal["off", "bf16", "fp16"] = "off"
    compile: bool = False
    on_report: Callable[[Report], Decision] = lambda report: "continue"
    checkpoint_path: Path | None = None
    checkpoint_seconds: float = 30.0
    best: Best | None = None  # set to keep the weights of the best report instead of the last
    history: list[Report] = field(default_factory=list)
    _saved_at: float = field(default_factory=time.monotonic)

    def split(self, name: SplitName) -> Split:
        """The train or valid split, on the run's device.

        Raises:
            DataError: for the test split, which only the engine touches, once, for the winner.
        """
        if name == "test":
            raise DataError("a fit may not see the test split")
        return self._train if name == "train" else self._valid

    @cached_property
    def _train(self) -> Split:
        return self.data.split("train").to(self.device)

    @cached_property
    def _valid(self) -> Split:
        return self.data.split("valid").to(self.device)

    def generator(self) -> torch.Generator:
        """A fresh CPU generator, seeded with the trial's seed."""
        return torch.Generator().manual_seed(self.seed)

    def report(
        self,
        step: int,
        scores: Scores,
        *,
        train: Scores | None = None,
        state: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        """Record scores at ``step``; stop the fit if it is pruned, out of budget or interrupted.

        ``scores`` are the problem's metrics on the validation split, ``train`` anything worth
        seeing of the training (its loss). ``state`` gives what ``restore`` will return after an
        interruption; it is only called when a checkpoint is due.

        Raises:
            Stop: to end the fit; let it pass.
            TrialError: if a score is not finite.
        """
        report = Report(step, scores, train or {})
        for name, value in (*scores.items(), *report.train.items()):
            if not math.isfinite(value):
                raise TrialError(f"{name} is {value} at step {step}: the fit diverged")
        self.history.append(report)
        if self.best is not None:
            self.best.consider(report)
        decision = self.on_report(report)
        due = time.monotonic() - self._saved_at > self.checkpoint_seconds
        if state is not None and (decision == "interrupt" or (decision == "continue" and due)):
            self.checkpoint(state())
        if decision != "continue":
            raise Stop(decision)

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keep ``state`` so that an interrupted fit can continue (atomic)."""
        if self.checkpoint_path is not None:
            kept = {"seed": self.seed, "state": state}
            if self.best is not None:
                kept["best"] = self.best.state()
            checkpoint.save(self.checkpoint_path, kept)
            self._saved_at = time.monotonic()

    def restore(self) -> dict[str, Any] | None:
        """What the last checkpoint held, or ``None`` for a fresh start.

        A fit may have been interrupted at its very last report: it then has nothing left to do
        but to report once more.

        Raises:
            CheckpointError: if the checkpoint is damaged or belongs to another trial.
        """
        if self.checkpoint_path is None or not self.checkpoint_path.exists():
            return None
        kept = checkpoint.load(self.checkpoint_path)
        if kept.get("seed") != self.seed:
            raise CheckpointError(
                f"{str(self.checkpoint_path)!r} belongs to another trial; "
                "delete the file to start over"
            )
        if self.best is not None and kept.get("best"):
            self.best.load_state(kept["best"])
        state: dict[str, Any] = kept["state"]
        return state
