"""``automl replay``: run a recorded trial again and compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from automl.core.errors import StudyError
from automl.ui.options import Database, Json

if TYPE_CHECKING:
    from automl.core.replay import Difference, Recorded, Replay

SHOWN = 8  # changed packages on a terminal


def replay(
    trial: str,
    *,
    plugin: str | None = None,
    tolerance: float | None = None,
    db: str | None = None,
    told: Callable[[int, int], None] = lambda step, last: None,
) -> Replay:
    """Run a trial (``STUDY/NUMBER`` or ``best``) again from its record and compare the two.

    Nothing is written in the model database or the artifact folder. ``tolerance`` is relative: by
    default nothing may differ where nothing has changed, and 1e-3 elsewhere.

    Raises:
        UnknownName: if there is no such trial.
        StudyError: if it cannot be run again: imported, never reported, its plugin or data gone.
        ConfigError: if the tolerance is not a number from 0 on.
    """
    found = recorded(trial, plugin, db)
    from automl.core.replay import replay as run

    return run(found, tolerance=tolerance, told=told)


def recorded(reference: str, plugin: str | None, db: str | None) -> Recorded:
    """A trial's record as a replay needs it.

    Raises:
        UnknownName: if there is no such trial.
        StudyError: if it was imported.
    """
    from automl.dataset_db import query
    from automl.ui.actions import resolve

    row = query.trial(resolve(reference, plugin, db), db)
    if row["source"]:
        raise StudyError(
            f"trial {row['reference']} cannot be replayed: it was imported from {row['source']}, "
            "which publishes neither its seed nor its environment"
        )
    from automl.core.record import TrialStart
    from automl.core.replay import Recorded

    curve: dict[int, dict[str, float]] = {}
    for metric, series in row["curves"].get("valid", {}).items():
        for step, value in series:
            curve.setdefault(step, {})[metric] = value
    names = ("number", "plugin", "seed", "params", "config", "techniques", "label")
    failure = row["failure"]
    return Recorded(
        reference=row["reference"],
        spec=query.spec(row["study"], db),
        start=TrialStart(**{name: row[name] for name in names}),
        state=row["state"],
        stopped=row["stopped"],
        step=row["step"],
        value=row["objective"],
        curve=curve,
        failure=f"{failure['kind']}: {failure['message']}" if failure else "",
    )


def replay_command(
    trial: Annotated[str, typer.Argument(help="STUDY/NUMBER such as 3/0, or best.")],
    plugin: Annotated[
        Optional[str],  # noqa: UP045  Typer reads the annotation at run time
        typer.Option("--plugin", "-p", help="With best: the plugin's best trial."),
    ] = None,
    tolerance: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Relative. Default: 0 where nothing has changed since, 0.001 elsewhere."),
    ] = None,
    db: Database = None,
    json: Json = False,
) -> None:
    """Run a recorded trial again and compare its curve and score with the record.

    Names what has changed since: environment, data, the plugin's files. A trial that was stopped
    is run as far as it had come. Nothing is recorded. Exits with 1 if the two are different.

    [bold]Examples[/]

    automl replay best

    automl replay 3/0 --tolerance 0.01 --json
    """
    from automl.ui import render
    from automl.ui.progress import stages

    with stages() as progress:
        found = replay(
            trial,
            plugin=plugin,
            tolerance=tolerance,
            db=db,
            told=lambda step, last: progress("Steps", step, last),
        )
    if json:
        render.dump(found.to_dict())
    else:
        for line in sentences(found):
            typer.echo(line)
    if found.verdict == "different":
        raise typer.Exit(1)


def sentences(found: Replay) -> list[str]:
    """A replay's report, a line each."""
    why = "stopped by the clock" if found.state == "complete" else found.state
    ends = "" if found.stopped_at is None else f", as far as it had come ({why})"
    said = [
        f"Trial {found.trial} replayed in {found.seconds:.1f} s{ends}: {found.verdict}.",
        f"{found.metric}: {shown(found.recorded)} on record, {shown(found.replayed)} now; "
        f"{found.steps} reports compared, relative tolerance {found.tolerance:g}.",
    ]
    if found.failure:
        said.append(f"The replayed fit failed: {found.failure}")
    if found.first:
        said.append(f"First difference beyond the tolerance: {difference(found.first)}.")
    if found.largest:
        said.append(f"Largest difference: {difference(found.largest)}.")
    changes = found.changes
    for what, facts in (("environment", changes.environment), ("data", changes.data)):
        listed = [f"{name} {shown(then)} -> {shown(now)}" for name, (then, now) in facts.items()]
        more = f", … and {len(listed) - SHOWN} more (--json)" if len(listed) > SHOWN else ""
        said.append(f"Changed {what}: {', '.join(listed[:SHOWN]) or 'nothing'}{more}.")
    files = [f"{what} {', '.join(names)}" for what, names in changes.code.items()]
    said.append(f"Changed code: {'; '.join(files) or 'nothing'}.")
    return said


def difference(one: Difference) -> str:
    """A difference in words."""
    much = "" if one.relative is None else f" (relative {one.relative:.2g})"
    return (
        f"{one.metric} at step {one.step}: {shown(one.recorded)} on record, "
        f"{shown(one.replayed)} now{much}"
    )


def shown(value: Any) -> str:
    """A fact or a score, to the last bit; a dash for none."""
    return "–" if value is None else str(value)
