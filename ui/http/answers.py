"""Answers as JSON: compact, compressed if large, not sent again if the client has them."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response

JSON = "application/json"
NDJSON = "application/x-ndjson"
OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY
COMPRESSED_FROM = 8192  # bytes: below that it costs more time than it saves
COMPRESSION = 4
CHECK_AGAIN = "no-cache"  # keep it, but ask whether it still holds
FOR_EVER = "max-age=31536000, immutable"  # what is addressed by its hash never changes


class TooLarge(Exception):
    """An answer is longer than the server's limit."""


def encode(value: Any) -> bytes:
    """JSON in UTF-8. What is no finite number is null; times are UTC and end in Z."""
    return orjson.dumps(value, default=plain, option=OPTIONS)


def plain(value: Any) -> Any:
    """What a value that is not JSON stands for.

    Raises:
        TypeError: if it stands for nothing.
    """
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def packed(value: Any, headers: Headers, *, most: int, cache: str = CHECK_AGAIN) -> Response:
    """The answer to a request with these headers.

    Raises:
        TooLarge: if it has more than ``most`` bytes.
    """
    body = encode(value)
    if len(body) > most:
        raise TooLarge(f"the answer has {len(body)} bytes, more than the limit of {most}")
    # Weak: the same record may be compressed or not.
    tag = f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
    told = {"etag": tag, "cache-control": cache, "vary": "accept-encoding"}
    if headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=told)
    if len(body) >= COMPRESSED_FROM and "gzip" in headers.get("accept-encoding", ""):
        body = gzip.compress(body, COMPRESSION, mtime=0)
        told["content-encoding"] = "gzip"
    return Response(body, headers=told, media_type=JSON)
