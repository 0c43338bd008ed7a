"""Regret of a warm start against a cold one, after related, unrelated and opposite datasets.

Anytime regret is the mean, over the trials of a search, of how far the best so far is from the best
value possible. Earlier studies, seeds and budgets are equal on both sides.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from measure import finish

from automl.core.record import PastTrial
from automl.dataset_db import Store
from automl.ui import actions

RELATED = str(Path(__file__).parent / "related")
TRIALS = 20
SEEDS, REAL_SEEDS = (10, 5) if "--quick" not in sys.argv else (5, 0)  # real training takes minutes
SIMILAR, FAR = "0.1", "1"  # standard deviations of the optimum's move within a family
EARLIER = 30  # trials of each earlier study


@dataclass(frozen=True)
class Scenario:
    """A plugin, the datasets of the earlier studies, the new one, and the best value there."""

    name: str
    plugin: str
    earlier: tuple[str, ...]
    new: str
    best: float
    overrides: tuple[str, ...] = ()
    harmless: bool = False  # that a warm start does no harm is all that is asked


def scenarios(seed: int) -> list[Scenario]:
    """What is measured with a seed: a family of surrogates of its own, and real training."""

    def member(number: int, noise: str = SIMILAR) -> str:
        return f"spirals:noise={noise},seed={1000 * seed + number},train_size=2"

    related = (member(1), member(2), member(3))
    spirals = "spirals:noise={},train_size=500"
    short = ("epochs=0", "steps=100", "batch_size=64", "depth=4")
    surrogates = [
        Scenario("related surrogates", RELATED, related, member(0), 1.0),
        Scenario(
            "unrelated surrogates", RELATED, (member(1, FAR), member(2, FAR)), member(0, FAR), 1.0,
            harmless=True,
        ),
        Scenario(
            "opposite surrogates", RELATED, (member(1), member(2)), member(900), 1.0, harmless=True
        ),
    ]  # fmt: skip
    real = [
        Scenario(
            "selu, spirals of other noise", "selu", (spirals.format(0.02),), spirals.format(0.1),
            1.0, short,
        ),
    ]  # fmt: skip
    return surrogates + (real if seed < REAL_SEEDS else [])


def regrets(past: list[PastTrial], best: float) -> list[float]:
    """How far the best so far is from the best possible, after each trial."""
    found, so_far = [], float("-inf")
    for trial in past:
        so_far = max(so_far, trial.value if trial.value is not None else so_far)
        found.append(best - max(so_far, 0.0))
    return found


def compare(scenario: Scenario, seed: int, folder: Path) -> tuple[list[float], list[float]]:
    """Regrets by trial of the warm search and of the cold one."""
    db = str(folder / "models.db")
    common = {
        "executor": "inline", "pruner": "none", "db": db, "overrides": scenario.overrides,
        "device": "cpu", "threads": 1,
    }  # fmt: skip
    for number, dataset in enumerate(scenario.earlier):
        actions.search(
            scenario.plugin, dataset, trials=EARLIER, seed=100 + 10 * seed + number, **common
        )
    found = []
    for warm in ("auto", None):  # the warm one first: it knows nothing of the cold one
        result = actions.search(
            scenario.plugin, scenario.new, trials=TRIALS, seed=seed, warm_start=warm, **common
        )
        with Store(db) as store:
            found.append(regrets(store.past(result.study), scenario.best))
    return found[0], found[1]


def summary(pairs: list[tuple[list[float], list[float]]]) -> dict[str, float]:
    """Means over seeds: anytime and final regret, their difference against the cold spread."""
    warm = [statistics.mean(one) for one, _ in pairs]
    cold = [statistics.mean(one) for _, one in pairs]
    differences = [a - b for a, b in zip(warm, cold, strict=True)]
    return {
        "ratio": statistics.mean(warm) / statistics.mean(cold),
        "final ratio": statistics.mean(one[-1] for one, _ in pairs)
        / statistics.mean(one[-1] for _, one in pairs),
        "cold": statistics.mean(cold),
        "difference": statistics.mean(differences),
        "error": statistics.stdev(differences) / len(differences) ** 0.5,
        "spread": statistics.stdev(cold),
        "final error": statistics.stdev(one[-1] - other[-1] for one, other in pairs)
        / len(pairs) ** 0.5
        / statistics.mean(other[-1] for _, other in pairs),
        "wins": sum(value < 0 for value in differences),
    }


def main() -> None:
    """Measure and print."""
    found: dict[str, list[tuple[list[float], list[float]]]] = {}
    harmless = set()
    for seed in range(SEEDS):
        for scenario in scenarios(seed):
            with tempfile.TemporaryDirectory() as name:
                pair = compare(scenario, seed, Path(name))
            found.setdefault(scenario.name, []).append(pair)
            if scenario.harmless:
                harmless.add(scenario.name)
    details: dict[str, object] = {"trials": TRIALS}
    met, ratios = True, []
    for name, pairs in found.items():
        got = summary(pairs)
        if name in harmless:
            met = met and got["difference"] <= got["spread"]
        else:
            ratios.append(got["ratio"])
        details[name] = (
            f"anytime regret {got['ratio']:.2f} x cold's {got['cold']:.3f}, at the end "
            f"{got['final ratio']:.2f} +- {got['final error']:.2f} x; better in "
            f"{got['wins']} of {len(pairs)}; difference {got['difference']:+.4f} "
            f"+- {got['error']:.4f}, cold's spread over seeds {got['spread']:.4f}"
        )
    worst = max(ratios)
    finish(
        "anytime regret of a warm start, over a cold one's",
        worst,
        "less than 1 after related data; after others worse by no more than cold's spread",
        met and worst < 1,
        details,
    )


if __name__ == "__main__":
    main()
