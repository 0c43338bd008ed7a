"""Warm starts: the model database's suggestions become a search's first configurations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from automl.core.errors import ConfigError
from automl.dataset_db.transfer import AUTO, Newcomer, first_trials

if TYPE_CHECKING:
    from automl.core.entrants import Job

WARM_TRIALS = 4


@dataclass(frozen=True)
class WarmStart:
    """Where first configurations come from (see ``first_trials``), and how many a plugin gets."""

    source: str = AUTO
    trials: int = WARM_TRIALS


def asked(source: str | int | bool | None, trials: int | None) -> WarmStart | None:
    """What a user asks for; ``None`` for a cold start.

    Raises:
        ConfigError: if a number is given without a source, or is less than 1.
    """
    if source is None or source is False:
        if trials is not None:
            raise ConfigError(f"warm_trials={trials} needs a warm start: give --warm-start auto")
        return None
    if trials is not None and trials < 1:
        raise ConfigError(f"warm_trials={trials} must be at least 1")
    return WarmStart(AUTO if source is True else str(source), trials or WARM_TRIALS)


def warmed(job: Job, warm: WarmStart, db: str | None, notice: Callable[[str], None]) -> Job:
    """The job with what similar searches found as its first configurations, told in a sentence.

    Raises:
        UnknownName: if there is no such study or dataset.
        ConfigError: if it is of another problem, or has no complete trial of any of the plugins.
    """
    from automl.core.entrants import enter
    from automl.core.observer import Silent

    dataset, entrants = enter(job, Silent())
    first: list[dict[str, Any]] = []
    for each in entrants:
        newcomer = Newcomer(
            each.plugin.name,
            dataset.name,
            dataset.info.to_dict(),
            dataset.problem.objective.name,
            each.base.to_dict(),
            tuple(PurePosixPath(name).stem for name in each.base.texts()),
        )
        found = first_trials(newcomer, warm.source, warm.trials, db)
        first += [{"plugin": each.plugin.name, **one} for one in found]
    names = " and ".join(each.plugin.name for each in entrants)
    if not first and warm.source != AUTO:
        what = f"study {warm.source}" if warm.source.isdecimal() else f"dataset {warm.source!r}"
        raise ConfigError(
            f"{what} has no complete trial of {names} that did better than the paper's setting: "
            "give --warm-start auto, or leave it out"
        )
    notice(told(first) or f"cold start: no similar search of {names} is on record")
    return replace(job, first=tuple(first))


def told(first: list[dict[str, Any]]) -> str:
    """What was taken from where, in a sentence; empty if nothing was."""
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in first:
        places.setdefault((one["plugin"], one["origin"]["dataset"]), []).append(one["origin"])
    parts = [
        f"{len(origins)} of {plugin} on {dataset!r} (similarity {origins[0]['similarity']:.2f}, "
        f"trials {', '.join(origin['trial'] for origin in origins)})"
        for (plugin, dataset), origins in places.items()
    ]
    return f"warm start with the best configurations found: {'; '.join(parts)}" if parts else ""
