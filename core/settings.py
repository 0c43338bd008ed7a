"""Frozen dataclasses of settings that check themselves and survive JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Self, get_type_hints

from automl.core.errors import ConfigError, did_you_mean

SCALARS: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
}


def setting(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    unit: str = "",
    doc: str = "",
) -> Any:
    """Declare a field of ``Settings``: its default, its allowed range or choices, its meaning.

    Bounds are inclusive. They are the values that make sense at all, not the search space.
    """
    rules = {"low": low, "high": high, "choices": choices, "unit": unit, "doc": doc}
    return dataclasses.field(default=default, metadata=rules)


@dataclass(frozen=True)
class Settings:
    """Base of every configuration: fields are scalars, declared with ``setting``."""

    def __post_init__(self) -> None:
        types = field_types(type(self))  # type: ignore[arg-type]
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            wanted = types[field.name]
            if wanted is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
                value = float(value)
            check(field, wanted, value)
        self.check()

    def check(self) -> None:
        """Raise ``ConfigError`` for a combination of values that makes no sense."""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build from a mapping such as decoded JSON.

        Raises:
            ConfigError: naming the unknown field or the value that is not allowed.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        for name in values:
            if name not in names:
                raise ConfigError(
                    f"no setting named {name!r}.{did_you_mean(name, names)} "
                    f"Known: {', '.join(names)}."
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Every field as JSON-able values."""
        return dataclasses.asdict(self)

    def texts(self) -> dict[str, str]:
        """Texts outside the plugin's package that a fit runs, by name; recorded beside it."""
        return {}

    def updated(self, assignments: Iterable[str]) -> Self:
        """Return a copy changed by texts such as ``hidden=64`` (from a command line).

        Raises:
            ConfigError: if a text is not NAME=VALUE, or as in ``from_dict``.
        """
        values = self.to_dict()
        for assignment in assignments:
            name, equals, text = assignment.partition("=")
            if not equals:
                raise ConfigError(f"{assignment!r} must be NAME=VALUE, e.g. hidden=64")
            values[name.strip()] = self.parse(name.strip(), text.strip())
        return type(self).from_dict(values)

    @classmethod
    def parse(cls, name: str, text: str) -> Any:
        """Turn the text of one field into its type; unknown names pass through unchanged."""
        wanted = field_types(cls).get(name, str)  # type: ignore[arg-type]
        if wanted is str:
            return text
        try:
            value = json.loads(text.lower())
        except json.JSONDecodeError:
            return text
        if wanted is int and isinstance(value, float) and value.is_integer():
            return int(value)  # 1e5
        return value


@cache
def field_types(cls: Any) -> dict[str, Any]:
    """The types of a dataclass's fields, with string annotations resolved."""
    return get_type_hints(cls)


def check(field: dataclasses.Field[Any], wanted: Any, value: Any) -> None:
    """Raise ``ConfigError`` unless ``value`` has the field's type and obeys its rules."""
    rules = field.metadata
    unit = f" {rules['unit']}" if rules.get("unit") else ""
    if wanted in SCALARS and type(value) is not wanted:
        raise ConfigError(f"{field.name}={value!r} must be {SCALARS[wanted]}")
    choices = rules.get("choices")
    if choices and value not in choices:
        text = ", ".join(map(str, choices))
        hint = did_you_mean(str(value), map(str, choices))
        raise ConfigError(f"{field.name}={value!r} must be one of {text}.{hint}")
    if not isinstance(value, int | float):
        return
    low, high = rules.get("low"), rules.get("high")
    if not math.isfinite(value):
        raise ConfigError(f"{field.name}={value!r} must be finite")
    if low is not None and value < low:
        raise ConfigError(f"{field.name}={value!r} must be at least {low:g}{unit}")
    if high is not None and value > high:
        raise ConfigError(f"{field.name}={value!r} must be at most {high:g}{unit}")
