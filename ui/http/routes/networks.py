"""Networks: their code and what was published of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from automl.dataset_db import comparisons, origins
from automl.ui.http.asking import AtDesk
from automl.ui.http.errors import documented
from automl.ui.http.parameters import (
    DeviceRunsAsked,
    FlagsAsked,
    NetworksAsked,
    Parameters,
    SimilarAsked,
    TextAsked,
)
from automl.ui.http.records import DeviceRun, Flag, Network, Similar, Source

router = APIRouter(prefix="/v1", tags=["Networks"])


@router.get("/networks", response_model=list[Network])
async def networks(
    request: Request, desk: AtDesk, asked: Annotated[NetworksAsked, Query()]
) -> Response:
    """Networks and plugins with their published statistics and, if asked for, their code."""
    return await desk.large(request, lambda: origins.networks(desk.reader, **asked.asked()))


@router.get("/networks/similar", response_model=list[Similar], responses=documented(404))
async def similar(
    request: Request, desk: AtDesk, asked: Annotated[SimilarAsked, Query()]
) -> Response:
    """The networks whose code is like that of one on record, the most alike first."""

    def ask() -> Any:
        return comparisons.similar(
            desk.reader, anchor=asked.anchor, band=asked.range, limit=asked.limit
        )

    return await desk.large(request, ask)


@router.post("/networks/similar", response_model=list[Similar], responses=documented(413))
async def similar_to_text(request: Request, desk: AtDesk, asked: TextAsked) -> Response:
    """The networks whose code is like a text, the most alike first; nothing is recorded."""

    def ask() -> Any:
        return comparisons.similar(
            desk.reader, text=asked.text, band=asked.range, limit=asked.limit
        )

    return await desk.large(request, ask)


@router.get("/device-runs", response_model=list[DeviceRun])
async def device_runs(
    request: Request, desk: AtDesk, asked: Annotated[DeviceRunsAsked, Query()]
) -> Response:
    """Published runs of networks on devices."""
    return await desk.large(request, lambda: origins.device_runs(desk.reader, **asked.model_dump()))


@router.get("/sources", response_model=list[Source])
async def sources(
    request: Request, desk: AtDesk, asked: Annotated[Parameters, Query()]
) -> Response:
    """The imported data sets with licence, origin and reconciled counts."""
    return await desk.small(request, lambda: origins.sources(desk.reader))


@router.get("/flags", response_model=list[Flag])
async def flags(request: Request, desk: AtDesk, asked: Annotated[FlagsAsked, Query()]) -> Response:
    """What was odd about imported records; each was kept."""
    return await desk.large(request, lambda: origins.flags(desk.reader, **asked.model_dump()))
