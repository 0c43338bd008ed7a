"""Who may look: the holder of the token that the browser application was started with.

It stands before Streamlit and everything it serves, its WebSocket and its files included. The token
is exchanged for a cookie that no script can read and that ends with the server; it is in no page's
address afterwards.
"""

from __future__ import annotations

import hashlib
import secrets
from urllib.parse import parse_qsl, urlencode

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

FORM_BYTES = 4096
OPEN = ("/_stcore/health",)  # tells nothing but that the server runs
SAFE_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
FORM = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>automl: enter the token</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { display: grid; place-items: center; min-height: 90vh; margin: 0 1rem; }
form { display: grid; gap: .75rem; width: min(24rem, 100%); }
h1 { font-size: 1.4rem; margin: 0; }
input, button { font: inherit; padding: .6rem .75rem; border-radius: .5rem; }
input { border: 1px solid GrayText; }
button { border: 0; background: #0072B2; color: #fff; cursor: pointer; }
p { margin: 0; }
</style>
</head>
<body>
<main><form method="post">
<h1>automl</h1>
<p>SAID</p>
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<button>Open</button>
</form></main>
</body>
</html>
"""
ASKED = "This server was started with a token: enter it to look at the models."
REFUSED = "That is not the token this server was started with."


class Gate:
    """Lets in whoever brought the token once; everybody else gets a form that asks for it.

    Attributes:
        app: What is behind it.
        token: The token.
        cookie: The name of the cookie; its own for each port, since cookies are not.
    """

    def __init__(self, app: ASGIApp, token: str, port: int) -> None:
        self.app, self.token = app, token
        self.cookie = f"automl_ui_{port}"
        self.pass_ = secrets.token_urlsafe(32)  # of this run of the server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        given = HTTPConnection(scope).cookies.get(self.cookie, "")
        known = same(given, self.pass_)
        if scope["type"] == "websocket":
            if known:
                await self.app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        request = Request(scope, receive)
        if known and "token" not in request.query_params:
            await self.app(scope, receive, send)
            return
        answer = await self.answer(request, known)
        await answer(scope, receive, send)

    async def answer(self, request: Request, known: bool) -> Response:
        """The way in for who brings the token, or the form."""
        brought = request.query_params.get("token")
        if request.method == "POST":
            brought = dict(parse_qsl(await body(request))).get("token", "")
        if known or (brought is not None and same(brought, self.token)):
            return self.let_in(request)
        said = ASKED if brought is None else REFUSED
        return HTMLResponse(FORM.replace("SAID", said), 401, SAFE_HEADERS)

    def let_in(self, request: Request) -> Response:
        """Back to the same page without the token in its address, with the cookie."""
        kept = [(key, text) for key, text in request.query_params.multi_items() if key != "token"]
        # One slash: "//host" would be another site's address.
        place = "/" + request.url.path.lstrip("/") + (f"?{urlencode(kept)}" if kept else "")
        answer = RedirectResponse(place, 303, SAFE_HEADERS)
        answer.set_cookie(
            self.cookie,
            self.pass_,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )
        return answer


async def body(request: Request) -> str:
    """The form that was sent; nothing if it is longer than a token's can be."""
    found = b""
    async for part in request.stream():
        found += part
        if len(found) > FORM_BYTES:
            return ""
    return found.decode("utf-8", "replace")


def same(given: str, wanted: str) -> bool:
    """Whether two texts are the same, in a time that tells neither content nor length."""
    hashes = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, wanted))
    return secrets.compare_digest(*hashes)
