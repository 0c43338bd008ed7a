"""Wall-clock of a trial that does nothing: this engine, Ray Tune and Syne Tune, one worker each.

    pip install "automl-papers[peers]"
    python benchmarks/peers_overhead.py

Every trial runs in a process of its own kind of worker, as each tool does by default; starting the
tool (and the first worker) is not counted. Median of the time between the ends of trials.
"""

from __future__ import annotations

import itertools
import logging
import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from measure import finish

from automl.core.entrants import Job
from automl.core.observer import Silent
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import Store

NOOP = str(Path(__file__).parent / "noop")
TRIALS = 20
GOAL = 0.1


class Ends(Silent):
    """Notes when trials end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def trial_ended(self, trial: Any, best: int | None) -> None:
        """Note it."""
        self.times.append(time.monotonic())


def between(times: list[float]) -> float:
    """Median milliseconds from one end to the next."""
    return 1000 * statistics.median(b - a for a, b in itertools.pairwise(times))


def ours(folder: Path) -> float:
    """A search with one worker process."""
    ends = Ends()
    settings = SearchSettings(workers=1, threads=1, pruner="none")
    with Store(folder / "a.db", artifacts=folder / "files") as store:
        search(Job((NOOP,), Budget(trials=TRIALS), settings=settings), store, ends)
    return between(ends.times)


def ray_tune(folder: Path) -> float:
    """A Tuner with Optuna's search and ASHA."""
    import ray
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ends: list[float] = []

    class Told(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            ends.append(time.monotonic())

    def nothing(config: dict[str, Any]) -> None:
        tune.report({"value": config["x"]})

    ray.init(num_cpus=1, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    tune.Tuner(
        nothing,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            metric="value", mode="max", num_samples=TRIALS, max_concurrent_trials=1,
            search_alg=OptunaSearch(), scheduler=ASHAScheduler(),
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[Told()]),
    ).fit()  # fmt: skip
    ray.shutdown()
    return between(ends)


def syne_tune(folder: Path) -> float:
    """A Tuner with a local backend and ASHA, polling as often as it can."""
    from syne_tune import StoppingCriterion, Tuner
    from syne_tune.backend import LocalBackend
    from syne_tune.config_space import uniform
    from syne_tune.optimizer.baselines import ASHA
    from syne_tune.tuner_callback import TunerCallback

    ends: list[float] = []

    class Told(TunerCallback):
        def on_trial_complete(self, trial: Any, result: dict[str, Any]) -> None:
            ends.append(time.monotonic())

    script = folder / "nothing.py"
    script.write_text(
        "from argparse import ArgumentParser\n"
        "from syne_tune import Reporter\n"
        "parser = ArgumentParser()\n"
        'parser.add_argument("--x", type=float)\n'
        "Reporter()(value=parser.parse_known_args()[0].x, epoch=1)\n"
    )
    Tuner(
        LocalBackend(str(script)),
        ASHA({"x": uniform(0, 1)}, "value", time_attr="epoch", max_t=1, do_minimize=False),
        StoppingCriterion(max_num_trials_finished=TRIALS),
        n_workers=1,
        sleep_time=0.01,
        callbacks=[Told()],
        save_tuner=False,
    ).run()
    return between(ends)


def main() -> None:
    """Measure each in turn."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SYNETUNE_FOLDER"] = folder
        found = {"automl": ours(Path(folder))}
        found["ray tune"] = ray_tune(Path(folder))
        found["syne tune"] = syne_tune(Path(folder))
    ratio = found["automl"] / min(found["ray tune"], found["syne tune"])
    details = {name: f"{value:.1f} ms a trial" for name, value in found.items()}
    finish(
        "overhead of a trial over the least of its peers",
        ratio,
        "at most 0.1",
        ratio <= GOAL,
        details,
    )


if __name__ == "__main__":
    main()
