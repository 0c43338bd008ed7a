"""Studies and their trials."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from automl.dataset_db import query
from automl.dataset_db.fronts import pareto_front
from automl.ui.http.asking import AtDesk, Desk
from automl.ui.http.errors import documented
from automl.ui.http.parameters import CurvesAsked, Number, StudiesAsked, TrialsAsked, WithCode
from automl.ui.http.records import (
    Curves,
    Export,
    Front,
    Study,
    StudyRow,
    Trial,
    TrialRow,
    without_places,
)

router = APIRouter(prefix="/v1", tags=["Studies"], responses=documented(404))


@router.get("/studies", response_model=list[StudyRow])
async def studies(
    request: Request, desk: AtDesk, asked: Annotated[StudiesAsked, Query()]
) -> Response:
    """Studies, the latest first; `before` takes the last number of the page before."""
    return await desk.small(request, lambda: query.studies(desk.reader, **asked.model_dump()))


@router.get("/studies/{study}", response_model=Study)
async def study(request: Request, desk: AtDesk, study: Number) -> Response:
    """One study with its settings, space, plugins and environment."""
    return await desk.small(request, lambda: query.study(study, desk.reader))


@router.get("/studies/{study}/trials", response_model=list[TrialRow])
async def trials(
    request: Request, desk: AtDesk, study: Number, asked: Annotated[TrialsAsked, Query()]
) -> Response:
    """A study's trials, the best first or by number."""

    def ask() -> Any:
        return query.trials(
            study, desk.reader, states=asked.state, order=asked.order, limit=asked.limit
        )

    return await desk.small(request, ask)


@router.get("/studies/{study}/curves", response_model=Curves)
async def curves(
    request: Request, desk: AtDesk, study: Number, asked: Annotated[CurvesAsked, Query()]
) -> Response:
    """What the trials of a study reported: number -> [[step, value], ...]."""

    def ask() -> Any:
        return query.curves(study, desk.reader, metric=asked.metric, split=asked.split)

    return await desk.large(request, ask)


@router.get("/studies/{study}/front", response_model=Front)
async def front(request: Request, desk: AtDesk, study: Number) -> Response:
    """The values of a study's objectives, its Pareto front and the recommended trial, the knee."""
    return await desk.large(request, lambda: pareto_front(study, desk.reader))


@router.get("/studies/{study}/trials/{number}", response_model=Trial)
async def trial(
    request: Request,
    desk: AtDesk,
    study: Number,
    number: Number,
    asked: Annotated[WithCode, Query()],
) -> Response:
    """Everything on record about one trial."""
    return await desk.small(request, lambda: whole(desk, f"{study}/{number}", asked.code))


@router.get("/trials/{trial}", response_model=Trial)
async def trial_by_id(
    request: Request, desk: AtDesk, trial: Number, asked: Annotated[WithCode, Query()]
) -> Response:
    """Everything on record about one trial, by the id that lists of models tell."""
    return await desk.small(request, lambda: whole(desk, trial, asked.code))


@router.get("/trials/{trial}/exports", response_model=list[Export])
async def exports(request: Request, desk: AtDesk, trial: Number) -> Response:
    """What was exported of a trial, with verification and latency."""

    def ask() -> Any:
        return [without_places(export) for export in query.exports(trial, desk.reader)]

    return await desk.small(request, ask)


def whole(desk: Desk, reference: str | int, code: bool) -> dict[str, Any]:
    """A trial's record, its files by address."""
    row = query.trial(reference, desk.reader, code=code)
    row["artifacts"] = [without_places(artifact) for artifact in row["artifacts"]]
    row["exports"] = [without_places(export) for export in row["exports"]]
    for artifact in row["artifacts"]:
        artifact["url"] = f"/v1/artifacts/{artifact['id']}"
    return row
