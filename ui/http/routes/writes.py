"""The corrections that a holder of the token may make."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from automl.dataset_db import edits, query
from automl.ui.http.asking import AtDesk
from automl.ui.http.errors import documented
from automl.ui.http.parameters import Number
from automl.ui.http.records import Study, Trial
from automl.ui.http.routes.studies import whole
from automl.ui.http.security import writer

router = APIRouter(
    prefix="/v1",
    tags=["Writes"],
    dependencies=[Depends(writer)],
    responses=documented(401, 403, 404, 409, 413),
)


class Rename(BaseModel):
    """A study's new name."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(min_length=1, max_length=edits.LONGEST, examples=["tours of ten cities"])


class Label(BaseModel):
    """A trial's new label; an empty one removes it."""

    model_config = ConfigDict(extra="forbid", strict=True)
    label: str = Field(max_length=edits.LONGEST, examples=["shipped in May"])


@router.patch("/studies/{study}", response_model=Study)
async def rename_study(request: Request, desk: AtDesk, study: Number, change: Rename) -> Response:
    """Give a study another name."""

    def ask() -> Any:
        edits.rename_study(study, change.name, desk.db)
        return query.study(study, desk.reader)

    return await desk.large(request, ask)


@router.patch("/trials/{trial}", response_model=Trial)
async def label_trial(request: Request, desk: AtDesk, trial: Number, change: Label) -> Response:
    """Give a trial a label that lists and filters show; not one of a claim's."""

    def ask() -> Any:
        edits.label_trial(trial, change.label, desk.db)
        return whole(desk, trial, code=False)

    return await desk.large(request, ask)
