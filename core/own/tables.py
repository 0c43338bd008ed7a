"""Tables of a user's own: read in bounded memory, columns typed, cells turned into numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from automl.core.errors import DataError, did_you_mean
from automl.core.own import memory

CHUNK = 50_000  # rows read at a time
CELL = 8  # bytes of a number
MOSTLY = 0.95  # share of values that must parse as numbers for a column to be one of numbers
MOST_CATEGORIES = 50  # told apart in one column; rarer ones count as one
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq")
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Column:
    """A column of the file: its kind, and the raw numbers that stand for a cell of it.

    A number stands for itself. A category's number is its position in ``categories``, one more
    than the last for any other value. A date gives days since 1970, month, weekday (Monday is 0)
    and, if the column has times, the hour. What is missing is NaN.
    """

    name: str
    kind: str  # number, category, date
    categories: tuple[str, ...] = ()
    hours: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its raw numbers."""
        if self.kind != "date":
            return (self.name,)
        parts = ("days", "month", "weekday", *(("hour",) if self.hours else ()))
        return tuple(f"{self.name}.{part}" for part in parts)

    def encode(self, cells: pd.Series[Any]) -> Floats:
        """Cells (n,) to raw numbers (n, inputs)."""
        if self.kind == "number":
            return numbers(cells).to_numpy(dtype=np.float32, na_value=math.nan)[:, None]
        if self.kind == "category":
            codes = {name: float(i) for i, name in enumerate(self.categories)}
            other = float(len(self.categories))
            known = texts(cells).map(lambda text: codes.get(text, other), na_action="ignore")
            return known.to_numpy(dtype=np.float32, na_value=math.nan)[:, None]
        moments = dates(cells)
        days = (moments - pd.Timestamp(0)) / pd.Timedelta(days=1)
        parts = [days.floordiv(1), moments.dt.month, moments.dt.day_of_week]
        parts += [moments.dt.hour] if self.hours else []
        return np.stack([part.to_numpy(np.float32, na_value=math.nan) for part in parts], 1)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able copy."""
        return {**asdict(self), "categories": list(self.categories), "inputs": list(self.inputs)}


def read(path: Path, most_rows: int, seed: int) -> tuple[pd.DataFrame, int]:
    """The table's cells as texts (CSV) or values (Parquet), and how many rows the file has.

    Of a longer table a uniform sample of ``most_rows`` is kept, so that memory is bounded.

    Raises:
        DataError: if it is empty, has no rows, equal headers, or cannot be read.
    """
    generator = np.random.default_rng(seed)
    kept, total = pd.DataFrame(), 0
    lots = np.empty(0)
    try:
        for chunk in chunks(path, most_rows):
            total += len(chunk)
            kept = pd.concat([kept, chunk], ignore_index=True) if len(kept) else chunk
            lots = np.concatenate([lots, generator.random(len(chunk))])
            if len(kept) > most_rows:
                chosen = np.sort(np.argpartition(lots, most_rows)[:most_rows])
                kept, lots = kept.iloc[chosen].reset_index(drop=True), lots[chosen]
    except (ValueError, OSError, UnicodeDecodeError, pd.errors.ParserError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read as a table: {first_line(error)}") from error
    if not total:
        raise DataError(f"{path} has a header but no rows: add some")
    return kept, total


def first_line(error: BaseException) -> str:
    """What an error says first."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def chunks(path: Path, most_rows: int) -> Iterator[pd.DataFrame]:
    """The table piece by piece; ``most_rows`` of it will be kept."""
    if path.suffix.lower() in (".parquet", ".pq"):
        yield from parquet(path, most_rows)
        return
    separator = check_csv(path)
    with pd.read_csv(
        path, sep=separator, dtype="str", chunksize=CHUNK, skipinitialspace=True, engine="c"
    ) as reader:
        yield from reader


