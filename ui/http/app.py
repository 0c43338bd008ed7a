"""The application: what is served, behind which checks, and how it is described."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi

from automl.core.places import artifact_root
from automl.dataset_db.engine import shown
from automl.dataset_db.reader import open_reader
from automl.ui.http.asking import Desk
from automl.ui.http.errors import add_handlers, documented
from automl.ui.http.guard import Guard
from automl.ui.http.parameters import refuse_repeats
from automl.ui.http.routes import ROUTERS
from automl.ui.http.settings import Served

DESCRIPTION = """Every neural network that was searched, checked or imported: its paper, code,
configuration, curves, scores, files and measurements.

Read-only, but for what is tagged *Writes*: that takes the server's bearer token. Lists come in
pages: give the `next` of an answer as `after` of the next request. Numbers that are not finite
are null, times are UTC. Errors are `{"error": {"kind", "message", "hint"}}`."""
TAGS = [
    {"name": "Models", "description": "Trained networks over all studies: filters, order, pages."},
    {"name": "Networks", "description": "Architectures: code, likeness, devices, origin."},
    {"name": "Studies", "description": "Searches, claims and imports, with their trials."},
    {"name": "Comparisons", "description": "Who is best, on what, and on what evidence."},
    {"name": "Files", "description": "Weights and other files, by number."},
    {"name": "Server", "description": "What is served."},
    {"name": "Writes", "description": "Corrections; with a token only."},
]


def create_app(served: Served) -> FastAPI:
    """The ASGI application; its database stays open until it shuts down.

    Raises:
        DatabaseError, MissingExtra: if the database cannot be read.
    """
    reader = open_reader(served.db, seconds=served.limits.seconds)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        reader.dispose()

    app = FastAPI(
        title="automl: the data set of models",
        version=version("automl-papers"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=life,
        docs_url=None,  # its page would load scripts from another site
        redoc_url=None,
        redirect_slashes=False,
        responses=documented(400, 414, 422, 429, 500, 503),
        generate_unique_id_function=operation_name,
        dependencies=[Depends(refuse_repeats)],
    )
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    app.state.desk = Desk(reader, served.db, served.artifacts or artifact_root(), served.limits)
    app.state.served = served
    add_handlers(app, shown(reader.url))
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Guard, limits=served.limits, names=served.names)
    return app


def operation_name(route: Any) -> str:
    """The name of a question in the OpenAPI document: that of its function."""
    return str(route.name)


def described(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document, made once; no query parameter is null, as none can be in a URL."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        for methods in document["paths"].values():
            for about in methods.values():
                for parameter in about.get("parameters", ()):
                    parameter["schema"] = without_null(parameter["schema"])
        app.openapi_schema = document
    return app.openapi_schema


def without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema whose value is there, if the parameter is."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    if len(kinds) != 1:
        return schema
    return {**{key: schema[key] for key in schema if key != "anyOf"}, **kinds[0]}
