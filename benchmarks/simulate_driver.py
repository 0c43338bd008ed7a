"""How many workers one driver keeps busy: measured costs, then a simulation of 1 to 4,096 workers.

The costs of ask, tell, reports, pipes and database writes are measured first, on the real plan and
the real store. The simulation is of discrete events: a driver serves everything that has arrived,
fills the free workers and writes once, as ``core.driver.Driver.work`` does, while workers wait for
it. One point of it is held against the real driver with workers that only sleep.

``--db URL`` measures another database; ``--durations 5,30`` simulates other trials (seconds).
"""

from __future__ import annotations

import argparse
import bisect
import heapq
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from multiprocessing import Pipe
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import optuna
from measure import finish
from rich.console import Console
from rich.table import Table

from automl.core.driver import FLUSH_SECONDS, Driver
from automl.core.entrants import Job, recorded_entrants
from automl.core.executors import EndHandler, ReportHandler
from automl.core.plan import SearchPlan
from automl.core.record import Evaluation, PastTrial, TrialEnd, TrialStart
from automl.core.run import Report
from automl.core.search import search, search_plans
from automl.core.study import Budget, SearchSettings
from automl.core.trial import TrialTask
from automl.dataset_db import Store

warnings.simplefilter("ignore")
NOOP = str(Path(__file__).parent / "noop")
HISTORIES = (100, 1000, 5000)  # trials that the sampler knows
WORKERS = tuple(2**power for power in range(13))
DURATIONS = (1.0, 10.0, 60.0, 600.0)
REPORTS = 10  # of a trial
BUSY = 0.9  # the share of their time that workers must work, or the driver counts as saturated
ROUNDS = 15
PIPES = 256
SPREAD = 0.5  # trials last between half and one and a half times their mean
LENGTH = 4  # trial durations that are simulated
STUDIES = 4  # at once, as a way out
GOAL_DURATION, GOAL_HISTORY, GOAL_WORKERS = 60.0, 1000, 256
REAL_WORKERS, REAL_DURATION, REAL_SECONDS = 64, 1.0, 10.0
SCORES = {"accuracy": 0.5, "nll": 0.0}


# ---------------------------------------------------------------- what things cost


@dataclass(frozen=True)
class Costs:
    """Seconds of the driver's one thread; asking and judging go by how many trials are known."""

    ask: dict[int, float]
    judge: dict[int, float]  # record a report, prune or not
    tell: float
    report: float  # receive one and answer
    start: float  # send a task
    write: float  # a transaction of one trial
    write_more: float  # each further trial in it
    write_report: float  # each report in it
    watch: float  # each worker at each turn of the driver's loop


def at(points: dict[int, float], known: int) -> float:
    """On the line between two measured lengths, or on the last of these lines beyond them."""
    lengths = sorted(points)
    place = bisect.bisect(lengths, known, 1, len(lengths) - 1)
    low, high = lengths[place - 1], lengths[place]
    slope = (points[high] - points[low]) / (high - low)
    return max(min(points.values()), points[low] + slope * (known - low))


class Bench:
    """A real study of the plugin that does nothing, to measure on."""

    def __init__(self, db: str, folder: Path, sampler: str) -> None:
        self.store = Store(db, artifacts=folder)
        self.settings = SearchSettings(sampler=sampler, pruner="median", workers=2)
        inline = replace(self.settings, executor="inline")
        self.study = search(Job((NOOP,), Budget(trials=1), settings=inline), self.store).study
        self.store.claim_study(self.study)
        self.spec = self.store.spec(self.study)
        self.first = self.store.past(self.study)[0].start
        self.numbers = count(10**6)  # beyond those of any plan

    def plan(self, known: int) -> SearchPlan:
        """The plan of a search with several workers that knows so many trials."""
        dataset, entrants = recorded_entrants(self.spec)
        plan = next(iter(search_plans(entrants, dataset, self.settings).values()))
        chance = random.Random(0)
        plan.restore([self.past(number, plan, chance) for number in range(known)])
        return plan

    def driver(self, known: int, sleepers: Sleepers, timeout: float) -> Driver:
        """A driver whose plan knows so many trials."""
        spec = replace(self.spec, trials=None, timeout=timeout)
        driver = Driver(self.study, spec, self.plan(known), sleepers, self.store)
        driver.settings = self.settings
        return driver

    def past(self, number: int, plan: SearchPlan, chance: random.Random) -> PastTrial:
        """A complete trial somewhere in the space."""
        params = {name: drawn(space, chance) for name, space in plan.distributions.items()}
        value = chance.random()
        name = plan.objectives.first.name
        reports = {step: {name: value * step / REPORTS} for step in range(1, REPORTS + 1)}
        start = replace(self.first, number=number, params=params)
        return PastTrial(start, "complete", value, 1.0, reports, {name: value})

    def next_start(self) -> TrialStart:
        """A trial that the store does not know."""
        return replace(self.first, number=next(self.numbers))

    def write(self, trials: int, reports: int) -> Callable[[], None]:
        """A call that tells the store of ``trials`` that end and start, and flushes."""

        def call() -> None:
            for _ in range(trials):
                start = self.next_start()
                self.store.start_trial(self.study, start)
                for step in range(reports):
                    self.store.report(self.study, start.number, step, "valid", SCORES)
                self.store.finish_trial(self.study, ended(start.number))
            self.store.tick(self.study, 1.0)
            self.store.flush()

        return call


