"""Serve the browser application: where, to whom and in which colours."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from automl.core.errors import ConfigError
from automl.ui.http.address import check_token, is_loopback, listen

SCRIPT = Path(__file__).with_name("app.py")
# Texts have 4.5 to 1 at least, as WCAG 2.2 AA asks; charts.py has the colours of data.
LIGHT = {
    "primaryColor": "#0067A3",
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F3F5F8",
    "textColor": "#1A1F26",
    "linkColor": "#0067A3",
    "borderColor": "#D5DAE1",
    "dataframeHeaderBackgroundColor": "#F3F5F8",
}
DARK = {
    "primaryColor": "#4FB3E8",
    "backgroundColor": "#11151A",
    "secondaryBackgroundColor": "#1B2129",
    "textColor": "#E8ECF1",
    "linkColor": "#6CC1EE",
    "borderColor": "#333C47",
    "dataframeHeaderBackgroundColor": "#1B2129",
}
THEME = {
    "theme.baseRadius": "0.4rem",
    "theme.headingFontSizes": ["1.75rem", "1.25rem", "1.05rem"],
    "theme.headingFontWeights": [650, 600, 600],
    "theme.metricValueFontSize": "1.45rem",
    "theme.paddingTop": "0.5rem",
    **{f"theme.light.{name}": colour for name, colour in LIGHT.items()},
    **{f"theme.dark.{name}": colour for name, colour in DARK.items()},
}


@dataclass(frozen=True)
class Offer:
    """What is offered to whom.

    Attributes:
        host: Address to listen on.
        port: Port to listen on.
        token: What a visitor must bring; not shown in a ``repr``.
        db: A file or URL; by default AUTOML_DB, else ``./automl.db``.
    """

    host: str = "127.0.0.1"
    port: int = 8501
    token: str | None = field(default=None, repr=False)
    db: str | None = None

    def __post_init__(self) -> None:
        check_token(self.token)
        if self.token is None and not is_loopback(self.host):
            raise ConfigError(
                f"host {self.host!r} can be reached from other machines: set --token or "
                "AUTOML_TOKEN, e.g. of `openssl rand -hex 32`"
            )


def settings(offer: Offer, window: bool) -> dict[str, Any]:
    """Streamlit's settings; what a user's own file says of others stays."""
    found: dict[str, Any] = {
        "server.address": offer.host,
        "server.port": offer.port,
        "server.headless": not window,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": 50,
        "server.disconnectedSessionTTL": 30,  # each reload is a new session: memory stays flat
        "browser.gatherUsageStats": False,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        **THEME,
    }
    if is_loopback(offer.host):  # a stranger's page may make its own name stand for this machine
        found["server.allowedHosts"] = ["localhost", "127.0.0.1", "::1", offer.host.strip("[]")]
    return found


def run(offer: Offer, *, window: bool = True) -> None:
    """Serve until Ctrl-C or SIGTERM; ``window`` opens the user's browser.

    Raises:
        ConfigError: if nothing can listen there.
    """
    listen(offer.host, offer.port).close()
    import streamlit
    from starlette.middleware import Middleware

    from automl.ui.gate import Gate

    if offer.db is not None:
        given = offer.db
        os.environ["AUTOML_DB"] = given if "://" in given else str(Path(given).resolve())
    gates = [Middleware(Gate, token=offer.token, port=offer.port)] if offer.token else []
    app = streamlit.App(SCRIPT, middleware=gates)
    app.run(config=settings(offer, window))
