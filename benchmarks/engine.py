"""CPU time that the engine adds to a trial, against Optuna in memory and on SQLite."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import time
import warnings
from dataclasses import replace
from pathlib import Path

import optuna
from measure import cpu, finish

from automl.core.driver import Driver
from automl.core.entrants import Job, recorded_entrants
from automl.core.executors import InlineExecutor
from automl.core.record import TrialEnd
from automl.core.search import make_plan, search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import Store

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.WARNING)
NOOP = str(Path(__file__).parent / "noop")
COUNTS = (100, 1000, 3000)
SQLITE_COUNT = 100
RESUMED = 10_000


def sampler(name: str) -> optuna.samplers.BaseSampler:
    """The sampler that the engine uses, as Optuna offers it."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=0)
    return optuna.samplers.TPESampler(seed=0, multivariate=True, group=True)


def plain(count: int, name: str, storage: str | None) -> float:
    """CPU ms per trial of Optuna by itself."""
    spec = importlib.util.spec_from_file_location(
        "noop", Path(NOOP) / "__init__.py", submodule_search_locations=[NOOP]
    )
    assert spec is not None
    sys.modules["noop"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["noop"])  # type: ignore[union-attr]
    from noop.plugin import suggest, value

    study = optuna.create_study(direction="maximize", sampler=sampler(name), storage=storage)

    def objective(trial: optuna.Trial) -> float:
        return value(suggest(trial))

    return 1000 * cpu(lambda: study.optimize(objective, n_trials=count)) / count


def ours(count: int, name: str, folder: Path) -> float:
    """CPU ms per trial of a whole search: sampling, trial, weights, database."""
    settings = SearchSettings(sampler=name, pruner="none", executor="inline")
    with Store(str(folder / "ours.db"), artifacts=folder) as store:
        job = Job((NOOP,), Budget(trials=count), settings=settings)
        return 1000 * cpu(lambda: search(job, store)) / count


def resume_seconds(folder: Path) -> float:
    """Wall-clock until a study of 10,000 trials is ready to go on."""
    settings = SearchSettings(sampler="random", pruner="median", executor="inline")
    with Store(str(folder / "resume.db"), artifacts=folder) as store:
        search(Job((NOOP,), Budget(trials=1), settings=settings), store)
        first = store.past(1)[0].start
        for number in range(1, RESUMED):
            store.start_trial(1, replace(first, number=number, seed=number))
            store.report(1, number, 1, "valid", {"accuracy": 0.5, "nll": 0.0})
            store.finish_trial(1, TrialEnd(number, "complete", 0.5, {"accuracy": 0.5}, 1))
            if number % 500 == 0:
                store.flush()
        store.flush()
    with Store(str(folder / "resume.db"), artifacts=folder) as store:
        started = time.perf_counter()
        spec = store.spec(1)
        dataset, entrants = recorded_entrants(spec)
        plan = make_plan(entrants, dataset, spec.settings)
        driver = Driver(1, spec, plan, InlineExecutor("cpu"), store)
        driver.restore(store.past(1), store.spent(1))
        plan.propose()
        return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    details: dict[str, object] = {}
    worst, growth = 0.0, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours(50, "random", folder)  # imports and caches
        for method in ("random", "tpe"):
            for count in COUNTS if "--quick" not in sys.argv else COUNTS[:2]:
                work = folder / f"{method}-{count}"
                work.mkdir()
                memory, mine = plain(count, method, None), ours(count, method, work)
                worst = max(worst, mine / (1.3 * memory + 3))
                growth.append((method, count, mine - memory))
                details[f"{method}, {count} trials"] = (
                    f"{mine:.2f} ms a trial, Optuna in memory {memory:.2f} ms"
                )
            storage = f"sqlite:///{folder}/{method}.db"
            rdb = plain(SQLITE_COUNT, method, storage)
            work = folder / f"{method}-again"
            work.mkdir()
            mine = ours(SQLITE_COUNT, method, work)
            details[f"{method}, Optuna on SQLite"] = f"{rdb:.1f} ms, {rdb / mine:.1f} x ours"
            details[f"{method}, at least 4 x cheaper than Optuna on SQLite"] = rdb / mine >= 4
        for method in ("random", "tpe"):
            added = [extra for m, _, extra in growth if m == method]
            details[f"{method}, added ms at {COUNTS}"] = [round(extra, 2) for extra in added]
        seconds = resume_seconds(folder)
        details["resume of 10,000 trials"] = f"{seconds:.2f} s (goal under 2 s)"
    cheaper = all(value for key, value in details.items() if "at least 4 x" in key)
    met = worst <= 1 and seconds < 2 and bool(cheaper)
    finish(
        "engine overhead per no-op trial, over 1.3 x Optuna in memory + 3 ms CPU",
        worst,
        "at most 1",
        met,
        details,
    )


if __name__ == "__main__":
    main()
