"""Files that belong to models."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import FileResponse, Response

from automl.dataset_db.files import artifact as find
from automl.ui.http.asking import AtDesk
from automl.ui.http.errors import documented
from automl.ui.http.parameters import Number

router = APIRouter(prefix="/v1", tags=["Files"], responses=documented(404))
BYTES = "application/octet-stream"


@router.get(
    "/artifacts/{artifact}",
    response_class=Response,
    responses={200: {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def artifact(desk: AtDesk, artifact: Number) -> Response:
    """A file of a trial, by the number that its record tells; the ETag is its SHA-256."""
    row, file = await desk.in_thread(lambda: find(artifact, desk.reader, root=desk.artifacts))
    told = {"etag": f'"{row["sha256"]}"', "cache-control": "no-cache"}
    return FileResponse(file, headers=told, media_type=BYTES, filename=file.name)
