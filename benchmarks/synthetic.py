"""Large databases for benchmarks, written straight into a SQLite file in seconds."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

from database import SPEC

from automl.dataset_db.store import Store

SPACE = {
    "no-op": {
        "lr": {
            "name": "FloatDistribution",
            "attributes": {"low": 0.0001, "high": 0.2, "log": True, "step": None},
        },
        "depth": {
            "name": "IntDistribution",
            "attributes": {"low": 0, "high": 8, "log": False, "step": 1},
        },
    }
}
# A constant that no small number divides scatters the objectives over [0, 1) without repetition.
FILL = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :many)
INSERT INTO trial (study_id, dataset_id, plugin_id, number, state, label, objective, cost, step,
                   seconds, parameters, stopped, failure_kind, config, params, techniques, scores,
                   started_at, finished_at)
SELECT :first + i % :studies,
       1 + i % :datasets, 1, i / :studies, CASE WHEN i % 50 THEN 'complete' ELSE 'failed' END, '',
       (i * 7919 % 1000003) / 1000003.0, -(i * 7919 % 1000003) / 1000003.0, 10,
       1.5, 1000 + i % 977, '', '',
       '{"lr":' || (0.0001 + (i * 31 % 997) / 9970.0) || ',"depth":' || (i % 9) || '}',
       '{"lr":' || (0.0001 + (i * 31 % 997) / 9970.0) || ',"depth":' || (i % 9) || '}', '{}',
       '{"accuracy":' || ((i * 7919 % 1000003) / 1000003.0) || '}',
       strftime('%Y-%m-%d %H:%M:%f', '2026-01-01', '+' || (i / :studies) || ' seconds'),
       strftime('%Y-%m-%d %H:%M:%f', '2026-01-01', '+' || (i / :studies + 1) || ' seconds')
FROM n
"""
SUMMARISE = """
UPDATE study SET state = 'complete',
    (n_complete, n_failed, best_value) = (
        SELECT count(*) FILTER (WHERE state = 'complete'), count(*) FILTER (WHERE state = 'failed'),
               max(objective) FILTER (WHERE state = 'complete')
        FROM trial WHERE study_id = study.id)
WHERE id >= :first
"""
CURVES = """
WITH RECURSIVE s(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM s WHERE step < :steps)
INSERT INTO score (trial_id, split, step, metric, value)
SELECT trial.id, 'valid', s.step, 'accuracy', objective * s.step / :steps
FROM trial, s WHERE study_id = :study
"""


def fill(db: Path, many: int, studies: int, datasets: int) -> int:
    """Write ``many`` trials of as many new studies and datasets; return the first study's number.

    Objectives are scattered evenly over [0, 1); one trial of 50 has failed.
    """
    with Store(db, artifacts=db.parent) as store:
        numbers = []
        for number in range(studies):
            name = f"nothing-{number % datasets}"
            info = {**SPEC.info, "name": name}
            spec = replace(SPEC, name=f"no-op {number}", dataset=name, info=info, space=SPACE)
            numbers.append(store.create_study(spec))
    first = numbers[0]
    connection = sqlite3.connect(db, isolation_level=None)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-200000")
    # An index is built from all rows at once in a fraction of the time.
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master "
        "WHERE type = 'index' AND tbl_name = 'trial' AND sql IS NOT NULL"
    ).fetchall()
    connection.execute("BEGIN")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    about = {"many": many, "studies": studies, "datasets": datasets, "first": first}
    connection.execute(FILL, about)
    for _, statement in indexes:
        connection.execute(statement)
    connection.execute(SUMMARISE, {"first": first})
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return first


def report(db: Path, study: int, steps: int) -> None:
    """Write a curve of ``steps`` points for each trial of a study."""
    with sqlite3.connect(db) as connection:
        connection.execute(CURVES, {"study": study, "steps": steps})
