"""Every refusal is the same JSON object: ``{"error": {"kind", "message", "hint"}}``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from automl.core.errors import (
    AutoMLError,
    BudgetError,
    ConfigError,
    DatabaseError,
    DataError,
    QueryTimeout,
    StudyError,
    UnknownName,
)
from automl.ui.http.answers import JSON, TooLarge, encode

KINDS = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    414: "url_too_long",
    422: "invalid",
    429: "too_many_requests",
    500: "internal",
    503: "unavailable",
}
HINTS = {
    404: "GET / lists what can be asked",
    405: "GET / lists what can be asked",
    413: "ask for fewer rows or columns, or stream them as NDJSON",
    422: "GET /openapi.json describes every parameter",
}
STATUS: tuple[tuple[type[AutoMLError], int], ...] = (
    (UnknownName, 404),
    (ConfigError, 422),
    (DataError, 422),
    (BudgetError, 422),
    (StudyError, 409),
    (QueryTimeout, 503),
    (DatabaseError, 503),
)

UNFIT = (sqlalchemy.exc.DataError, OverflowError)  # a value given is none of its column's kind


class Error(BaseModel):
    """What is wrong."""

    kind: str = Field(description="A word for programs", examples=["not_found"])
    message: str = Field(description="A sentence for people")
    hint: str | None = Field(default=None, description="What to do")


class Problem(BaseModel):
    """The body of every answer that is an error."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "error": {
                    "kind": "not_found",
                    "message": "there is no study 99; `automl studies` lists them",
                    "hint": "GET / lists what can be asked",
                }
            }
        }
    )
    error: Error


def documented(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These errors, for the OpenAPI document."""
    return {status: {"model": Problem, "description": KINDS[status]} for status in statuses}


def problem(
    status: int,
    message: str,
    *,
    kind: str | None = None,
    hint: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An error as an answer."""
    error = {"kind": kind or KINDS.get(status, "error"), "message": message}
    if hint := hint or HINTS.get(status):
        error["hint"] = hint
    told = {"cache-control": "no-store", **(headers or {})}
    return Response(encode({"error": error}), status, headers=told, media_type=JSON)


def add_handlers(app: FastAPI, database: str) -> None:
    """Answer every exception with the object; ``database`` is how errors name the database."""

    async def refused(request: Request, error: Exception) -> Response:
        status = next((code for kind, code in STATUS if isinstance(error, kind)), 500)
        if isinstance(error.__cause__, UNFIT):
            status = 422
        # Where the database lies is nobody's business on the other side of the network.
        message = str(error).replace(f"database {database}", "the model database")
        kind = "timeout" if isinstance(error, QueryTimeout) else None
        return problem(status, message, kind=kind)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem(422, "; ".join(told(item) for item in error.errors()[:5]))

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = {
            404: f"there is nothing at {request.url.path}",
            405: f"{request.method} is not for {request.url.path}",
        }.get(error.status_code, str(error.detail))
        return problem(error.status_code, message, headers=error.headers)

    async def too_large(request: Request, error: Exception) -> Response:
        return problem(413, str(error))

    async def unforeseen(request: Request, error: Exception) -> Response:
        return problem(500, "the server failed; its log says why")

    app.add_exception_handler(AutoMLError, refused)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(TooLarge, too_large)
    app.add_exception_handler(Exception, unforeseen)


def told(item: Mapping[str, Any]) -> str:
    """One complaint of pydantic: where, what and what was given."""
    place = ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0])
    if item["type"] == "extra_forbidden":
        return f"there is no parameter {place!r}"
    given = item.get("input")
    shown = f" (given {given!r:.100})" if isinstance(given, str | int | float) else ""
    return f"{place}: {item['msg'][:1].lower()}{item['msg'][1:]}{shown}"
