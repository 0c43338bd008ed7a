"""Models over all studies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from automl.dataset_db.pages import model_page
from automl.dataset_db.records import record_page
from automl.ui.http.answers import NDJSON, encode
from automl.ui.http.asking import AtDesk, Desk
from automl.ui.http.parameters import (
    ModelPageAsked,
    ModelStreamAsked,
    RecordPageAsked,
    RecordStreamAsked,
)
from automl.ui.http.records import ModelPage, Page

router = APIRouter(prefix="/v1", tags=["Models"])
MODELS_AT_ONCE, RECORDS_AT_ONCE = 1000, 10_000  # rows that a stream reads in one question


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
    request: Request, desk: AtDesk, asked: Annotated[RecordPageAsked, Query()]
) -> Response:
    """The objective at each step of each trial, with the trial's facts, a page at a time."""
    page: dict[str, Any] = {"limit": asked.limit, "after": asked.after}
    return await desk.large(request, lambda: record_page(desk.reader, **asked.asked(), **page))


@router.get("/models.ndjson", responses={200: {"content": {NDJSON: {}}}}, response_class=Response)
async def models_stream(desk: AtDesk, asked: Annotated[ModelStreamAsked, Query()]) -> Response:
    """All models that meet the filters, a JSON object on each line, as long as it takes.

    With `code`, a network's files are in the first of its lines only; the others tell its
    `code_hash`. Lines are read in stretches: what is recorded meanwhile may be among them.
    """
    ask = partial(model_page, desk.reader, **asked.asked())
    return await streamed(desk, "models.ndjson", Lines(ask, asked.limit, MODELS_AT_ONCE))


@router.get("/records.ndjson", responses={200: {"content": {NDJSON: {}}}}, response_class=Response)
async def records_stream(desk: AtDesk, asked: Annotated[RecordStreamAsked, Query()]) -> Response:
    """The objective at each step of all trials that meet the filters, on a line each.

    With `code`, a network's files are in the first of its lines only. Lines are read in stretches:
    what is recorded meanwhile may be among them.
    """
    ask = partial(record_page, desk.reader, **asked.asked())
    return await streamed(desk, "records.ndjson", Lines(ask, asked.limit, RECORDS_AT_ONCE))


async def streamed(desk: Desk, name: str, lines: Lines) -> Response:
    """The answer that sends all lines."""
    first = await desk.in_thread(lines.stretch)  # an error is an answer only before the first line

    async def chunks() -> AsyncIterator[bytes]:
        yield first
        while lines.more:
            yield await desk.in_thread(lines.stretch)

    return desk.stream(name, chunks())


class Lines:
    """Rows as lines of JSON, a stretch at a time; ``more`` tells whether another one comes.

    ``ask`` returns a page for ``limit`` and ``after``; ``left`` is how many rows to send at most.
    """

    def __init__(self, ask: Callable[..., dict[str, Any]], left: int | None, at_once: int) -> None:
        self.ask, self.left, self.at_once = ask, left, at_once
        self.after: str | None = None
        self.sent: set[str] = set()
        self.more = True

    def stretch(self) -> bytes:
        """The next lines, each with its network's code if that was not sent before."""
        limit = self.at_once if self.left is None else min(self.left, self.at_once)
        page = self.ask(limit=limit, after=self.after)
        for row in page["rows"]:
            key = row.get("code_hash")
            if "code" in page and key not in self.sent:
                self.sent.add(key)
                row["code"] = page["code"][key]
        self.after = page["next"]
        if self.left is not None:
            self.left -= len(page["rows"])
        self.more = self.after is not None and self.left != 0
        return b"".join(encode(row) + b"\n" for row in page["rows"])
