"""``automl check``: whether code that nobody vouches for is a model that learns, stage by stage.

Nothing of the file runs in this process. The stages are policy, format, import, shapes, training
and score, and novelty if asked for; the first that fails ends the check, and whatever cannot be
found out counts as failed.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from automl.core.errors import ConfigError, DataError, PolicyError, SandboxError, TrialError

PLUGIN = "lemur"  # the plugin that reads model files
STAGE_OF = {"start": "import", "construct": "shapes", "forward": "shapes", "train": "training"}
SIGMAS = 3.0  # above chance, of the binomial's standard deviation, to count as having learnt
STYLES = {"passed": "green", "failed": "bold red", "not reached": "dim"}


@dataclass(frozen=True)
class Candidate:
    """What to check, against what, and what it may use."""

    file: Path
    task: str
    dataset: str
    epochs: int = 1
    settings: tuple[str, ...] = ()  # of the plugin, as NAME=VALUE: lr, batch, transform, ...
    seed: int = 0
    novel: bool = False
    db: str | None = None
    seconds: float = 120.0  # wall-clock of one stage or epoch
    cpu_seconds: float = 600.0  # in all
    memory_mb: int = 4096

    def config(self, defaults: Any, model: str = "") -> Any:
        """The plugin's settings for a model; raises ``ConfigError`` for a wrong one.

        Without a model those that only the model knows are left out.
        """
        mine = [text for text in self.settings if model or not text.startswith("prm.")]
        chosen = defaults.updated([f"model={model}", *mine])
        limits = {
            "epoch": self.epochs, "seconds": self.seconds, "cpu_seconds": self.cpu_seconds,
            "memory_mb": self.memory_mb,
        }  # fmt: skip
        return type(defaults).from_dict({**chosen.to_dict(), **limits})


@dataclass
class Stage:
    """How a stage went; ``ending`` is the sandbox's word for what went wrong."""

    stage: str
    state: str = "not reached"
    detail: str = ""
    ending: str = ""
    seconds: float = 0.0


def check(candidate: Candidate) -> dict[str, Any]:
    """The verdict on a file: a JSON-able object with every stage.

    Raises:
        ConfigError: for a file that cannot be read, or a dataset of another task.
        AutoMLError: if there is no such dataset, or no database where novelty is asked for.
    """
    names = ["policy", "format", "import", "shapes", "training", "score"]
    stages = {name: Stage(name) for name in [*names, *(["novelty"] if candidate.novel else [])]}
    plugin, dataset, code = prepared(candidate)
    same = same_code(code, candidate.db) if candidate.novel else []
    report: dict[str, Any] = {
        "file": str(candidate.file), "task": candidate.task, "dataset": dataset.name,
        "verdict": "passed", "stages": [], "score": None, "same_code": same,
    }  # fmt: skip
    began = time.monotonic()
    try:
        for name in through(candidate, plugin, dataset, code, report):
            stages[name].state = "passed"
            stages[name].seconds, began = time.monotonic() - began, time.monotonic()
    except Failed as failed:
        report["verdict"] = "failed"
        for stage in stages.values():
            if stage.stage == failed.stage:
                break
            stage.state = "passed"
        stages[failed.stage] = Stage(
            failed.stage, "failed", failed.detail, failed.ending, time.monotonic() - began
        )
    report["stages"] = [dataclasses.asdict(stage) for stage in stages.values()]
    return report


class Failed(Exception):  # control flow, not an error
    """A stage is not passed."""

    def __init__(self, stage: str, detail: str, ending: str = "") -> None:
        super().__init__(detail)
        self.stage, self.detail, self.ending = stage, detail, ending


def prepared(candidate: Candidate) -> tuple[Any, Any, str]:
    """The plugin, the dataset and the text; raises as ``check``."""
    from automl.core.discovery import catalogue

    plugin = catalogue().plugin(PLUGIN)
    dataset = catalogue().dataset(candidate.dataset)
    if dataset.problem.name != candidate.task:
        raise ConfigError(
            f"dataset {dataset.name!r} is of task {dataset.problem.name!r}, not {candidate.task!r}"
        )
    if candidate.task not in plugin.card.problems:
        raise ConfigError(
            f"task {candidate.task!r} cannot be checked: {', '.join(plugin.card.problems)} can"
        )
    plugin.check_data(dataset.info)
    try:
        code = candidate.file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(candidate.file)!r} cannot be read: {error}") from None
    candidate.config(plugin.defaults)  # what the user got wrong is no fault of the file
    return plugin, dataset, code


