"""Models as rows for training on: what was known before a fit, apart from what came of it.

Read as a stream, a network's trials together, so that memory does not grow with the database.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, func, select

from automl.core.errors import ConfigError
from automl.dataset_db.fingerprints import PERMUTATIONS
from automl.dataset_db.near_duplicates import Networks, check_threshold, cluster_of, join, networks
from automl.dataset_db.parts import codes
from automl.dataset_db.query import COMPLETE, MODELS, Row
from automl.dataset_db.schema import DATASET, PLUGIN, SOURCE, STUDY, TRIAL

FETCHED = 500  # rows with their code in memory at once
SPLITS = {2: ("train", "test"), 3: ("train", "validation", "test")}
OUTCOMES = frozenset(  # published configurations hold some of them: they tell the answer
    {
        *("accuracy", "best_accuracy", "best_epoch", "duration", "duration_seconds", "epoch_max"),
        *("gradient_norm", "samples_per_second", "test_accuracy", "test_loss", "train_accuracy"),
        *("train_loss", "uid", "val_accuracy", "val_loss"),
    }
)
COLUMNS = (
    TRIAL.c.id,
    TRIAL.c.study_id,
    TRIAL.c.number,
    TRIAL.c.plugin_id,
    PLUGIN.c.name.label("network"),
    PLUGIN.c.version,
    PLUGIN.c.family,
    DATASET.c.name.label("dataset"),
    DATASET.c.problem,
    STUDY.c.metric,
    STUDY.c.goal,
    TRIAL.c.config,
    TRIAL.c.techniques,
    TRIAL.c.objective,
    TRIAL.c.step,
    TRIAL.c.seconds,
    TRIAL.c.parameters,
    TRIAL.c.scores,
    SOURCE.c.name.label("source"),
    SOURCE.c.licence,
    SOURCE.c.origin,
)
FROM = MODELS.outerjoin(SOURCE, SOURCE.c.id == STUDY.c.source_id)


@dataclass(frozen=True)
class Selection:
    """Which models: complete trials, the best one of each network on each dataset, or all.

    Attributes:
        plugin, dataset, problem, source: Names to keep; ``None`` keeps all.
        every_trial: All complete trials instead of the best.
    """

    plugin: str | None = None
    dataset: str | None = None
    problem: str | None = None
    source: str | None = None
    every_trial: bool = False

    def trials(self) -> Select[Any]:
        """The ids of the trials."""
        equal = {
            PLUGIN.c.name: self.plugin,
            DATASET.c.name: self.dataset,
            DATASET.c.problem: self.problem,
            SOURCE.c.name: self.source,
        }
        kept: list[ColumnElement[bool]] = [
            column == value for column, value in equal.items() if value is not None
        ]
        if self.every_trial:
            return select(TRIAL.c.id).select_from(FROM).where(*COMPLETE, *kept)
        rank = func.row_number().over(
            partition_by=(TRIAL.c.plugin_id, TRIAL.c.dataset_id),
            order_by=(TRIAL.c.cost, TRIAL.c.id),
        )
        ranked = (
            select(TRIAL.c.id, rank.label("rank")).select_from(FROM).where(*COMPLETE, *kept)
        ).subquery()
        return select(ranked.c.id).where(ranked.c.rank == 1)


def stream(connection: Connection, chosen: Selection, *, code: bool = True) -> Iterator[list[Row]]:
    """The rows of the chosen trials in lists of at most 500, ordered by network.

    A row holds the columns of ``COLUMNS`` with ``config`` free of outcomes and, if asked for,
    ``code``: one text.
    """
    query = (
        select(*COLUMNS)
        .select_from(FROM)
        .where(TRIAL.c.id.in_(chosen.trials()))
        .order_by(TRIAL.c.plugin_id, TRIAL.c.dataset_id, TRIAL.c.cost, TRIAL.c.id)
        .execution_options(yield_per=FETCHED)
    )
    for some in connection.execute(query).partitions():
        yield completed(connection, [dict(row._mapping) for row in some], code=code)


def by_id(connection: Connection, trials: Sequence[int]) -> dict[int, Row]:
    """The rows of at most some hundred trials, with code, by their ids."""
    query = select(*COLUMNS).select_from(FROM).where(TRIAL.c.id.in_(trials))
    found = [dict(row._mapping) for row in connection.execute(query)] if trials else []
    return {row["id"]: row for row in completed(connection, found, code=True)}


def completed(connection: Connection, found: list[Row], *, code: bool) -> list[Row]:
    """Rows with what a fit was given, and their code if asked for."""
    texts = codes(connection, {row["plugin_id"] for row in found}) if code else {}
    for row in found:
        row["config"] = inputs(row["config"], row["metric"])
        row["code"] = one_text(texts.get(row["plugin_id"], {}))
    return found


def inputs(config: Mapping[str, Any], metric: str) -> Row:
    """The settings of a configuration that were known before the fit."""
    return {
        name: value
        for name, value in config.items()
        if name.lower() not in OUTCOMES
        and name.lower() != metric.lower()
        and not name.lower().startswith("metric_")
    }


def one_text(files: Mapping[str, str]) -> str | None:
    """The files of a network as one text; ``None`` if its code is unknown."""
    if not files:
        return None
    if len(files) == 1:
        return next(iter(files.values()))
    return "\n".join(f"# file: {name}\n{text.rstrip()}\n" for name, text in files.items())


# ---------------------------------------------------------------- splits


@dataclass(frozen=True)
class Grouping:
    """Which networks may not be separated.

    Attributes:
        found: All networks that have code.
        place: Where a network's id is in ``found``.
        group: The name of each network's group, by id: the same in every database.
    """

    found: Networks
    place: dict[int, int]
    group: dict[int, str]

    def of(self, row: Row) -> str:
        """The group of a row; a network without code is one of its own."""
        return self.group.get(row["plugin_id"], f"{row['network']} {row['version']}")


def grouping(connection: Connection, threshold: float, *, by_family: bool = False) -> Grouping:
    """Groups of networks: clusters of near-duplicates, joined by families if asked for.

    Raises:
        ConfigError: if the threshold is out of range.
    """
    check_threshold(threshold)
    found = networks(connection)
    place = {row["id"]: place for place, row in enumerate(found.rows)}
    return Grouping(found, place, group_names(found, threshold, by_family=by_family))


def group_names(found: Networks, threshold: float, *, by_family: bool) -> dict[int, str]:
    """The name of each network's group, by id."""
    labels = np.array(cluster_of(found, threshold), np.int64)
    if by_family:
        first: dict[str, int] = {}
        for place, row in enumerate(found.rows):
            if row["family"]:
                join(labels, place, first.setdefault(row["family"], place))
    names: dict[int, str] = {}
    for label, text in zip(labels.tolist(), found.normalised, strict=True):
        names[label] = min(names.get(label, text), text)
    return {
        row["id"]: names[label][:16] for row, label in zip(found.rows, labels.tolist(), strict=True)
    }


