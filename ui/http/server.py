"""One process of uvicorn around the application."""

from __future__ import annotations

import contextlib

import uvicorn
from fastapi import FastAPI

from automl.ui.http.address import listen
from automl.ui.http.app import create_app
from automl.ui.http.protocol import Protocol
from automl.ui.http.settings import Served

GRACE = 10  # seconds that requests in work get at the end


def run(served: Served, host: str, port: int) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: if nothing can listen there.
        DatabaseError, MissingExtra: if the database cannot be read.
    """
    app = create_app(served)
    listener = listen(host, port)
    about = f"[{host}]" if ":" in host else host
    kept = "with a token, writes too" if served.token else "read-only"
    print(f"Serving http://{about}:{listener.getsockname()[1]} ({kept}); Ctrl-C stops", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # the signal comes again when all is closed
        uvicorn_of(app).run(sockets=[listener])


def uvicorn_of(app: FastAPI) -> uvicorn.Server:
    """A server that tells clients nothing about itself and believes no proxy."""
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client could take another's name, and its share of the rate
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)
