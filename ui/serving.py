"""``automl serve`` and ``automl ui``: the model database over HTTP and in the browser."""

from __future__ import annotations

import importlib.util
from typing import Annotated, Optional

import typer

from automl.core.errors import ConfigError, MissingExtra
from automl.ui.options import Database

API = ("fastapi", "uvicorn", "httptools", "uvloop", "orjson")
UI = ("streamlit", "plotly")


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
    missing = [module for module in API if importlib.util.find_spec(module) is None]
    if missing:
        raise MissingExtra(
            f'the server needs {", ".join(missing)}: pip install "automl-papers[api]"'
        )
    from automl.ui.http.address import is_loopback
    from automl.ui.http.settings import Limits, Served

    if not (is_loopback(host) or allow_remote):
        raise ConfigError(
            f"host {host!r} can be reached from other machines: add --allow-remote if everyone "
            "there may read the database"
        )
    from automl.ui.http.server import run

    limits = Limits(rate=rate, burst=max(1, round(2 * rate)), seconds=timeout)
    run(Served(db=db, token=token, names=tuple(name or ()), limits=limits), host, port)


def ui(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that others can reach takes a token.")
    ] = "127.0.0.1",
    token: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            envvar="AUTOML_TOKEN",
            show_envvar=True,
            help="What a visitor must enter, or bring once as ?token=TOKEN.",
        ),
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a browser window.")] = True,
    db: Database = None,
) -> None:
    """Open the browser application over the model database; Ctrl-C stops it.

    [bold]Examples[/]

    automl ui

    AUTOML_TOKEN=$(openssl rand -hex 32) automl ui --host 0.0.0.0 --no-browser
    """
    if any(importlib.util.find_spec(module) is None for module in UI):
        raise MissingExtra('the browser needs streamlit: pip install "automl-papers[ui]"')
    from automl.ui.browser import Offer, run

    run(Offer(host=host, port=port, token=token, db=db), window=browser)
