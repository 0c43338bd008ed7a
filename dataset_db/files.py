"""The files that belong to models, found by number and never by path."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from automl.core.errors import UnknownName
from automl.core.places import artifact_root
from automl.dataset_db.engine import Db, reading
from automl.dataset_db.query import Row, rows
from automl.dataset_db.schema import ARTIFACT


def artifact(number: int, db: Db = None, *, root: Path | None = None) -> tuple[Row, Path]:
    """An artifact's row and its file, which lies in the artifact folder (``root``).

    Raises:
        UnknownName: if there is no such artifact, its file is gone, or what the record names lies
            outside of the folder, be it by a link.
    """
    with reading(db) as connection:
        found = rows(connection, select(ARTIFACT).where(ARTIFACT.c.id == number))
    if not found:
        raise UnknownName(f"there is no artifact {number}; a trial's record lists its artifacts")
    folder = (root or artifact_root()).resolve()
    file = (folder / found[0]["path"]).resolve()
    if not file.is_relative_to(folder):
        raise UnknownName(f"artifact {number} is refused: its record names no file of ours")
    if not file.is_file():
        raise UnknownName(f"the file of artifact {number} is gone from the artifact folder")
    return found[0], file
