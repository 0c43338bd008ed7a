"""Column types that behave alike on SQLite and PostgreSQL, and the JSON they are stored as."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, String
from sqlalchemy.types import TypeDecorator

from automl.core.errors import DatabaseError

FLOAT = "$float"  # JSON has no infinity: {"$float": "inf"} stands for it
LARGEST = 2**63 - 1  # what both engines hold in a BIGINT


class Encoded(str):
    """Text that is JSON already. Encoding when told freezes the value: later edits do not leak."""

    __slots__ = ()


class Json(TypeDecorator[Any]):
    """JSON values, JSONB on PostgreSQL. Values are immutable: what comes back is a copy."""

    impl = JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """JSONB where there is one; ``None`` is SQL's NULL."""
        if dialect.name != "postgresql":
            return dialect.type_descriptor(JSON(none_as_null=True))
        from sqlalchemy.dialects.postgresql import JSONB  # imports much

        return dialect.type_descriptor(JSONB(none_as_null=True))


class Utc(TypeDecorator[datetime]):
    """Points in time: aware in, aware UTC out; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; SQLite stores it without the zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone: use datetime.now(UTC)")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Text(TypeDecorator[str]):
    """Text of any length. What PostgreSQL cannot hold (NUL, half characters) is replaced."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Without NUL and half characters."""
        return None if value is None else clean(value)


def clean(text: str) -> str:
    """The text without NUL and without half characters (lone surrogates)."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if text.isascii():
        return text
    return text.encode("utf-8", "replace").decode("utf-8")


def dumps(value: Any) -> str:
    """JSON text of a value that both engines accept; infinite numbers survive."""
    if isinstance(value, Encoded):
        return str(value)
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except ValueError:  # infinite or not a number
        text = json.dumps(portable(value), separators=(",", ":"))
    if "\\u0000" in text or "\\ud" in text:
        text = json.dumps(portable(value), separators=(",", ":"))
    return text


def portable(value: Any) -> Any:
    """The value with what JSON or PostgreSQL lacks replaced."""
    if isinstance(value, Mapping):
        return {clean(str(key)): portable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [portable(item) for item in value]
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {FLOAT: repr(value)}
    return value


def loads(text: str | bytes) -> Any:
    """The value of JSON text that ``dumps`` wrote."""
    mark = FLOAT if isinstance(text, str) else FLOAT.encode()
    if mark in text:  # type: ignore[operator]
        return json.loads(text, object_hook=restored)
    return json.loads(text)


def restored(value: dict[str, Any]) -> Any:
    """An infinite number from what stands for it."""
    known = value.get(FLOAT) in ("inf", "-inf", "nan")
    return float(value[FLOAT]) if known else value


def encoded(value: Any, what: str) -> Encoded:
    """The value as JSON, now.

    Raises:
        DatabaseError: if it holds something that is not JSON; ``what`` names it.
    """
    try:
        return Encoded(dumps(value))
    except (TypeError, RecursionError) as error:
        raise DatabaseError(f"{what} cannot be recorded as JSON: {error}") from error


def whole(value: int | None, what: str) -> int | None:
    """The value as a plain integer of 64 bits.

    Raises:
        DatabaseError: if it is larger; ``what`` names it.
    """
    if value is None:
        return None
    value = int(value)
    if abs(value) > LARGEST:
        raise DatabaseError(f"{what} cannot be recorded: {value} has more than 64 bits")
    return value


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)
