"""Who is best, on what, and on what evidence."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from automl.dataset_db import comparisons, query, ranking
from automl.ui.http.asking import AtDesk
from automl.ui.http.errors import documented
from automl.ui.http.parameters import (
    BestAsked,
    JoinedAsked,
    LeaderboardAsked,
    OfPlugin,
    ParetoAsked,
    SummaryAsked,
)
from automl.ui.http.records import Claim, Document, Leaderboard, Trial
from automl.ui.http.routes.studies import whole

router = APIRouter(prefix="/v1", tags=["Comparisons"], responses=documented(404))


@router.get("/best", response_model=Trial)
async def best(request: Request, desk: AtDesk, asked: Annotated[BestAsked, Query()]) -> Response:
    """The best complete trial of a plugin, a dataset or a study, with all that is on record."""

    def ask() -> Any:
        chosen = {"plugin": asked.plugin, "dataset": asked.dataset, "study": asked.study}
        return whole(desk, query.best(desk.reader, **chosen), asked.code)  # type: ignore[arg-type]

    return await desk.large(request, ask)


@router.get("/leaderboard", response_model=Leaderboard)
async def leaderboard(
    request: Request, desk: AtDesk, asked: Annotated[LeaderboardAsked, Query()]
) -> Response:
    """The best model of each plugin or network on a dataset, by default the latest searched."""

    def ask() -> Any:
        return ranking.leaderboard(
            asked.dataset, desk.reader, metric=asked.metric, limit=asked.limit
        )

    return await desk.large(request, ask)


@router.get("/claims", response_model=list[Claim])
async def claims(request: Request, desk: AtDesk, asked: Annotated[OfPlugin, Query()]) -> Response:
    """The latest verdict on each claim of a paper, with its evidence."""
    return await desk.large(request, lambda: query.claims(desk.reader, plugin=asked.plugin))


@router.get("/pareto", response_model=list[Document])
async def pareto(
    request: Request, desk: AtDesk, asked: Annotated[ParetoAsked, Query()]
) -> Response:
    """The models of a dataset that no other one beats in every objective."""

    def ask() -> Any:
        return comparisons.pareto(desk.reader, objectives=asked.objective, **asked.given())

    return await desk.large(request, ask)


@router.get("/summary", response_model=list[Document])
async def summary(
    request: Request, desk: AtDesk, asked: Annotated[SummaryAsked, Query()]
) -> Response:
    """Count, mean, range and quantiles of a measure by group, the largest group first."""

    def ask() -> Any:
        return comparisons.aggregate(
            desk.reader,
            by=asked.by,
            of=asked.of,
            quantiles=[*{f"{q:g}": q for q in asked.quantile}.values()],
            states=asked.state or ["complete"],
            limit=asked.limit,
            **asked.given(),
        )

    return await desk.large(request, ask)


@router.get("/joined", response_model=list[list[Document]])
async def joined(
    request: Request, desk: AtDesk, asked: Annotated[JoinedAsked, Query()]
) -> Response:
    """Models beside each other, alike in some columns and different in others, the best last."""

    def ask() -> Any:
        own = {"n", "same", "different", "better", "limit"}
        return comparisons.joined(desk.reader, **asked.model_dump(include=own), **asked.given())

    return await desk.large(request, ask)
