"""Options that many commands share."""

from __future__ import annotations

import re
from typing import Annotated, Optional

import typer

from automl.core.errors import BudgetError, ConfigError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document for machines.")]
Database = Annotated[
    Optional[str],  # noqa: UP045  Typer reads the annotation at run time
    typer.Option(
        "--db",
        metavar="URL",
        help="Model database: a file or a URL. Default: AUTOML_DB, else ./automl.db.",
    ),
]


def seconds(text: str | None) -> float | None:
    """Read ``90``, ``90s``, ``10m``, ``2h`` as seconds.

    Raises:
        BudgetError: if the text is no duration.
    """
    if text is None:
        return None
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1)
    try:
        return float(number) * unit
    except ValueError:
        raise BudgetError(f"{text!r} must be a duration such as 90, 90s, 10m, 2h, 30d") from None


def size_in_bytes(text: str) -> int:
    """Read ``500000``, ``500kB``, ``2MB`` or ``1GB`` as bytes, in powers of 1000.

    Raises:
        ConfigError: if the text is no size.
    """
    found = re.fullmatch(r"(\d+\.?\d*) *([kMG]?)B?", text.strip(), re.IGNORECASE)
    if found is None:
        raise ConfigError(f"{text!r} must be a size such as 500000, 500kB, 2MB")
    return int(float(found[1]) * UNITS[found[2].lower()])


UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
CODE_KB = 16  # of a model's C beside its numbers: 2 for selu and ntk_svm, 15 for ptrnet
BYTES_OF_A_NUMBER = 4


def largest(parameters: int, flash_kb: float) -> int:
    """How many numbers a model may hold to keep within both limits; 0: any.

    Raises:
        ConfigError: if a limit is negative, or the flash does not even hold the code.
    """
    for name, value in (("--max-params", parameters), ("--max-flash-kb", flash_kb)):
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{name} must be 0 or more, not {value}")
    if 0 < flash_kb <= CODE_KB:
        raise ConfigError(
            f"--max-flash-kb {flash_kb:g} leaves no room beside the code, which takes {CODE_KB} kB"
        )
    fitting = int((flash_kb - CODE_KB) * 1000 / BYTES_OF_A_NUMBER) if flash_kb else 0
    return min(limit for limit in (parameters, fitting) if limit) if parameters or fitting else 0