def parquet(path: Path, most_rows: int) -> Iterator[pd.DataFrame]:
    """A Parquet file piece by piece, each measured before it is unpacked.

    A few kilobytes can hold billions of equal numbers, or one long text a million times: texts are
    read as numbers of a dictionary's entries, which costs no more than the file says.
    """
    import pyarrow.parquet
    from pyarrow import types

    with pyarrow.parquet.ParquetFile(path) as file:
        schema = file.schema_arrow
    check_header(path, list(schema.names))
    for column in schema:
        if types.is_nested(column.type):
            raise DataError(
                f"{path}: column {column.name!r} holds {column.type}, but a cell is one number, "
                "text or date: remove or split it"
            )
    words = [column.name for column in schema if is_text(column.type)]
    with pyarrow.parquet.ParquetFile(path, read_dictionary=words) as file:
        groups = range(file.metadata.num_row_groups)  # one is unpacked at a time
        sizes = [file.metadata.row_group(group).total_byte_size for group in groups]
        memory.check_fits(path, max(sizes, default=0), copies=1)
        kept = min(file.metadata.num_rows, most_rows)
        numbers_, texts_, seen = kept * len(schema) * CELL, 0, 0
        for batch in file.iter_batches(CHUNK):
            texts_, seen = texts_ + text_bytes(batch), seen + len(batch)
            memory.check_fits(path, numbers_ + texts_ * min(seen, most_rows) // max(1, seen))
            columns = [decoded(column) for column in batch.columns]
            yield pyarrow.RecordBatch.from_arrays(columns, batch.schema.names).to_pandas()


def is_text(kind: Any) -> bool:
    """Whether an Arrow type is one of texts, which may be of any length."""
    from pyarrow import types

    return any(
        each(kind)
        for each in (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    )


def text_bytes(batch: Any) -> int:
    """What the texts of a batch take once each cell has its own; they lie in dictionaries."""
    from pyarrow import compute, types

    total = 0
    for column in batch.columns:
        if types.is_dictionary(column.type) and is_text(column.type.value_type):
            lengths = compute.binary_length(column.dictionary)
            total += compute.sum(compute.take(lengths, column.indices)).as_py() or 0
    return total


def decoded(column: Any) -> Any:
    """An Arrow array without its dictionary."""
    from pyarrow import types

    return column.dictionary_decode() if types.is_dictionary(column.type) else column


def check_csv(path: Path) -> str:
    """Look at the first line of a CSV file and return its separator.

    Raises:
        DataError: if the file is empty or its header is bad.
    """
    with path.open(newline="", encoding="utf-8-sig") as file:
        line = file.readline()
    if not line.strip():
        raise DataError(f"{path} is empty: it needs a header line and rows")
    separator = max("\t;,", key=line.count)
    check_header(path, [name.strip() for name in next(csv.reader([line], delimiter=separator))])
    return separator


def check_header(path: Path, names: list[str]) -> None:
    """Refuse a header with equal or empty names."""
    seen: set[str] = set()
    for position, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{path}: column {position} has no name: give it one in the header")
        if name in seen:
            raise DataError(f"{path}: two columns are called {name!r}: rename one of them")
        seen.add(name)


def texts(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Cells as texts without surrounding blanks; missing ones stay missing."""
    found = cells.astype("str") if cells.dtype != "str" else cells
    found = found.where(cells.notna())
    stripped: pd.Series[Any] = found.str.strip()
    return stripped.where(stripped != "")


def numbers(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Cells as numbers; what is none, or is infinite, is missing."""
    if cells.dtype == bool:
        cells = cells.astype(float)
    found = pd.to_numeric(cells, errors="coerce")
    return found.where(np.isfinite(found.to_numpy(dtype=float, na_value=math.nan)))


def dates(cells: pd.Series[Any]) -> pd.Series[Any]:
    """Cells as moments without a time zone (UTC if they have one); missing if they are none."""
    found = pd.to_datetime(cells, errors="coerce", utc=True, format="ISO8601")
    return found.dt.tz_localize(None)


def infer(name: str, cells: pd.Series[Any], categorical: bool = False) -> Column | None:
    """What kind of column this is; ``None`` if it has no values.

    Raises:
        DataError: if it is nearly all numbers, naming the first value that is none.
    """
    given = texts(cells).dropna()
    if given.empty:
        return None
    if not categorical and cells.dtype != bool:
        parsed = numbers(given)
        share = float(parsed.notna().mean())
        if share == 1:
            return Column(name, "number")
        if share >= MOSTLY:
            row = int(parsed[parsed.isna()].index[0])
            raise DataError(
                f"column {name!r} holds numbers, but {given[row]!r} in row {row + 1}: correct it, "
                f"or pass --categorical {name} if it holds names"
            )
        moments = dates(given)
        if float(moments.notna().mean()) == 1:
            return Column(name, "date", hours=bool((moments.dt.normalize() != moments).any()))
    counts = given.value_counts()
    return Column(name, "category", tuple(sorted(counts.index[:MOST_CATEGORIES])))


def take_target(frame: pd.DataFrame, target: str, path: Path) -> pd.Series[Any]:
    """The column to predict.

    Raises:
        DataError: if there is none of that name, or it has no values.
    """
    names = [str(name) for name in frame.columns]
    if target not in names:
        raise DataError(
            f"{path} has no column {target!r}.{did_you_mean(target, names)} It has: "
            f"{', '.join(names[:30])}{', …' if len(names) > 30 else ''}."
        )
    cells = frame[target]
    if texts(cells).dropna().empty:
        raise DataError(f"the target column {target!r} of {path} has no values")
    return cells
