"""The networks of an import: their code, each distinct text once, and published statistics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection, Engine, insert, select, update

from automl.core.errors import DataError
from automl.dataset_db.bulk import reserve
from automl.dataset_db.catalogue import code_hash, put, sha256, upsert
from automl.dataset_db.engine import transaction
from automl.dataset_db.fingerprints import fingerprint
from automl.dataset_db.lemur.archive import Archive
from automl.dataset_db.schema import CODE, PAPER, PLUGIN, PLUGIN_CODE, SOURCE_FILE
from automl.dataset_db.types import clean

LEMUR_PAPER = {
    "title": "LEMUR Neural Network Dataset: Towards Seamless AutoML",
    "year": 2025,
    "arxiv": "2504.10552",
    "authors": "Goodarzi et al.",
}
CHUNK = 1000  # networks in one transaction


@dataclass
class Networks:
    """The ids of an import's networks by name; one without code is made when records name it."""

    paper: int
    ids: dict[str, int] = field(default_factory=dict)
    bare: list[str] = field(default_factory=list)

    def of(self, connection: Connection, name: str) -> int:
        """The id of a network."""
        if name not in self.ids:
            self.ids[name] = put(connection, PLUGIN, key_of(self.paper, name, {}), **rest_of(name))
            self.bare.append(name)
        return self.ids[name]

    def put_statistics(
        self, connection: Connection, archive: Archive, paths: dict[str, str]
    ) -> list[tuple[str, str, Any]]:
        """Record the published statistics of architectures; return the files set aside."""
        aside: list[tuple[str, str, Any]] = []
        for name, path in paths.items():
            try:
                facts = object_of(archive, path)
            except DataError as error:
                aside.append((path, str(error), archive.text(path)))
                continue
            row = update(PLUGIN).where(PLUGIN.c.id == self.of(connection, name))
            connection.execute(row.values(facts=facts))
        return aside


def key_of(paper: int, name: str, code: dict[str, str]) -> dict[str, Any]:
    """What makes a network's row unique: versions that share its code share the row."""
    return {"name": clean(name), "version": 1, "code_hash": code_hash(code), "paper_id": paper}


def rest_of(name: str) -> dict[str, Any]:
    """The other columns of a network: its family is its name up to the first dash."""
    return {"family": clean(name.partition("-")[0])}


def put_networks(
    engine: Engine, archive: Archive, paths: dict[str, str], progress: Any
) -> Networks:
    """Record networks with their code, in transactions of some; those there are left alone."""
    with transaction(engine) as connection:
        found = Networks(put(connection, PAPER, LEMUR_PAPER))
        query = select(PLUGIN.c.name, PLUGIN.c.code_hash, PLUGIN.c.id)
        rows = connection.execute(query.where(PLUGIN.c.paper_id == found.paper))
        there = {(name, hashed): key for name, hashed, key in rows}
    todo = []
    for name, path in paths.items():
        code = {f"{name}.py": clean(archive.text(path))}
        key = key_of(found.paper, name, code)
        if (known := there.get((key["name"], key["code_hash"]))) is not None:
            found.ids[name] = known
        else:
            todo.append((name, key, code[f"{name}.py"]))
    for start in range(0, len(todo), CHUNK):
        with transaction(engine) as connection:
            put_some(connection, found, todo[start : start + CHUNK])
        progress("networks", len(paths) - len(todo) + min(start + CHUNK, len(todo)), len(paths))
    return found


def put_some(
    connection: Connection, found: Networks, some: list[tuple[str, dict[str, Any], str]]
) -> None:
    """Insert networks and their texts."""
    codes = put_codes(connection, [text for _, _, text in some])
    ids = reserve(connection, PLUGIN, len(some))
    made = [{"id": next(ids), **key, **rest_of(name), "facts": None} for name, key, _ in some]
    connection.execute(insert(PLUGIN), made)
    links = [
        {"plugin_id": row["id"], "file": f"{name}.py", "code_id": codes[text]}
        for row, (name, _, text) in zip(made, some, strict=True)
    ]
    connection.execute(insert(PLUGIN_CODE), links)
    found.ids |= {name: row["id"] for row, (name, _, _) in zip(made, some, strict=True)}


def put_codes(connection: Connection, texts: Iterable[str]) -> dict[str, int]:
    """Record texts, each distinct one once; return their ids."""
    hashes = {text: sha256(text) for text in texts}
    query = select(CODE.c.sha256, CODE.c.id).where(CODE.c.sha256.in_(hashes.values()))
    there = {hashed: key for hashed, key in connection.execute(query)}
    new = [text for text, hashed in hashes.items() if hashed not in there]
    if new:
        ids = reserve(connection, CODE, len(new))
        marked = zip(new, fingerprint(new), strict=True)
        rows = [{"id": next(ids), **marks._asdict(), "text": text} for text, marks in marked]
        connection.execute(insert(CODE), rows)
        there |= {row["sha256"]: row["id"] for row in rows}
    return {text: there[hashed] for text, hashed in hashes.items()}


def put_texts(connection: Connection, source: int, archive: Archive, paths: list[str]) -> None:
    """Record the texts that belong to no network: transforms, metrics, loaders."""
    texts = {path: clean(archive.text(path)) for path in paths}
    codes = put_codes(connection, texts.values())
    for path, text in texts.items():
        place = {"source_id": source, "path": path.removeprefix("ab/nn/")}
        row = upsert(connection, SOURCE_FILE).values(**place, code_id=codes[text])
        connection.execute(
            row.on_conflict_do_update(index_elements=list(place), set_={"code_id": codes[text]})
        )


def object_of(archive: Archive, path: str) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        DataError: if it holds something else.
    """
    try:
        value = orjson.loads(archive.read(path))
    except orjson.JSONDecodeError as error:
        raise DataError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"holds {type(value).__name__}, not an object")
    return value