def through(
    candidate: Candidate, plugin: Any, dataset: Any, code: str, report: dict[str, Any]
) -> Iterator[str]:
    """Go through the stages, naming each that is passed.

    Raises:
        Failed: at the first that is not.
    """
    from automl.core.sandbox import policy

    file = str(candidate.file)
    guarded("policy", lambda: policy.check(policy.parse(code, file), file))
    yield "policy"
    path = str(candidate.file.resolve())
    config = guarded("format", lambda: candidate.config(plugin.defaults, path))
    yield "format"
    model, scores = guarded("shapes", lambda: built(plugin, config, dataset, candidate.seed))
    yield from ("import", "shapes")
    trained = guarded("training", lambda: fitted(plugin, model, config, dataset, candidate.seed))
    yield "training"
    report["score"] = scored(dataset, trained, untrained=scores)
    if not report["score"]["better_than_chance"]:
        told = "{metric} {value:.4g} is no better than chance: {needed:.4g} is wanted"
        raise Failed("score", told.format(**report["score"]))
    yield "score"
    if candidate.novel:
        if report["same_code"]:
            places = ", ".join(report["same_code"][:5])
            raise Failed("novelty", f"the database has the same code: {places}")
        yield "novelty"


def guarded(stage: str, call: Callable[[], Any]) -> Any:
    """What ``call`` returns.

    Raises:
        Failed: if it raises: with the sandbox's own word on the stage, where that is known.
    """
    try:
        return call()
    except SandboxError as error:
        ending = error.ending
        detail = "\n".join(part for part in (str(error), ending.log) if part)
        raise Failed(STAGE_OF.get(ending.stage, ending.stage), detail, ending.kind) from None
    except PolicyError as error:
        raise Failed("policy", str(error), "forbidden") from None
    except (ConfigError, DataError, TrialError) as error:
        raise Failed(stage, str(error), "error") from None


def built(plugin: Any, config: Any, dataset: Any, seed: int) -> tuple[Any, dict[str, float]]:
    """The model, after one answer of the right shape, and its scores before it is trained."""
    from automl.core.trial import seed_everything

    seed_everything(seed)
    model = plugin.build(config, dataset.info)
    return model, plugin.evaluate(model, config, dataset.split("valid"))


def fitted(plugin: Any, model: Any, config: Any, dataset: Any, seed: int) -> dict[str, float]:
    """The scores on the validation split after the last epoch."""
    from automl.core.run import Run

    run = Run(dataset, seed)
    plugin.fit(model, config, run)
    scores: dict[str, float] = run.history[-1].scores
    return scores


def scored(dataset: Any, trained: dict[str, float], untrained: dict[str, float]) -> dict[str, Any]:
    """The objective on the validation split against what the commonest class would give."""
    metric = dataset.problem.objective.name
    target = dataset.split("valid").examples["target"]
    shares = target.bincount(minlength=dataset.info.classes).double() / len(target)
    chance = 1 / dataset.info.classes if metric.startswith("balanced") else float(shares.max())
    needed = chance + SIGMAS * math.sqrt(chance * (1 - chance) / len(target))
    value = trained[metric]
    return {
        "metric": metric, "value": value, "untrained": untrained[metric], "chance": chance,
        "needed": needed, "better_than_chance": value > needed, "split": "valid",
        "examples": len(target), "scores": trained,
    }  # fmt: skip


def same_code(code: str, db: str | None) -> list[str]:
    """Where the database has code that differs in layout, comments and docstrings at most.

    Raises:
        DatabaseError: if there is no readable database.
    """
    from sqlalchemy import select

    from automl.dataset_db.engine import reading
    from automl.dataset_db.fingerprints import fingerprint
    from automl.dataset_db.schema import CODE

    mine = fingerprint([code])[0].normalised
    query = select(CODE.c.sha256).where(CODE.c.normalised == mine).limit(100)
    with reading(db) as connection:
        return [f"code {sha256[:12]}" for (sha256,) in connection.execute(query)]


def show(report: dict[str, Any]) -> None:
    """Print a verdict, a line for each stage."""
    console = Console()
    for stage in report["stages"]:
        mark = Text(f"{stage['state']:<12}", STYLES[stage["state"]])
        time_taken = f"{stage['seconds']:.1f} s" if stage["seconds"] else ""
        console.print(mark + Text(f"{stage['stage']:<9}", "bold") + Text(time_taken, "dim"))
        if stage["detail"]:
            console.print(Text(stage["detail"]), soft_wrap=True)
    score = report["score"]
    if score:
        console.print(
            f"{score['metric']} {score['value']:.4g} on the validation split; "
            f"untrained {score['untrained']:.4g}, chance {score['chance']:.4g}, "
            f"needed {score['needed']:.4g}"
        )
    style = "green" if report["verdict"] == "passed" else "bold red"
    console.print(Text(f"{report['file']}: {report['verdict']}", style))