def fractions(text: str) -> dict[str, float]:
    """Read ``0.8,0.1,0.1`` or ``0.9,0.1``: train, (validation,) test.

    Raises:
        ConfigError: if these are not two or three fractions that sum to 1.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    good = all(0 <= value <= 1 for value in values) and abs(sum(values) - 1) < 1e-6
    if len(values) not in SPLITS or not good:
        raise ConfigError(
            f"split={text!r} must be two or three fractions that sum to 1, e.g. 0.8,0.1,0.1"
        )
    return dict(zip(SPLITS[len(values)], values, strict=True))


def assign(sizes: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """The split of each group, whole groups only.

    The largest come first, each to the split that lacks most: shares are met as closely as the
    largest groups allow. Groups of one size are shuffled by the seed.
    """

    def order(group: str) -> tuple[int, str]:
        return -sizes[group], hashlib.sha256(f"{seed} {group}".encode()).hexdigest()

    total = sum(sizes.values())
    lacks = {name: share * total for name, share in shares.items()}
    given: dict[str, str] = {}
    for group in sorted(sizes, key=order):
        given[group] = max(lacks, key=lambda name: lacks[name])
        lacks[given[group]] -= sizes[group]
    return given


def group_sizes(connection: Connection, chosen: Selection, groups: Grouping) -> dict[str, int]:
    """How many of the chosen trials each group has."""
    query = (
        select(TRIAL.c.plugin_id, PLUGIN.c.name, PLUGIN.c.version, func.count())
        .join(PLUGIN, PLUGIN.c.id == TRIAL.c.plugin_id)
        .where(TRIAL.c.id.in_(chosen.trials()))
        .group_by(TRIAL.c.plugin_id, PLUGIN.c.name, PLUGIN.c.version)
    )
    sizes: dict[str, int] = defaultdict(int)
    for key, name, version, count in connection.execute(query):
        row = {"plugin_id": key, "network": name, "version": version}
        sizes[groups.of(row)] += count
    return dict(sizes)


# ---------------------------------------------------------------- better neighbours

ALIKE = 0.5  # a neighbour shares at least so much with its anchor
BLOCK = 128  # anchors, and candidates, compared at once


def better_neighbours(
    connection: Connection, chosen: Selection, groups: Grouping, split_of: Mapping[str, str]
) -> dict[int, int]:
    """For trials the best other network's trial that is alike and scores better.

    Both are on one dataset, in one split, and differ in more than layout.
    """
    query = (
        select(TRIAL.c.id, TRIAL.c.plugin_id, TRIAL.c.dataset_id, STUDY.c.metric, TRIAL.c.cost)
        .join(STUDY, STUDY.c.id == TRIAL.c.study_id)
        .where(TRIAL.c.id.in_(chosen.trials()))
        .order_by(TRIAL.c.cost, TRIAL.c.id)
    )
    contests: dict[tuple[Any, ...], list[tuple[int, int, float]]] = defaultdict(list)
    for trial, plugin, dataset, metric, cost in connection.execute(query):
        if plugin in groups.place:
            split = split_of.get(groups.group[plugin])
            contests[dataset, metric, split].append((trial, groups.place[plugin], cost))
    better: dict[int, int] = {}
    for entries in contests.values():
        better |= best_alike(entries, groups.found)
    return better


def best_alike(entries: Sequence[tuple[int, int, float]], found: Networks) -> dict[int, int]:
    """For entries (trial, place of its network, cost), the best first, the best one alike."""
    trials = [trial for trial, _, _ in entries]
    hashes = found.minhash[[place for _, place, _ in entries]]
    texts = np.array([found.normalised[place] for _, place, _ in entries])
    costs = np.array([cost for _, _, cost in entries])
    least = int(ALIKE * PERMUTATIONS)
    better: dict[int, int] = {}
    for start in range(0, len(trials), BLOCK):
        anchors = np.arange(start, min(start + BLOCK, len(trials)))
        for other in range(0, start + BLOCK, BLOCK):
            rivals = np.arange(other, min(other + BLOCK, len(trials)))
            equal = np.count_nonzero(hashes[anchors][:, None] == hashes[rivals], axis=2)
            fits = (equal >= least) & (costs[rivals] < costs[anchors][:, None])
            fits &= texts[anchors][:, None] != texts[rivals]
            hit = fits.any(axis=1)
            for anchor, rival in zip(anchors[hit], rivals[fits.argmax(axis=1)[hit]], strict=True):
                better[trials[anchor]] = trials[rival]
            anchors = anchors[~hit]
            if not len(anchors):
                break
    return better
