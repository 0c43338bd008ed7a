"""Contests with random search, Optuna, Ray Tune and Syne Tune: same spaces, seeds and budgets.

    pip install "automl-papers[peers]"
    automl db import lemur nn_dataset-2.1.0-py3-none-any.whl --db lemur.db
    python benchmarks/tables.py lemur.db surrogates.joblib
    AUTOML_SURROGATES=surrogates.joblib python benchmarks/peers.py --runs runs.jsonl

Runs that are on record in ``--runs`` are not run again. Options: ``--seeds 0-4``, or several
such ranges with commas, ``--jobs N`` processes (1), ``--only TEXT`` contests, ``--figure
FILE.html`` the anytime curves, ``--json``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
from contest import CONTESTS, Contest, run
from measure import finish
from scipy.stats import rankdata

OURS, RANDOM = "automl", "random"
RIVALS = (OURS, RANDOM, "optuna", "ray tune", "syne tune")
SHARES = (0.25, 0.5, 1.0)  # of the budget
GRID = np.linspace(0.025, 1, 40)
BANDS = 2000  # resamplings of seeds and contests
Key = tuple[str, str, int]  # contest, method, seed
Curves = dict[Key, np.ndarray]  # best value at each of GRID, less is better


def one(contest: Contest, method: str, seed: int) -> dict[str, Any]:
    """One run, in a process of its own."""
    import torch
    from rivals import METHODS

    torch.set_num_threads(1)
    found = run(contest, METHODS[method], seed)
    return {"contest": contest.name, "method": method, "seed": seed, **found}


def on_record(path: Path) -> dict[Key, dict[str, Any]]:
    """The runs that were done before."""
    lines = path.read_text().splitlines() if path.exists() else []
    rows = [json.loads(line) for line in lines]
    return {(row["contest"], row["method"], row["seed"]): row for row in rows}


def seeds(text: str) -> list[int]:
    """The numbers of ranges such as ``0-4,100-104``."""
    ranges = [part.partition("-") for part in text.split(",")]
    return [seed for first, _, last in ranges for seed in range(int(first), int(last or first) + 1)]


def complete(asked: argparse.Namespace, methods: Sequence[str]) -> dict[Key, dict[str, Any]]:
    """All runs; those that are missing are run and recorded."""
    path = Path(asked.runs)
    known = on_record(path)
    wanted = [
        (contest, method, seed)
        for seed in seeds(asked.seeds)
        for contest in CONTESTS
        if asked.only in contest.name
        for method in methods
    ]
    missing = [job for job in wanted if (job[0].name, *job[1:]) not in known]
    with ProcessPoolExecutor(asked.jobs) as pool, path.open("a") as file:
        waiting = [pool.submit(one, *job) for job in missing]
        try:
            for future in as_completed(waiting):
                row = future.result()
                known[row["contest"], row["method"], row["seed"]] = row
                file.write(json.dumps(row) + "\n")
                file.flush()
        finally:  # a run that fails, or Ctrl-C, ends the others that have not begun
            pool.shutdown(wait=False, cancel_futures=True)
    names = {(contest.name, method, seed) for contest, method, seed in wanted}
    return {key: row for key, row in known.items() if key in names}


def curves(rows: dict[Key, dict[str, Any]]) -> Curves:
    """The best value at each share of the budget; infinite before the first report."""
    fits = {contest.name: contest.fits for contest in CONTESTS}
    found: Curves = {}
    for key, row in rows.items():
        spent, best = np.array(row["points"]).T
        place = np.searchsorted(spent, GRID * fits[key[0]] + 1e-9, side="right") - 1
        found[key] = np.where(place >= 0, best[np.maximum(place, 0)], np.inf)
    return found


def pairs(found: Iterable[Key]) -> list[tuple[str, int]]:
    """Contests and seeds."""
    return sorted({(contest, seed) for contest, _, seed in found})


def ranks(found: Curves, methods: Sequence[str], share: float) -> np.ndarray:
    """Rank of each method (1 is best, ties share) on each contest and seed: (pairs, methods)."""
    at = int(np.argmin(abs(GRID - share)))
    values = [[found[c, m, s][at] for m in methods] for c, s in pairs(found)]
    return np.array([rankdata(np.round(row, 9)) for row in values])


def regrets(found: Curves, methods: Sequence[str]) -> dict[str, np.ndarray]:
    """Distance to the best that any method found on the contest, by share: (pairs, GRID).

    Scaled so that random search's median final distance from it is 1 on every contest.
    """
    best = {c: min(v[-1] for (of, _, _), v in found.items() if of == c) for c, _ in pairs(found)}
    scale = {
        c: np.median([v[-1] - best[c] for (of, m, _), v in found.items() if (of, m) == (c, RANDOM)])
        for c in best
    }
    return {
        m: np.array([(found[c, m, s] - best[c]) / max(scale[c], 1e-9) for c, s in pairs(found)])
        for m in methods
    }


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean, by resampling."""
    chance = np.random.default_rng(0)
    drawn = chance.choice(values, (BANDS, len(values))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def speeds(found: Curves, method: str) -> np.ndarray:
    """The share of the budget after which a method has random search's final best: (pairs,).

    Infinite where it never does; random search is that of the same contest and seed.
    """
    shares = []
    for contest, seed in pairs(found):
        reached = found[contest, method, seed] <= found[contest, RANDOM, seed][-1] + 1e-12
        shares.append(GRID[np.argmax(reached)] if reached.any() else np.inf)
    return np.array(shares)


def figure(found: Curves, methods: Sequence[str], file: Path) -> None:
    """Mean distance to the best known by share of the budget, with 95 % bands."""
    import plotly.graph_objects as go

    colours = ("#0072B2", "#999999", "#E69F00", "#009E73", "#CC79A7")
    chart = go.Figure()
    for (name, values), colour in zip(regrets(found, methods).items(), colours, strict=False):
        keep = np.isfinite(values).all(0)
        low, high = np.array([interval(column) for column in values[:, keep].T]).T
        x = GRID[keep]
        chart.add_scatter(
            x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=colour, opacity=0.15,
            line_width=0, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        chart.add_scatter(x=x, y=values[:, keep].mean(0), name=name, line_color=colour)
    chart.update_layout(
        title="Distance to the best value known, mean of contests and seeds with 95 % bands",
        xaxis_title="share of the budget",
        yaxis_title="distance (1: random search's median at the end)",
        yaxis_type="log",
        template="plotly_white",
    )
    chart.write_html(file, include_plotlyjs="cdn")


def main() -> None:
    """Run what is missing, then judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", default="peers.jsonl")
    parser.add_argument("--seeds", default="0-4")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--figure")
    parser.add_argument("--methods", default=",".join(RIVALS))
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    methods = asked.methods.split(",")
    found = curves(complete(asked, methods))
    details: dict[str, Any] = {"contests and seeds": len(pairs(found))}
    places = {share: ranks(found, methods, share) for share in SHARES}
    for index, name in enumerate(methods):
        told = []
        for share in SHARES:
            low, high = interval(places[share][:, index])
            told.append(f"{places[share][:, index].mean():.2f} [{low:.2f}, {high:.2f}]")
        details[f"{name}: mean rank at 25, 50, 100 %"] = ", ".join(told)
    for name in methods:
        shares = speeds(found, name)
        never = f", never in {np.isinf(shares).sum()}" if np.isinf(shares).any() else ""
        details[f"{name}: share until random's final best"] = f"{np.median(shares):.3g}{never}"
    if asked.figure:
        figure(found, methods, Path(asked.figure))
    ours = methods.index(OURS)
    means = [places[share].mean(0) for share in SHARES]
    best = all(mean[ours] <= mean.min() + 1e-9 for mean in means)
    share = float(np.median(speeds(found, OURS)))
    finish(
        "contest: share of the budget to random search's final best",
        share,
        "at most 0.5, and the best mean rank at 25, 50 and 100 %",
        share <= 0.5 and best,
        details,
    )


if __name__ == "__main__":
    main()