def ended(number: int) -> TrialEnd:
    """A complete trial."""
    return TrialEnd(number, "complete", 0.5, SCORES, REPORTS, 1.0, 1)


def drawn(space: optuna.distributions.BaseDistribution, chance: random.Random) -> Any:
    """A value of a parameter."""
    if isinstance(space, optuna.distributions.CategoricalDistribution):
        return chance.choice(space.choices)
    if isinstance(space, optuna.distributions.IntDistribution):
        return chance.randint(space.low, space.high)
    assert isinstance(space, optuna.distributions.FloatDistribution)
    return chance.uniform(space.low, space.high)


def seconds(call: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """The median of some calls, after one that does not count."""
    call()
    times = []
    for _ in range(rounds):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return statistics.median(times)


def measure(db: str, folder: Path, sampler: str) -> Costs:
    """What each thing that a driver does costs here."""
    bench = Bench(db, folder, sampler)
    ask, judge, tell = {}, {}, 0.0
    for known in (ROUNDS, *HISTORIES):
        sleepers = Sleepers(0, 1.0)
        driver = bench.driver(known, sleepers, timeout=1e6)
        ask[known] = seconds(partial(hand_out_one, driver, sleepers))
        judged, learnt = iter(list(sleepers.busy)), iter(list(sleepers.busy))
        middle = Report(REPORTS // 2, SCORES)
        judge[known] = seconds(partial(report_next, driver, judged, middle))
        tell = seconds(partial(end_next, driver, learnt))
        bench.store.flush()
    one, many = seconds(bench.write(1, 0)), seconds(bench.write(20, 0))
    reported = seconds(bench.write(20, REPORTS))
    bench.store.close()
    report, start, watch = pipes(bench.first, folder)
    return Costs(
        ask, judge, tell, report, start, one, max(0.0, many - one) / 19,
        max(0.0, reported - many) / (20 * REPORTS), watch,
    )  # fmt: skip


def hand_out_one(driver: Driver, sleepers: Sleepers) -> None:
    """One more worker is free."""
    sleepers.slots += 1
    driver.hand_out()


def report_next(driver: Driver, running: Iterator[int], report: Report) -> None:
    """The next running trial reports."""
    driver.on_report(next(running), report)


def end_next(driver: Driver, running: Iterator[int]) -> None:
    """The next running trial ends."""
    driver.on_end(ended(next(running)))


def pipes(start: TrialStart, folder: Path) -> tuple[float, float, float]:
    """A report and its answer, a task, and the wait for one of many pipes (a share of it)."""
    pairs = [Pipe() for _ in range(PIPES)]
    ours, theirs = pairs[0]
    task = TrialTask("noop", "spirals", start.config, 0, 0, str(folder))

    def answer() -> None:
        theirs.send(("report", Report(1, SCORES)))
        ours.recv()
        ours.send("continue")

    def listen() -> None:
        theirs.send("ready")
        wait([pair[0] for pair in pairs])
        ours.recv()

    found = seconds(answer), seconds(lambda: ours.send(("fit", task))), seconds(listen) / PIPES
    for pair in pairs:
        for end in pair:
            end.close()
    return found


# ---------------------------------------------------------------- the simulation


class Simulated:
    """A driver with its workers: what has arrived, what is free, what was worked."""

    def __init__(self, costs: Costs, workers: int, duration: float, known: int) -> None:
        self.costs, self.workers, self.duration = costs, workers, duration
        # TPE looks at the running trials too; what ends meanwhile is left out of the picture
        self.ask = at(costs.ask, known + workers)
        self.report = costs.report + at(costs.judge, known + workers)
        self.reports = REPORTS
        self.chance = random.Random(0)
        self.order = count()
        # (when, order, the length of the trial's pieces, how many are left)
        self.events: list[tuple[float, int, float, int]] = []
        self.worked = self.flushed = 0.0
        self.told = 0  # reports that are not yet written

    def begin(self, reports: int) -> None:
        """Every worker is somewhere in a trial, as in the middle of a search."""
        self.reports = reports
        for _ in range(self.workers):
            piece = self.length() / (reports + 1)
            left = self.chance.randrange(reports + 1)
            self.push(piece * self.chance.random(), piece, left)

    def length(self) -> float:
        """How long a trial lasts."""
        return self.duration * self.chance.uniform(1 - SPREAD, 1 + SPREAD)

    def push(self, when: float, piece: float, left: int) -> None:
        """A worker will be heard of."""
        heapq.heappush(self.events, (when, next(self.order), piece, left))

    def turn(self, now: float) -> tuple[float, float]:
        """Serve what has arrived; return when that is done and how long the write lasts."""
        costs, free, told = self.costs, 0, 0
        now += costs.watch * self.workers
        arrived = []
        while self.events and self.events[0][0] <= now:
            arrived.append(heapq.heappop(self.events))
        for _, _, piece, left in arrived:
            self.worked += piece
            if left:
                told += 1
                now += self.report
                self.push(now + piece, piece, left - 1)
            else:
                free += 1
                now += costs.tell
        for _ in range(free):
            now += self.ask + costs.start
            piece = self.length() / (self.reports + 1)
            self.push(now + piece, piece, self.reports)
        self.told += told
        if not free and now - self.flushed < FLUSH_SECONDS:
            return now, 0.0
        write = costs.write + costs.write_more * max(0, free - 1) + costs.write_report * self.told
        self.flushed, self.told = now, 0
        return now, write


def utilisation(
    costs: Costs,
    workers: int,
    duration: float,
    known: int,
    reports: int = REPORTS,
    studies: int = 1,
    one_writer: bool = True,
) -> float:
    """The share of their time that workers work; ``studies`` share them and what is known.

    With ``one_writer`` their transactions wait for each other, as SQLite's do.
    """
    drivers = []
    for _ in range(studies):
        drivers.append(Simulated(costs, workers // studies, duration, known // studies))
        drivers[-1].begin(reports)
    wake = [(driver.events[0][0], i) for i, driver in enumerate(drivers)]
    heapq.heapify(wake)
    horizon, written = LENGTH * duration, 0.0
    while wake[0][0] < horizon:
        now, index = heapq.heappop(wake)
        done, write = drivers[index].turn(now)
        if write:
            done = max(done, written if one_writer else done) + write
            written = done
        heapq.heappush(wake, (max(done, drivers[index].events[0][0]), index))
    # Pieces under way at the start were counted whole; those at the end not at all.
    worked = sum(driver.worked for driver in drivers)
    return min(1.0, worked / (horizon * (workers // studies) * studies))


def limit(costs: Costs, duration: float, known: int, **how: Any) -> int:
    """The most workers (a power of two) that are kept busy; 0 if not even one is."""
    best = 0
    for workers in WORKERS:
        if workers < how.get("studies", 1):
            continue
        if utilisation(costs, workers, duration, known, **how) < BUSY:
            break
        best = workers
    return best


# ---------------------------------------------------------------- the real driver


class Sleepers:
    """An executor whose workers only let time pass: the real driver's own speed."""

    devices = ("cpu",)

    def __init__(self, workers: int, duration: float) -> None:
        self.slots, self.duration = workers, duration
        self.chance = random.Random(1)
        self.events: list[tuple[float, int, int, float]] = []  # when, number, step, piece
        self.busy: dict[int, float] = {}
        self.worked = 0.0

    def running(self) -> dict[int, float]:
        """What ``start`` was given."""
        return dict(self.busy)

    def start(self, task: TrialTask) -> None:
        """A trial begins; its pieces have random lengths."""
        self.busy[task.number] = time.monotonic()
        length = self.duration * self.chance.uniform(1 - SPREAD, 1 + SPREAD)
        piece = length / (REPORTS + 1)
        heapq.heappush(self.events, (time.monotonic() + piece, task.number, 1, piece))

    def wait(self, seconds: float, on_report: ReportHandler, on_end: EndHandler) -> None:
        """Sleep until something is due, then tell all that is."""
        time.sleep(max(0.0, min(seconds, self.events[0][0] - time.monotonic())))
        now = time.monotonic()
        while self.events and self.events[0][0] <= now:
            _, number, step, piece = heapq.heappop(self.events)
            self.worked += piece
            if step > REPORTS or on_report(number, Report(step, SCORES)) != "continue":
                del self.busy[number]
                on_end(ended(number))
                continue
            heapq.heappush(self.events, (time.monotonic() + piece, number, step + 1, piece))

    def kill(self, number: int, kind: str, message: str) -> TrialEnd | None:
        """Nothing hangs here."""
        return None

    def examine(self, task: TrialTask) -> tuple[tuple[Evaluation, ...], int | None]:
        """There is no model."""
        return (), None

    def close(self) -> None:
        """Nothing to give back."""


def real(db: str, folder: Path, sampler: str) -> tuple[float, int]:
    """The utilisation that the real driver reaches, and how many trials it knew in the middle."""
    bench = Bench(db, folder, sampler)
    sleepers = Sleepers(REAL_WORKERS, REAL_DURATION)
    driver = bench.driver(1, sleepers, REAL_SECONDS)
    before = time.monotonic()
    driver.run()
    spent = time.monotonic() - before
    bench.store.close()
    return sleepers.worked / (spent * REAL_WORKERS), driver.progress.complete // 2


# ---------------------------------------------------------------- what is printed


def ways(costs: dict[str, Costs]) -> dict[str, tuple[Costs, dict[str, Any]]]:
    """What can be done about a driver that is saturated."""
    tpe, one = costs["tpe"], costs["random"]
    return {
        "TPE": (tpe, {}),
        "TPE, one report a trial": (tpe, {"reports": 1}),
        f"TPE, {STUDIES} studies": (tpe, {"studies": STUDIES}),
        f"TPE, {STUDIES} studies, concurrent writers": (
            tpe, {"studies": STUDIES, "one_writer": False},
        ),
        "random or QMC": (one, {}),
        "random or QMC, one report a trial": (one, {"reports": 1}),
    }  # fmt: skip


def show(limits: dict[str, dict[float, dict[int, int]]], costs: dict[str, Costs]) -> None:
    """Two tables."""
    console = Console(width=100)
    table = Table("seconds of the driver", *costs, title="Measured costs in ms")
    for name in ("tell", "report", "start", "write", "write_more", "write_report", "watch"):
        table.add_row(name, *(f"{1000 * getattr(c, name):.3f}" for c in costs.values()))
    for known in HISTORIES:
        for what in ("ask", "judge"):
            cells = (f"{1000 * getattr(c, what)[known]:.3f}" for c in costs.values())
            table.add_row(f"{what}, {known:,} trials known", *cells)
    console.print(table)
    durations = list(next(iter(limits.values())))
    table = Table(
        "what", *(f"{d:g} s" for d in durations),
        title=f"Workers that stay {BUSY:.0%} busy, by a trial's duration; with "
        + ", ".join(f"{known:,}" for known in HISTORIES) + " trials known",
    )  # fmt: skip
    for name, row in limits.items():
        table.add_row(name, *(" / ".join(f"{n:,}" for n in row[d].values()) for d in durations))
    console.print(table)


def main() -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--db", default="")
    parser.add_argument("--durations", default=",".join(map(str, DURATIONS)))
    asked = parser.parse_args()
    durations = tuple(float(text) for text in asked.durations.split(","))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        costs = {s: measure(asked.db or f"{name}/{s}.db", folder, s) for s in ("tpe", "random")}
        reached, known = real(asked.db or f"{name}/real.db", folder, "tpe")
    foretold = utilisation(costs["tpe"], REAL_WORKERS, REAL_DURATION, known)
    limits = {
        way: {d: {k: limit(cost, d, k, **how) for k in HISTORIES} for d in durations}
        for way, (cost, how) in ways(costs).items()
    }
    if not asked.json:
        show(limits, costs)
    kept = limit(costs["tpe"], GOAL_DURATION, GOAL_HISTORY)
    details: dict[str, Any] = {
        f"real driver, {REAL_WORKERS} workers, {REAL_DURATION:g} s trials, TPE":
            f"{reached:.0%} busy, simulated {foretold:.0%}",
        **{
            f"{way}, trials of {d:g} s":
                " / ".join(f"{n:,}" for n in row[d].values()) + " workers"
            for way, row in limits.items() for d in durations
        },
        "trials known": " / ".join(f"{known:,}" for known in HISTORIES),
        **{f"costs in ms, {s}": shown(c) for s, c in costs.items()},
    }  # fmt: skip
    finish(
        f"workers that one driver keeps {BUSY:.0%} busy, over {GOAL_WORKERS} (TPE, "
        f"{GOAL_HISTORY:,} trials known, trials of {GOAL_DURATION:g} s)",
        kept / GOAL_WORKERS, "at least 1",
        kept >= GOAL_WORKERS, details,
    )  # fmt: skip


def shown(costs: Costs) -> str:
    """Costs in one line."""
    plain = {key: value for key, value in vars(costs).items() if key not in ("ask", "judge")}
    plain |= {f"ask at {known:,}": cost for known, cost in costs.ask.items()}
    plain |= {f"judge at {known:,}": cost for known, cost in costs.judge.items()}
    return ", ".join(f"{key} {1000 * value:.3f}" for key, value in plain.items())


if __name__ == "__main__":
    main()
