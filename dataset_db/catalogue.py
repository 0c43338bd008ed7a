"""What studies refer to and share: papers, plugins, code, datasets, environments."""

from __future__ import annotations

import ast
import hashlib
import json
from typing import Any

from sqlalchemy import Connection, Row, Table, insert, select

from automl.core.record import StudySpec
from automl.dataset_db.tables import Code, Dataset, Environment, Paper, Plugin, PluginCode

PAPER, PLUGIN, CODE = Paper.__table__, Plugin.__table__, Code.__table__  # type: ignore[attr-defined]
PLUGIN_CODE = PluginCode.__table__  # type: ignore[attr-defined]
DATASET, ENVIRONMENT = Dataset.__table__, Environment.__table__  # type: ignore[attr-defined]


def sha256(text: str) -> str:
    """The hash of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def normalised(text: str) -> str:
    """A hash that ignores layout, comments and docstrings; of the lines if it is not Python."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return sha256("\n".join(line.strip() for line in text.splitlines()))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_docstring(body[0]):
            body.pop(0)
    return sha256(ast.dump(tree))


def is_docstring(node: ast.AST) -> bool:
    """Whether a statement is a bare text."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def put(connection: Connection, table: Table, key: dict[str, Any], **rest: Any) -> int:
    """The id of the row with these key columns, inserted if there is none."""
    query = select(table.c.id).where(*(table.c[name] == value for name, value in key.items()))
    found = connection.execute(query).scalar()
    if found is None:
        made = connection.execute(insert(table).values(**key, **rest)).inserted_primary_key
        assert made is not None
        found = made[0]
    return int(found)


def study_parents(connection: Connection, spec: StudySpec) -> dict[str, int]:
    """Record what a study refers to; return its foreign keys."""
    paper = dict(spec.paper)
    paper_key = {"title": paper.pop("title"), "year": paper.pop("year")}
    paper_id = put(connection, PAPER, paper_key, **paper)
    code_hash = sha256("".join(f"{n}\0{t}\0" for n, t in sorted(spec.code.items())))
    plugin_key = {"name": spec.plugin, "version": spec.plugin_version, "code_hash": code_hash}
    plugin_id = put(connection, PLUGIN, plugin_key, paper_id=paper_id)
    known = select(PLUGIN_CODE.c.file).where(PLUGIN_CODE.c.plugin_id == plugin_id).limit(1)
    if connection.execute(known).first() is None:
        for file, text in spec.code.items():
            more = {"normalised": normalised(text), "text": text}
            code_id = put(connection, CODE, {"sha256": sha256(text)}, **more)
            link = {"plugin_id": plugin_id, "file": file, "code_id": code_id}
            connection.execute(insert(PLUGIN_CODE).values(**link))
    info_hash = sha256(spec.dataset + json.dumps(spec.info, sort_keys=True, default=str))
    problem = spec.info["problem"]
    dataset = {"name": spec.dataset, "problem": problem, "info": spec.info}
    facts = spec.environment
    facts_hash = sha256(json.dumps(facts, sort_keys=True))
    return {
        "plugin_id": plugin_id,
        "dataset_id": put(connection, DATASET, {"hash": info_hash}, **dataset),
        "environment_id": put(connection, ENVIRONMENT, {"hash": facts_hash}, facts=facts),
    }


def plugin_code(connection: Connection, plugin_id: int) -> dict[str, str]:
    """The texts of a plugin by file name."""
    query = (
        select(PLUGIN_CODE.c.file, CODE.c.text)
        .join(CODE, CODE.c.id == PLUGIN_CODE.c.code_id)
        .where(PLUGIN_CODE.c.plugin_id == plugin_id)
        .order_by(PLUGIN_CODE.c.file)
    )
    return {file: text for file, text in connection.execute(query)}


def study_texts(connection: Connection, study: Row[Any]) -> dict[str, Any]:
    """Those fields of a ``StudySpec`` that live in the shared tables."""
    plugin = connection.execute(select(PLUGIN).where(PLUGIN.c.id == study.plugin_id)).one()
    paper = connection.execute(select(PAPER).where(PAPER.c.id == plugin.paper_id)).one()
    dataset = connection.execute(select(DATASET).where(DATASET.c.id == study.dataset_id)).one()
    facts = select(ENVIRONMENT.c.facts).where(ENVIRONMENT.c.id == study.environment_id)
    return {
        "plugin": plugin.name,
        "plugin_version": plugin.version,
        "paper": {key: paper._mapping[key] for key in ("title", "year", "arxiv", "authors")},
        "code": plugin_code(connection, plugin.id),
        "dataset": dataset.name,
        "info": dataset.info,
        "environment": connection.execute(facts).scalar_one(),
    }
