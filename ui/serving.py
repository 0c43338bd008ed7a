"""``automl serve``: the model database over HTTP."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Optional

import typer

from automl.core.errors import ConfigError, MissingExtra
from automl.ui.options import Database

NEEDED = ("fastapi", "uvicorn", "httptools", "uvloop", "orjson")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: any free one.", min=0, max=65535)] = 8000,
    token: Annotated[
        Optional[str],  # noqa: UP045  Typer reads the annotation at run time
        typer.Option(
            envvar="AUTOML_TOKEN",
            show_envvar=True,
            help="What a write must bring; without one the server is read-only.",
        ),
    ] = None,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen on an address others can reach.")
    ] = False,
    name: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="Host name that clients use beside addresses; repeatable."),
    ] = None,
    rate: Annotated[
        float, typer.Option(help="Requests per second of one client, on average.", min=0.1)
    ] = 1000,
    timeout: Annotated[
        float, typer.Option(help="Seconds that a question to the database may take.", min=0.01)
    ] = 20,
    db: Database = None,
) -> None:
    """Serve the model database over HTTP, read-only, to this machine only.

    GET / lists what can be asked, /openapi.json describes it. Ctrl-C stops the server.

    [bold]Examples[/]

    automl serve

    curl 'http://127.0.0.1:8000/v1/models?dataset=digits&limit=3'
    """
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f'the server needs {", ".join(missing)}: pip install "automl-papers[api]"'
        )
    from automl.ui.http.settings import Limits, Served, is_loopback

    if not (is_loopback(host) or allow_remote):
        raise ConfigError(
            f"host {host!r} can be reached from other machines: add --allow-remote if everyone "
            "there may read the database"
        )
    from automl.ui.http.server import run

    limits = Limits(rate=rate, burst=max(1, round(2 * rate)), seconds=timeout)
    run(Served(db=db, token=token, names=tuple(name or ()), limits=limits), host, port)
