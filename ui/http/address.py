"""Where a server listens, and who can reach it there."""

from __future__ import annotations

import ipaddress
import socket

from automl.core.errors import ConfigError

SHORTEST_TOKEN = 16  # characters


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server at that host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def check_token(token: str | None) -> None:
    """Refuse a token that could be guessed, or that no HTTP header holds; None is no token.

    Raises:
        ConfigError: if it is too short or not printable ASCII.
    """
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise ConfigError(
            f"token of {len(token)} characters could be guessed: use at least "
            f"{SHORTEST_TOKEN}, e.g. of `openssl rand -hex 32`"
        )
    if token is not None and not (token.isascii() and token.isprintable()):
        raise ConfigError("token: use printable ASCII characters, as HTTP headers do")


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
