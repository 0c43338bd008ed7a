"""The live view of a search in a terminal, and plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from automl.core.discovery import catalogue
from automl.core.record import PastTrial, StudySpec, TrialEnd, TrialStart
from automl.core.study import StudyResult

if TYPE_CHECKING:
    from automl.core.run import Report

Stage = Callable[[str, int, int], None]
TOO_MUCH = {"size": "too large", "latency": "too slow"}
SPARKS = "▁▂▃▄▅▆▇█"
STATE_STYLES = {
    "complete": "green",
    "pruned": "yellow",
    "failed": "red",
    "interrupted": "magenta",
    "running": "cyan",
}


def sparkline(values: list[float], width: int = 24) -> str:
    """The last ``width`` values as a row of blocks, scaled between their extremes."""
    shown = values[-width:]
    if not shown:
        return ""
    low, high = min(shown), max(shown)
    scale = (len(SPARKS) - 1) / (high - low) if high > low else 0
    return "".join(SPARKS[round((value - low) * scale)] for value in shown)


def duration(seconds: float) -> str:
    """``75.3`` as ``1m15s``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{seconds:.1f}s"


@contextmanager
def stages() -> Iterator[Stage]:
    """A bar for each stage of long work, on the error output; told ``(stage, done, total)``."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=Console(stderr=True)) as bars:
        known: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int) -> None:
            if stage not in known:
                known[stage] = bars.add_task(stage, total=total)
            bars.update(known[stage], completed=done)

        yield tell


@dataclass
class Running:
    """What is shown of a trial under way."""

    number: int
    config: str
    steps: int
    began: float
    step: int = 0
    curve: list[float] = field(default_factory=list)


class LiveProgress:
    """An observer that draws the search: budget, running trials, the best so far.

    On a terminal it redraws in place; elsewhere it prints a line per finished trial.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.live: Live | None = None
        self.running: dict[int, Running] = {}
        self.ended: list[TrialEnd] = []
        self.history: list[float] = []
        self.best: TrialEnd | None = None
        self.began = time.monotonic()
        self.spec: StudySpec | None = None
        self.before = 0
        self.counts: dict[str, int] = {}

    def study_started(self, study: int, spec: StudySpec, past: list[PastTrial]) -> None:
        """Head line, then the live view."""
        self.spec, self.began = spec, time.monotonic()
        for trial in past:
            self.counts[trial.state] = self.counts.get(trial.state, 0) + 1
        self.counts.pop("interrupted", None)
        self.counts.pop("running", None)
        resumed = f", {sum(self.counts.values())} trials on record" if past else ""
        self.console.print(f"[bold]Study {study}[/]: {spec.name}{resumed}", highlight=False)
        if self.console.is_terminal:
            self.live = Live(console=self.console, get_renderable=self.draw, refresh_per_second=4)
            self.live.start()

    def trial_started(self, trial: TrialStart) -> None:
        """A new row."""
        changed = self.changed(trial)
        self.running[trial.number] = Running(
            trial.number, changed, self.steps(trial), time.monotonic()
        )

    def changed(self, trial: TrialStart) -> str:
        """The searched settings of a trial, in short."""
        assert self.spec is not None
        words = [f"{name}={compact(value)}" for name, value in trial.params.items()]
        if len(self.spec.plugins) > 1:
            words.insert(0, trial.plugin)
        return " ".join(words) or trial.label

    def steps(self, trial: TrialStart) -> int:
        """How many steps the trial's fit takes."""
        assert self.spec is not None
        plugin = catalogue().plugin(self.spec.settings["plugins"][trial.plugin]["reference"])
        config = type(plugin.defaults).from_dict(trial.config)
        return max(1, plugin.steps(config))

    def trial_reported(self, number: int, report: Report) -> None:
        """The row's bar and curve move."""
        assert self.spec is not None
        row = self.running.get(number)
        if row is not None:
            row.step = report.step
            row.curve.append(report.scores[self.spec.metrics[0][0]])

    def trial_ended(self, trial: TrialEnd, best: int | None) -> None:
        """The row becomes part of the summary."""
        row = self.running.pop(trial.number, None)
        paused = trial.state == "interrupted" and trial.stopped == "rung"
        if not paused:
            self.counts[trial.state] = self.counts.get(trial.state, 0) + 1
        if trial.number == best:
            self.best = trial
        if trial.value is not None and trial.state == "complete":
            self.history.append(trial.value)
        self.ended.append(trial)
        if self.live is None or trial.state == "failed":
            self.console.print(self.line(trial, row, trial.number == best), highlight=False)

    def line(self, trial: TrialEnd, row: Running | None, best: bool) -> Text:
        """One finished trial in a line."""
        assert self.spec is not None
        text = Text(f"  trial {trial.number:<4d} ")
        paused = trial.state == "interrupted" and trial.stopped == "rung"
        state = "paused" if paused else trial.state
        text.append(f"{state:<11s}", STATE_STYLES.get(trial.state, ""))
        told = ((name, trial.scores.get(name)) for name in self.spec.objectives)
        values = [f"{name} {compact(value)}" for name, value in told if value is not None]
        text.append(" " + ", ".join(values))
        text.append(f"  {duration(trial.seconds)}", "dim")
        if trial.stopped in TOO_MUCH:
            text.append(f"  {TOO_MUCH[trial.stopped]}", "yellow")
        if best:
            several = len(self.spec.objectives) > 1
            text.append("  on the front" if several else "  best so far", "bold green")
        if trial.failure is not None:
            text.append(f"  {trial.failure.kind}: {trial.failure.message}", "red")
        if row is not None and row.config:
            text.append(f"  {row.config}", "dim")
        return text

    def notice(self, text: str) -> None:
        """A sentence above the live view."""
        self.console.print(Text(text, "yellow"))

    def study_ended(self, result: StudyResult) -> None:
        """Leave the last state of the view on the screen."""
        if self.live is not None:
            self.live.update(self.draw(), refresh=True)
            self.live.stop()
            self.live = None

    def close(self) -> None:
        """Give the terminal back, also after an error."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def draw(self) -> Any:
        """The whole view."""
        parts: list[Any] = [self.head()]
        if self.running:
            parts.append(self.rows())
        return Group(*parts)

    def head(self) -> Table:
        """Budget, counts, best."""
        assert self.spec is not None
        done = sum(self.counts.get(s, 0) for s in ("complete", "pruned", "failed"))
        elapsed = time.monotonic() - self.began
        grid = Table.grid(padding=(0, 2))
        if self.spec.trials:
            bar = ProgressBar(self.spec.trials, done, width=30)
            count = f"{done}/{self.spec.trials} trials"
        else:
            bar = ProgressBar(self.spec.timeout or 1, elapsed, width=30)
            count = f"{done} trials"
        of = f" of {duration(self.spec.timeout)}" if self.spec.timeout else ""
        states = ", ".join(f"{n} {s}" for s, n in self.counts.items() if s != "complete")
        best = ""
        if self.best is not None and self.best.value is not None:
            metric = self.spec.metrics[0][0]
            best = f"best {metric} {self.best.value:.4g} (trial {self.best.number})"
        grid.add_row(
            bar, f"{count}, {duration(elapsed)}{of}", Text(states, "dim"), Text(best, "green"),
            Text(sparkline(self.history), "green"),
        )  # fmt: skip
        return grid

    def rows(self) -> Table:
        """The running trials."""
        grid = Table.grid(padding=(0, 2))
        for row in list(self.running.values()):
            value = f"{row.curve[-1]:.4g}" if row.curve else "…"
            grid.add_row(
                Text(f"  trial {row.number}", "cyan"),
                ProgressBar(row.steps, row.step, width=20),
                duration(time.monotonic() - row.began),
                value,
                Text(sparkline(row.curve, 16), "cyan"),
                Text(row.config, "dim", overflow="ellipsis", no_wrap=True),
            )
        return grid


def compact(value: Any) -> str:
    """A setting's or metric's value, floats to four digits, large whole ones in full."""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if value.is_integer() and abs(value) >= 1000 else f"{value:.4g}"
