"""All ticks of a fitted model on the test split: accuracy, certainty, early exit, calibration."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from automl.core.api import DataError, Dataset, Plugin, Probe, Scores, Settings
from automl.plugins.ctm.model import Thinker, at_tick, certainty

TAUS = (0.5, 0.8, 0.9, 0.95)
BINS = 15
PART = 512  # examples at once


class ThoughtTrace(Probe):
    """How answers change from tick to tick, and what stopping at a certainty costs."""

    name = "thought_trace"

    @torch.no_grad()
    def measure(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Settings, data: Dataset
    ) -> Scores:
        """Scores of single ticks, of the most certain one and of early exit.

        Accuracies are means over answers (bits, moves). ``late_tick_accuracy`` is the mean over the
        last half of the ticks, ``gain`` the best tick's accuracy minus the first's, and
        ``mean_ticks@TAU`` where the first tick with certainty TAU lies, T if there is none; the
        answer is then that of the most certain tick. ``ticks_rise`` is 1 if a higher TAU never
        takes fewer ticks.

        Raises:
            DataError: for other plugins' models, and where answers are read off all ticks.
        """
        if not isinstance(model, Thinker):
            raise DataError(
                f"thought_trace looks at the ticks of plugin 'ctm'; this model is {plugin.name!r}'s"
            )
        if model.features.streams:
            raise DataError(
                f"on {data.name!r} one answer is read off all ticks: there is none per tick"
            )
        split = data.split("test").to(model.tau.device)
        model.eval()
        predictions = torch.cat([model.think(batch["x"]) for batch in split.batches(PART)])
        return trace_scores(predictions, split.examples["target"])


def trace_scores(predictions: Tensor, target: Tensor) -> Scores:
    """The probe's scores from answers (B, T, P, C) and targets (B,) or (B, P)."""
    rows, ticks, answers, _ = predictions.shape
    wanted = target.reshape(rows, 1, answers)
    right = (predictions.argmax(-1) == wanted).double().mean(2)  # (B, T)
    curve, sure = right.mean(0), certainty(predictions)
    best = sure.argmax(1)
    chosen = at_tick(predictions, best)
    found: Scores = {f"accuracy.{tick}": float(a) for tick, a in enumerate(curve, start=1)}
    found |= {
        "accuracy_most_certain": float(right.gather(1, best[:, None]).mean()),
        "late_tick_accuracy": float(curve[ticks // 2 :].mean()),
        "gain": float(curve.max() - curve[0]),
        "ece": calibration_error(chosen.softmax(-1), wanted[:, 0]),
    }
    used = []
    for tau in TAUS:
        enough = sure >= tau
        reached = enough.any(1)
        first = torch.where(reached, enough.to(torch.int64).argmax(1), best)
        stopped = torch.where(reached, first + 1, ticks).double().mean()
        found[f"accuracy@{tau:g}"] = float(right.gather(1, first[:, None]).mean())
        found[f"mean_ticks@{tau:g}"] = float(stopped)
        used.append(float(stopped))
    return {**found, "ticks_rise": float(used == sorted(used))}


def calibration_error(proba: Tensor, target: Tensor) -> float:
    """Expected calibration error in 15 equal bins of confidence: (B, P, C) and (B, P)."""
    confidence, guess = proba.double().max(-1)
    right = (guess == target).double()
    place = (confidence * BINS).long().clamp(max=BINS - 1).flatten()
    sums = torch.zeros(BINS, dtype=torch.float64, device=proba.device)
    gap = sums.index_add(0, place, (confidence - right).flatten())
    return float(gap.abs().sum() / confidence.numel())
