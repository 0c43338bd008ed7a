"""From a request to an answer: where the question runs, and how what it gives is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Depends, Request
from sqlalchemy import Engine
from starlette.responses import Response, StreamingResponse

from automl.dataset_db.engine import is_sqlite
from automl.ui.http.answers import CHECK_AGAIN, NDJSON, packed
from automl.ui.http.settings import Limits

T = TypeVar("T")


class Desk:
    """What every route shares: the open database, the artifact folder, the limits.

    A question that reads a few rows by key is answered at once: on SQLite it takes about a
    millisecond, and handing it to a thread would cost a good part of that again. Whatever may
    take longer, and everything that waits for a PostgreSQL server, goes to one of few threads.
    """

    def __init__(self, reader: Engine, db: str | None, artifacts: Path, limits: Limits) -> None:
        self.reader, self.db = reader, db  # the same one, open to read and to open for a write
        self.artifacts, self.limits = artifacts, limits
        self.at_once = is_sqlite(reader)
        self.threads: CapacityLimiter | None = None

    async def in_thread(self, call: Callable[[], T]) -> T:
        """The result of a call in one of ``limits.threads`` threads."""
        if self.threads is None:  # a limiter belongs to the event loop that it is made in
            self.threads = CapacityLimiter(self.limits.threads)
        return await to_thread.run_sync(call, limiter=self.threads)

    async def small(
        self, request: Request, question: Callable[[], Any], cache: str = CHECK_AGAIN
    ) -> Response:
        """The answer to a question that reads a few rows."""
        if self.at_once:
            return self.answer(request, question, cache)
        return await self.large(request, question, cache)

    async def large(
        self, request: Request, question: Callable[[], Any], cache: str = CHECK_AGAIN
    ) -> Response:
        """The answer to a question that may read many."""
        return await self.in_thread(lambda: self.answer(request, question, cache))

    def answer(self, request: Request, question: Callable[[], Any], cache: str) -> Response:
        """Ask and pack."""
        most = self.limits.answer_bytes
        return packed(question(), request.headers, most=most, cache=cache)

    def stream(self, name: str, chunks: AsyncIterator[bytes]) -> Response:
        """Newline-delimited JSON, sent as it comes."""
        told = {
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
        }
        return StreamingResponse(chunks, headers=told, media_type=NDJSON)


async def the_desk(request: Request) -> Desk:  # a plain function would be called in a thread
    """The desk of the application that a request came to."""
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(the_desk)]
