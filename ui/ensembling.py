"""``automl ensemble``: the best models of a study as one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from automl.core.errors import CheckpointError, ConfigError, StudyError
from automl.ui.options import Database, Json

if TYPE_CHECKING:
    from automl.core.ensemble.assemble import Candidate
    from automl.core.observer import Observer
    from automl.core.study import StudyResult

SIZE, CANDIDATES = 10, 50


def ensemble(
    study: int,
    *,
    size: int = SIZE,
    candidates: int = CANDIDATES,
    db: str | None = None,
    observer: Observer | None = None,
    told: Callable[[int, int], None] = lambda done, total: None,
) -> StudyResult:
    """Average the models of a study that are best together, and record that as a model.

    Greedy selection with replacement on the validation split (Caruana et al. 2004) among the best
    ``candidates`` complete trials, ``size`` additions at most. The ensemble is the one trial of a
    new study; show, export, benchmark and replay take it like any other.

    Raises:
        UnknownName: if there is no such study.
        StudyError: if its models' answers cannot be averaged, or there are fewer than two.
        ConfigError: if size or candidates make no sense.
    """
    from automl.dataset_db import query

    for name, value in (("size", size), ("candidates", candidates)):
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1")
    spec = query.spec(study, db)
    if spec.kind != "search" or "ensemble_of" in spec.settings:
        what = "an ensemble" if "ensemble_of" in spec.settings else f"of kind {spec.kind!r}"
        raise StudyError(f"study {study} is {what}: an ensemble is made of a search's models")
    found = query.trials(study, db, states=["complete"], limit=candidates)
    from automl.core.ensemble.assemble import assemble
    from automl.ui.actions import opened

    given = []
    for row in found:
        reference = f"{study}/{row['number']}"
        try:
            given.append(candidate(reference, db))
        except CheckpointError as error:  # its files were deleted: the others can do without it
            if observer is not None:
                observer.notice(f"trial {reference} is left out: {error}")
    with opened(db, observer) as store:
        return assemble(spec, given, store, study=study, size=size, observer=observer, told=told)


def after(
    result: StudyResult, size: int, *, db: str | None, observer: Observer
) -> StudyResult | None:
    """The ensemble that a search was asked for; a notice instead where there can be none."""
    if not size or result.state not in ("complete", "exhausted"):
        return None
    try:
        return ensemble(result.study, size=size, db=db, observer=observer)
    except StudyError as error:
        observer.notice(str(error))
        return None


def candidate(reference: str, db: str | None) -> Candidate:
    """A complete trial as an ensemble may take it in."""
    from automl.core.ensemble.assemble import Candidate
    from automl.core.places import artifact_root
    from automl.dataset_db import query
    from automl.ui.actions import task_of

    row = query.trial(reference, db)
    task = task_of(row)
    (weights,) = (artifact for artifact in row["artifacts"] if artifact["kind"] == "weights")
    path = Path(weights["file"]).resolve().relative_to(artifact_root())
    return Candidate(reference, row["plugin"], task, path.as_posix(), weights["sha256"])


def ensemble_command(
    study: Annotated[int, typer.Argument(help="A search's number (`automl studies`).")],
    size: Annotated[int, typer.Option(help="Additions at most; a model may count twice.")] = SIZE,
    candidates: Annotated[
        int, typer.Option(help="How many of the best trials are considered.")
    ] = CANDIDATES,
    db: Database = None,
    json: Json = False,
) -> None:
    """Average the models of a study that are best together: greedy selection on validation data.

    The ensemble is a model like any other, in a study of its own: show it, export it as one ONNX
    file, benchmark it, replay it.

    [bold]Examples[/]

    automl ensemble 3

    automl ensemble 3 --size 25 --json
    """
    from automl.ui import render

    result = ensemble(study, size=size, candidates=candidates, db=db, observer=render.observer())
    render.result(result, db, json)
