"""Wall-clock of a trial that does nothing, two workers: this engine, Ray Tune and Syne Tune.

    pip install "automl-papers[peers]"
    python benchmarks/peers_overhead.py

Ten parameters drawn at random, one report, no pruning. What is told is the time from the end of
the first trial to that of the last one over the trials between, so starting the tool costs nothing.
The tools take turns, five times each, and the median of each counts: no machine is equally fast all
the time.
Every tool keeps what it keeps by default: this engine each trial in its database, Ray Tune its
results in memory with reporting and loggers off and actors used again, Syne Tune its results file.
"""

from __future__ import annotations

import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from measure import finish

from automl.core.entrants import Job
from automl.core.observer import Silent
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import Store

NOOP = str(Path(__file__).parent / "noop")
WORKERS = 2
ROUNDS = 5
TRIALS = {"automl": 300, "ray tune": 60, "syne tune": 24}
SCRIPT = """
import argparse
from syne_tune import Reporter
parser = argparse.ArgumentParser()
for name in "abcdefghij":
    parser.add_argument(f"--{name}", type=str)
Reporter()(value=-(float(parser.parse_known_args()[0].a) - 0.3) ** 2)
"""


def ours(folder: Path) -> list[float]:
    """When each trial ended, in order."""
    ends: list[float] = []

    class Watch(Silent):
        """Notes when trials end."""

        def trial_ended(self, trial: object, best: int | None) -> None:
            """A trial ended."""
            ends.append(time.monotonic())

    settings = SearchSettings(workers=WORKERS, threads=1, sampler="random", pruner="none")
    job = Job((NOOP,), Budget(trials=TRIALS["automl"]), settings=settings)
    with Store(str(folder / "a.db"), artifacts=folder / "files") as store:
        search(job, store, Watch())
    return ends


def ray_tune(folder: Path) -> list[float]:
    """When each trial ended, in order."""
    os.environ |= {"RAY_AIR_NEW_OUTPUT": "0", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1"}
    import ray
    from ray import tune

    ends: list[float] = []

    class Watch(tune.Callback):
        """Notes when trials end."""

        def on_trial_complete(self, *args: Any, **more: Any) -> None:
            """A trial ended."""
            ends.append(time.monotonic())

    def fit(config: dict[str, Any]) -> None:
        tune.report({"value": -((config["a"] - 0.3) ** 2)})

    space: dict[str, Any] = {name: tune.uniform(0, 1) for name in "abcd"}
    space |= {name: tune.loguniform(1e-5, 1) for name in "ef"}
    space |= {name: tune.randint(1, 11) for name in "gh"}
    space |= {name: tune.choice(["x", "y", "z"]) for name in "ij"}
    ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        tune.Tuner(
            fit,
            param_space=space,
            tune_config=tune.TuneConfig(
                num_samples=TRIALS["ray tune"], max_concurrent_trials=WORKERS, reuse_actors=True
            ),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[Watch()]),
        ).fit()
    finally:
        ray.shutdown()
    return ends


def syne_tune(folder: Path) -> list[float]:
    """When each trial ended, in order."""
    os.environ["SYNETUNE_FOLDER"] = str(folder)
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune import config_space as syne
    from syne_tune.backend import LocalBackend
    from syne_tune.optimizer.baselines import RandomSearch
    from syne_tune.tuner_callback import TunerCallback

    logging.getLogger().setLevel(logging.ERROR)
    ends: list[float] = []

    class Watch(TunerCallback):
        """Notes when trials end."""

        def on_trial_complete(self, trial: Any, result: Any) -> None:
            """A trial ended."""
            ends.append(time.monotonic())

    script = folder / "fit.py"
    script.write_text(SCRIPT)
    space: dict[str, Any] = {name: syne.uniform(0, 1) for name in "abcd"}
    space |= {name: syne.loguniform(1e-5, 1) for name in "ef"}
    space |= {name: syne.randint(1, 10) for name in "gh"}
    space |= {name: syne.choice(["x", "y", "z"]) for name in "ij"}
    Tuner(
        trial_backend=LocalBackend(entry_point=str(script)),
        scheduler=RandomSearch(space, metrics=["value"], do_minimize=False),
        stop_criterion=StoppingCriterion(max_num_trials_finished=TRIALS["syne tune"]),
        n_workers=WORKERS,
        sleep_time=0.1,
        print_update_interval=1e9,
        callbacks=[Watch()],
        save_tuner=False,
        suffix_tuner_name=False,
    ).run()
    return ends


def per_trial(ends: Sequence[float]) -> float:
    """Milliseconds of wall-clock."""
    return 1e3 * (ends[-1] - ends[0]) / (len(ends) - 1)


TOOLS: dict[str, Callable[[Path], list[float]]] = {
    "automl": ours,
    "ray tune": ray_tune,
    "syne tune": syne_tune,
}


def main() -> None:
    """Measure and print."""
    each: dict[str, list[float]] = {name: [] for name in TOOLS}
    for _ in range(ROUNDS):
        for name, run in TOOLS.items():
            with tempfile.TemporaryDirectory(prefix="automl-overhead-") as folder:
                each[name].append(per_trial(run(Path(folder))))
    took = {name: statistics.median(values) for name, values in each.items()}
    least = min(took["ray tune"], took["syne tune"]) / took["automl"]
    finish(
        "wall-clock of a trial that does nothing, the faster of Ray Tune and Syne Tune over ours",
        least, "at least 10", least >= 10,
        {
            name: f"{took[name]:.1f} ms a trial ({min(values):.1f} to {max(values):.1f}), "
            f"{TRIALS[name]} trials"
            for name, values in each.items()
        },
    )  # fmt: skip


if __name__ == "__main__":
    main()
