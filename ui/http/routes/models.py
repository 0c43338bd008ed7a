"""Models over all studies."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy import Engine
from starlette.responses import Response

from automl.dataset_db.pages import model_page
from automl.dataset_db.records import record_page
from automl.ui.http.answers import NDJSON
from automl.ui.http.asking import AtDesk
from automl.ui.http.parameters import ModelPageAsked, ModelStreamAsked, RecordsAsked
from automl.ui.http.records import ModelPage, Page

router = APIRouter(prefix="/v1", tags=["Models"])
STRETCH = 1000  # models that a stream reads at once


@router.get("/models", response_model=ModelPage)
async def models(
    request: Request, desk: AtDesk, asked: Annotated[ModelPageAsked, Query()]
) -> Response:
    """Models that meet all filters, the best first, a page at a time.

    `next` marks the page after; null is the last one. `code` holds the source files of each
    network once, by `code_hash`.
    """
    page: dict[str, Any] = {"limit": asked.limit, "after": asked.after}
    return await desk.large(request, lambda: model_page(desk.reader, **asked.asked(), **page))


@router.get("/records", response_model=Page)
async def records(
    request: Request, desk: AtDesk, asked: Annotated[RecordsAsked, Query()]
) -> Response:
    """The objective at each step of each trial, with the trial's facts, a page at a time."""
    return await desk.large(request, lambda: record_page(desk.reader, **asked.asked()))


@router.get("/models.ndjson", responses={200: {"content": {NDJSON: {}}}}, response_class=Response)
async def models_stream(desk: AtDesk, asked: Annotated[ModelStreamAsked, Query()]) -> Response:
    """All models that meet the filters, a JSON object on each line, as long as it takes.

    With `code`, a network's files are in the first of its lines only; the others tell its
    `code_hash`. Lines are read in stretches: what is recorded meanwhile may be among them.
    """
    arguments = asked.asked()
    first = await desk.in_thread(lambda: stretch(desk.reader, arguments, asked.limit, None))
    return desk.stream("models.ndjson", rows_of(desk.reader, arguments, asked.limit, first))


def stretch(
    reader: Engine, arguments: dict[str, Any], left: int | None, after: str | None
) -> dict[str, Any]:
    """The next rows of a stream that has ``left`` to go."""
    limit = STRETCH if left is None else min(left, STRETCH)
    return model_page(reader, **arguments, limit=limit, after=after)


def rows_of(
    reader: Engine, arguments: dict[str, Any], left: int | None, page: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of all pages from this one on, each with its code if it is new."""
    sent: set[str] = set()
    while True:
        codes = page.get("code", {})
        for row in page["rows"]:
            key = row.get("code_hash")
            if codes and key not in sent:
                sent.add(key)
                row["code"] = codes[key]
            yield row
        if left is not None:
            left -= len(page["rows"])
        if page["next"] is None or left == 0:
            return
        page = stretch(reader, arguments, left, page["next"])
