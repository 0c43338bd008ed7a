"""One process of uvicorn around the application."""

from __future__ import annotations

import contextlib
import socket

import uvicorn
from fastapi import FastAPI

from automl.core.errors import ConfigError
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


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on that address.

    Raises:
        ConfigError: if it is taken, not ours or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who is told the address may connect at once
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"nothing can listen on {host} port {port} ({error.strerror or error}): choose another "
            "--port, or --host"
        ) from error
    return listener
