"""What studies refer to and share: papers, plugins, code, datasets, environments."""

from __future__ import annotations

import hashlib
import importlib
import json
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select

from automl.core.record import PluginRecord, StudySpec
from automl.dataset_db.schema import (
    CODE,
    DATASET,
    ENVIRONMENT,
    PAPER,
    PLUGIN,
    PLUGIN_CODE,
    STUDY_PLUGIN,
)
from automl.dataset_db.types import clean, dumps

PAPER_FACTS = ("title", "year", "arxiv", "authors")


def sha256(text: str) -> str:
    """The hash of a text."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def code_hash(code: dict[str, str]) -> str:
    """The hash of names and texts; equal to ``automl.core.provenance.code_hash``."""
    return sha256("".join(f"{name}\0{text}\0" for name, text in sorted(code.items())))


def upsert(connection: Connection, table: Table) -> Any:
    """An INSERT of the connection's dialect, which knows ON CONFLICT."""
    # Each imports much: only the one in use.
    dialect = importlib.import_module(f"sqlalchemy.dialects.{connection.dialect.name}")
    return dialect.insert(table)


def put(connection: Connection, table: Table, key: dict[str, Any], **rest: Any) -> int:
    """The id of the row with these unique columns, inserted if there is none.

    Two processes may do so at once: the later one finds the row of the earlier.
    """
    query = select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    found = connection.execute(query).scalar()
    if found is None:
        row = upsert(connection, table).values(**key, **rest)
        connection.execute(row.on_conflict_do_nothing(index_elements=list(key)))
        found = connection.execute(query).scalar_one()
    return int(found)


def put_plugin(connection: Connection, plugin: PluginRecord) -> int:
    """Record a plugin with its paper and code; return its id."""
    paper = {name: plugin.paper.get(name, "") for name in PAPER_FACTS}
    code = {clean(name): clean(text) for name, text in plugin.code.items()}
    plugin_key = {
        "name": plugin.name,
        "version": plugin.version,
        "code_hash": code_hash(code),
        "paper_id": put(connection, PAPER, paper),
    }
    plugin_id = put(connection, PLUGIN, plugin_key)
    known = select(PLUGIN_CODE.c.file).where(PLUGIN_CODE.c.plugin_id == plugin_id).limit(1)
    if connection.execute(known).first() is None:
        put_code(connection, plugin_id, code)
    return plugin_id


def put_entrants(connection: Connection, study: int, spec: StudySpec) -> dict[str, int]:
    """Record which plugins take part in a study; return their ids by name."""
    ids = {plugin.name: put_plugin(connection, plugin) for plugin in spec.plugins}
    rows = [{"study_id": study, "plugin_id": plugin_id} for plugin_id in ids.values()]
    connection.execute(insert(STUDY_PLUGIN), rows)
    return ids


def entrants(connection: Connection, study: int) -> dict[str, int]:
    """The ids of a study's plugins by name, in order."""
    query = (
        select(PLUGIN.c.name, PLUGIN.c.id)
        .join(STUDY_PLUGIN, STUDY_PLUGIN.c.plugin_id == PLUGIN.c.id)
        .where(STUDY_PLUGIN.c.study_id == study)
        .order_by(PLUGIN.c.name)
    )
    return {name: plugin_id for name, plugin_id in connection.execute(query)}


def study_parents(connection: Connection, spec: StudySpec) -> dict[str, int]:
    """Record the dataset and the environment of a study; return its foreign keys."""
    info = json.loads(dumps(spec.info))
    info_hash = sha256(spec.dataset + json.dumps(info, sort_keys=True))
    facts = json.loads(dumps(spec.environment))
    facts_hash = sha256(json.dumps(facts, sort_keys=True))
    dataset = {"name": spec.dataset, "problem": spec.info.get("problem", ""), "info": spec.info}
    return {
        "dataset_id": put(connection, DATASET, {"hash": info_hash}, **dataset),
        "environment_id": put(
            connection, ENVIRONMENT, {"hash": facts_hash}, facts=spec.environment
        ),
    }


def put_code(connection: Connection, plugin_id: int, code: dict[str, str]) -> None:
    """Record the texts of a plugin, each distinct one once."""
    ids = code_ids(connection, list(code.values()))
    rows = [
        {"plugin_id": plugin_id, "file": file, "code_id": ids[sha256(text)]}
        for file, text in code.items()
    ]
    if rows:
        connection.execute(upsert(connection, PLUGIN_CODE).on_conflict_do_nothing(), rows)


def code_ids(connection: Connection, texts: list[str]) -> dict[str, int]:
    """The ids of texts by their hash; new ones are inserted, with their fingerprints."""
    wanted = {sha256(text): text for text in texts}
    known = select(CODE.c.sha256, CODE.c.id).where(CODE.c.sha256.in_(wanted))
    found = {key: code_id for key, code_id in connection.execute(known)}
    new = [text for key, text in wanted.items() if key not in found]
    if new:
        from automl.dataset_db.fingerprints import fingerprint  # numpy: reading does without

        rows = [
            {**marks._asdict(), "text": text}
            for text, marks in zip(new, fingerprint(new), strict=True)
        ]
        connection.execute(upsert(connection, CODE).on_conflict_do_nothing(), rows)
        found = {key: code_id for key, code_id in connection.execute(known)}
    return found


def plugin_code(connection: Connection, plugin_id: int) -> dict[str, str]:
    """The texts of a plugin by file name."""
    query = (
        select(PLUGIN_CODE.c.file, CODE.c.text)
        .join(CODE, CODE.c.id == PLUGIN_CODE.c.code_id)
        .where(PLUGIN_CODE.c.plugin_id == plugin_id)
        .order_by(PLUGIN_CODE.c.file)
    )
    return {file: text for file, text in connection.execute(query)}


def plugin_facts(connection: Connection, plugin_id: int) -> tuple[str, int, dict[str, Any]]:
    """Name, version and paper of a plugin."""
    query = select(PLUGIN.c.name, PLUGIN.c.version, *(PAPER.c[name] for name in PAPER_FACTS))
    joined = query.join(PAPER, PAPER.c.id == PLUGIN.c.paper_id)
    name, version, *facts = connection.execute(joined.where(PLUGIN.c.id == plugin_id)).one()
    return name, version, dict(zip(PAPER_FACTS, facts, strict=True))


def plugin_record(connection: Connection, plugin_id: int) -> PluginRecord:
    """A plugin as it was recorded, with its code."""
    return PluginRecord(*plugin_facts(connection, plugin_id), plugin_code(connection, plugin_id))


def study_spec(connection: Connection, study: Row[Any]) -> StudySpec:
    """What was recorded of a study, given as its row, at its creation; with its current budgets."""
    dataset = connection.execute(select(DATASET).where(DATASET.c.id == study.dataset_id)).one()
    facts = select(ENVIRONMENT.c.facts).where(ENVIRONMENT.c.id == study.environment_id)
    plugins = entrants(connection, study.id).values()
    return StudySpec(
        name=study.name,
        kind=study.kind,
        plugins=tuple(plugin_record(connection, key) for key in plugins),
        dataset=dataset.name,
        info=dataset.info,
        metrics=tuple((name, goal, unit) for name, goal, unit in study.metrics),
        space=study.space,
        settings=study.settings,
        environment=connection.execute(facts).scalar_one(),
        trials=study.budget_trials,
        timeout=study.budget_seconds,
        seed=study.seed,
    )
