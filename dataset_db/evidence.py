"""What is recorded of models after their search: exports, benchmarks, probes, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from automl.core.errors import UnknownName
from automl.core.record import ClaimVerdict
from automl.dataset_db.batch import number
from automl.dataset_db.catalogue import upsert
from automl.dataset_db.schema import BENCHMARK, CLAIM, EXPORT, PROBE, TRIAL
from automl.dataset_db.types import now


@dataclass(frozen=True)
class ExportRecord:
    """A model made ready for a kind of runtime.

    ``status`` is one or more words such as ``prepared``, ``verified on cpu`` or ``unsupported:
    operator X``; ``files`` holds a mapping per file (path relative to ``folder``, sha256, bytes);
    ``parity`` how far it is from PyTorch; ``facts`` what else is known, e.g. its metadata.
    """

    target: str
    status: str
    folder: str = ""
    files: Sequence[Mapping[str, Any]] = ()
    opset: int | None = None
    parity: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""


@dataclass(frozen=True)
class BenchmarkRecord:
    """A latency measurement: one call on ``batch`` inputs of ``sizes``, in microseconds.

    ``memory`` is in bytes; without a measurement ``status`` and ``message`` say why.
    """

    device: str
    runtime: str
    precision: str
    batch: int
    sizes: Mapping[str, Any] = field(default_factory=dict)
    p50_us: float | None = None
    p95_us: float | None = None
    min_us: float | None = None
    mean_us: float | None = None
    memory: int | None = None
    status: str = "measured"
    message: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def put_export(connection: Connection, trial: int, export: ExportRecord) -> int:
    """Record an export of a trial; return its id."""
    require(connection, TRIAL, trial, "trial")
    values = plain(export) | {"trial_id": trial}
    key = connection.execute(insert(EXPORT).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


def put_benchmarks(
    connection: Connection, export: int, benchmarks: Sequence[BenchmarkRecord]
) -> None:
    """Record measurements of an export."""
    require(connection, EXPORT, export, "export")
    rows = [plain(benchmark) | {"export_id": export} for benchmark in benchmarks]
    if rows:
        connection.execute(insert(BENCHMARK), rows)


def put_probe(connection: Connection, trial: int, probe: str, values: Mapping[str, float]) -> None:
    """Record what a probe measured of a trial's model; repeated names replace their values."""
    require(connection, TRIAL, trial, "trial")
    put = upsert(connection, PROBE)
    place = ["trial_id", "probe", "name"]
    new = {"value": put.excluded.value, "created_at": put.excluded.created_at}
    rows = [
        {"trial_id": trial, "probe": probe, "name": name, "value": number(value)}
        for name, value in values.items()
    ]
    if rows:
        time = now()
        stamped = [{**row, "created_at": time} for row in rows]
        connection.execute(put.on_conflict_do_update(index_elements=place, set_=new), stamped)


def put_claim(connection: Connection, verdict: ClaimVerdict) -> int:
    """Record a verdict; return its id."""
    key = connection.execute(insert(CLAIM).values(**asdict(verdict))).inserted_primary_key
    assert key is not None
    return int(key[0])


def plain(record: ExportRecord | BenchmarkRecord) -> dict[str, Any]:
    """The columns of a record."""
    values = dict(vars(record))
    return {
        name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()
    }


def require(connection: Connection, table: Table, key: int, kind: str) -> None:
    """Raise ``UnknownName`` unless the row exists."""
    if connection.execute(select(table.c.id).where(table.c.id == key)).first() is None:
        raise UnknownName(f"there is no {kind} with id {key} in the database")
