"""What every request must pass before the application sees it; plain ASGI, for speed."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from automl.ui.http.errors import problem
from automl.ui.http.settings import Limits

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]
SAFE_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


class Buckets:
    """A token bucket for each client: ``rate`` tokens a second, at most ``burst`` saved."""

    def __init__(self, rate: float, burst: int, clients: int) -> None:
        self.rate, self.burst, self.clients = rate, burst, clients
        self.levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, at what time

    def wait(self, client: str, now: float) -> float:
        """Take a token: 0, or the seconds until there is one."""
        tokens, before = self.levels.pop(client, (float(self.burst), now))
        tokens = min(self.burst, tokens + (now - before) * self.rate)
        allowed = tokens >= 1
        self.levels[client] = (tokens - allowed, now)
        if len(self.levels) > self.clients:
            self.levels.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self.rate


class Guard:
    """Checks the host's name, the size of what is asked and how often a client asks."""

    def __init__(self, app: ASGI, limits: Limits, names: tuple[str, ...]) -> None:
        self.app, self.limits = app, limits
        self.names = {"localhost", *(name.lower() for name in names)}
        self.buckets = Buckets(limits.rate, limits.burst, limits.clients)
        self.active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a refusal, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *SAFE_HEADERS]
            await send(message)

        if (refusal := self.refusal(scope)) is not None:
            await refusal(scope, receive, safely)
            return
        self.active += 1
        try:
            await self.app(scope, self.limited(receive), safely)
        finally:
            self.active -= 1

    def refusal(self, scope: Scope) -> Response | None:
        """The answer to a request that is not let in."""
        headers = dict(scope["headers"])
        if not self.knows(headers.get(b"host", b"").decode("latin-1")):
            return problem(
                400,
                "the Host header names no host of this server",
                hint="call it by its address or localhost, or start it with --name HOST",
            )
        client = scope["client"][0] if scope.get("client") else ""
        if wait := self.buckets.wait(client, time.monotonic()):
            again = {"retry-after": str(int(wait) + 1)}
            return problem(429, f"more than {self.limits.rate:g} requests a second", headers=again)
        if self.active >= self.limits.requests:
            return problem(503, "too many requests at once", headers={"retry-after": "1"})
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > self.limits.url_bytes:
            return problem(414, f"the URL is longer than {self.limits.url_bytes} bytes")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self.limits.body_bytes:
            return problem(413, self.too_long, hint="send less")
        return None

    @property
    def too_long(self) -> str:
        """About a body."""
        return f"the body is longer than {self.limits.body_bytes} bytes"

    def knows(self, host: str) -> bool:
        """Whether a Host header names this server.

        A page of a stranger can make its own name stand for 127.0.0.1 and then call us from the
        user's browser; it cannot do so with an address.
        """
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.lower() in self.names:
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    def limited(self, receive: Receive) -> Receive:
        """A body that tells no length beforehand is counted as it comes."""
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.limits.body_bytes:
                raise HTTPException(413, self.too_long)
            return message

        return counted
