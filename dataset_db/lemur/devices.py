"""Published runs of networks on devices."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import Connection, insert

from automl.core.errors import DataError
from automl.dataset_db.lemur.archive import Archive
from automl.dataset_db.lemur.networks import Networks, object_of
from automl.dataset_db.lemur.records import number, place_of
from automl.dataset_db.schema import DEVICE_RUN
from automl.dataset_db.types import clean

OWN_COLUMNS = ("device_type", "os_version", "valid", "emulator", "duration", "error_message")
PRECISIONS = ("fp32", "fp16", "int8", "dynamic", "mixed")


def put_device_run(
    connection: Connection, source: int, archive: Archive, networks: Networks, path: str
) -> list[tuple[str, str, Any]]:
    """Record one file of a run; return it with the reason if it had to be set aside.

    Older versions have ``run/TASK_NETWORK/DEVICE.json``, later ones
    ``run/RUNTIME/PRECISION/TASK_DATASET_METRIC_NETWORK/SYSTEM_DEVICE.json``.
    """
    parts = PurePosixPath(path).parts[4:]  # after ab/nn/stat/run
    try:
        if len(parts) < 2:
            raise DataError("run of an unknown layout")
        told = object_of(archive, path)
    except DataError as error:
        return [(path, str(error), archive.text(path))]
    place = place_of(parts[-2])
    network = place.network if place else parts[-2].partition("_")[2]
    if not network:
        return [(path, "folder names no network", told)]
    kinds = parts[:-2]
    duration = number(told.get("duration"))
    # The unit of the older records is nowhere told; milliseconds by their size.
    unit = str(told.get("unit") or ("unknown (ms?)" if not kinds else ""))
    row = {
        "source_id": source,
        "plugin_id": networks.of(connection, network),
        "place": path,
        "dataset": place.dataset if place else "",
        "device": text(told.get("device_type")) or PurePosixPath(path).stem,
        "system": text(told.get("os_version")),
        "runtime": next((kind for kind in kinds if kind not in PRECISIONS), ""),
        "precision": next((kind for kind in kinds if kind in PRECISIONS), ""),
        "valid": flag(told.get("valid")),
        "emulator": flag(told.get("emulator")),
        "duration": duration,
        "unit": clean(unit),
        "message": text(told.get("error_message")),
        "facts": {name: value for name, value in told.items() if name not in OWN_COLUMNS},
    }
    connection.execute(insert(DEVICE_RUN), row)
    return []


def text(value: Any) -> str:
    """The value as text; nothing is an empty one."""
    return "" if value is None else clean(str(value))


def flag(value: Any) -> bool | None:
    """The value if it is true or false."""
    return value if isinstance(value, bool) else None
