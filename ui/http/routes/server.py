"""What is served."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from automl.dataset_db import query
from automl.ui.http.asking import AtDesk
from automl.ui.http.records import Health, Holdings

router = APIRouter(tags=["Server"])


@router.get("/", response_model=dict[str, str])
async def index(request: Request, desk: AtDesk) -> Response:
    """What can be asked: each address with its question; /openapi.json tells the parameters."""
    paths: dict[str, Any] = request.app.openapi()["paths"]
    told = {
        f"{method.upper()} {path}": about["description"].partition("\n")[0]
        for path, methods in paths.items()
        for method, about in methods.items()
    }
    return await desk.small(request, lambda: told)


@router.get("/health", response_model=Health)
async def health(request: Request, desk: AtDesk) -> Response:
    """Whether the server answers and may be written to; it does not ask the database."""
    read_only = request.app.state.served.token is None
    told = {"status": "ok", "version": request.app.version, "read_only": read_only}
    return await desk.small(request, lambda: told)


@router.get("/v1/info", response_model=Holdings)
async def info(request: Request, desk: AtDesk) -> Response:
    """What the database holds."""

    def ask() -> Any:
        found = query.info(desk.reader)
        return {key: found[key] for key in found if key not in ("url", "artifacts")}

    return await desk.large(request, ask)
