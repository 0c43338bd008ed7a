"""Who may write: the holder of the token that the server was started with."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

bearer = HTTPBearer(auto_error=False, description="The token that `automl serve` was given")


async def writer(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
) -> None:
    """Let a request write, or refuse it.

    Raises:
        HTTPException: 403 from a read-only server, 401 without the right token.
    """
    token: str | None = request.app.state.served.token
    if token is None:
        raise HTTPException(403, "this server is read-only: `automl serve --token` allows writes")
    given = credentials.credentials if credentials is not None else ""
    # In constant time: how long a refusal takes tells nothing about the token.
    if not secrets.compare_digest(given.encode(), token.encode()):
        raise HTTPException(
            401,
            "a write takes the server's token: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )
