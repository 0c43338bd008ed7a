"""Networks whose code is alike: exact duplicates and near-duplicates.

A network's similarity to another is the fraction of equal places of their MinHashes, an estimate
of the Jaccard similarity of their sets of 7 consecutive tokens (see ``fingerprints``). A network
of several files has the MinHash of all of them together: the least value of each place.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Select, select

from automl.core.errors import ConfigError, UnknownName, did_you_mean
from automl.dataset_db.catalogue import sha256
from automl.dataset_db.engine import reading
from automl.dataset_db.fingerprints import PERMUTATIONS, fingerprint
from automl.dataset_db.schema import CODE, PLUGIN, PLUGIN_CODE, SOURCE, STUDY, STUDY_PLUGIN

THRESHOLD = 0.9
LEAST = 0.5  # below it networks of one framework all look alike, and the index finds everything
FETCHED = 2_000  # texts without a fingerprint in one query
Row = dict[str, Any]
Hashes = NDArray[np.uint32]


@dataclass(frozen=True)
class Networks:
    """Networks with their code's fingerprints, in the order of their ids.

    Attributes:
        rows: id, name, version and family of each of n networks.
        normalised: Of each, what is equal for exact duplicates.
        minhash: Shape (n, 128).
    """

    rows: list[Row]
    normalised: list[str]
    minhash: Hashes


def duplicates(
    db: str | None = None, *, threshold: float = THRESHOLD, source: str | None = None
) -> Row:
    """Groups of networks with the same code, and clusters of those with nearly the same.

    Args:
        db: A file or URL; by default AUTOML_DB, else ``./automl.db``.
        threshold: From which similarity two networks are near-duplicates, from 0.5 to 1. A chain
            of such pairs makes one cluster, so its ends may be less alike.
        source: Only networks that this imported source has records of.

    Returns:
        ``networks`` and ``distinct`` (after layout, comments and docstrings are ignored), both
        counts, and two lists of groups, the largest first: ``exact`` of equal code and ``near`` of
        clusters with at least two distinct texts. A group is a list of networks: id, name,
        version, family.

    Raises:
        ConfigError: if the threshold is out of range.
        UnknownName: if there is no such source.
        DatabaseError: if there is no readable database.
    """
    check_threshold(threshold)
    with reading(db) as connection:
        found = networks(connection, source)
    first = representatives(found.normalised)
    cluster = cluster_of(found, threshold)
    exact, near = defaultdict(list), defaultdict(list)
    for index, row in enumerate(found.rows):
        exact[first[index]].append(row)
        near[cluster[index]].append(row)
    several = {cluster[index] for index in first if cluster[index] != first[index]}
    return {
        "threshold": threshold,
        "networks": len(found.rows),
        "distinct": len(exact),
        "exact": largest_first(group for group in exact.values() if len(group) > 1),
        "near": largest_first(group for key, group in near.items() if key in several),
    }


def largest_first(groups: Iterable[list[Row]]) -> list[list[Row]]:
    """Groups by size, those of one size by their first network."""
    return sorted(groups, key=lambda group: (-len(group), group[0]["id"]))


def clusters(
    db: str | None = None, *, threshold: float = THRESHOLD, source: str | None = None
) -> dict[int, int]:
    """For each network's id that of the first network of its cluster.

    Two networks of different clusters are less alike than the threshold: a cluster on one side of
    a split leaks nothing to the other.

    Raises:
        ConfigError, UnknownName, DatabaseError: see ``duplicates``.
    """
    check_threshold(threshold)
    with reading(db) as connection:
        found = networks(connection, source)
    ids = [row["id"] for row in found.rows]
    return {ids[n]: ids[first] for n, first in enumerate(cluster_of(found, threshold))}


def check_threshold(threshold: float) -> None:
    """Refuse a threshold that means nothing."""
    if not LEAST <= threshold <= 1:
        raise ConfigError(f"threshold={threshold} must be from {LEAST} to 1, e.g. {THRESHOLD}")


# ---------------------------------------------------------------- reading


def networks(connection: Connection, source: str | None = None) -> Networks:
    """All networks that have code, or those of a source."""
    rows: list[Row] = []
    texts: list[str] = []
    hashes: list[Hashes] = []
    files: list[tuple[str, bytes]] = []
    for row, mark in marked(connection, source):
        if not rows or rows[-1]["id"] != row["id"]:
            if files:
                add_network(files, texts, hashes)
            rows.append(row)
            files = []
        files.append(mark)
    if files:
        add_network(files, texts, hashes)
    matrix = np.array(hashes, np.uint32).reshape(len(rows), PERMUTATIONS)
    return Networks(rows, texts, matrix)


def add_network(files: list[tuple[str, bytes]], texts: list[str], hashes: list[Hashes]) -> None:
    """Add a network's fingerprints from those of its files."""
    normalised = sorted(text for text, _ in files)
    texts.append(normalised[0] if len(files) == 1 else sha256("".join(normalised)))
    values = [np.frombuffer(mark, "<u4") for _, mark in files]
    hashes.append(values[0] if len(files) == 1 else np.min(values, axis=0))


def marked(connection: Connection, source: str | None) -> Iterable[tuple[Row, tuple[str, bytes]]]:
    """Each file of each network with its fingerprint, those of one network together."""
    query = (
        select(
            *(PLUGIN.c[name] for name in ("id", "name", "version", "family")),
            *(CODE.c[name] for name in ("id", "normalised", "minhash")),
        )
        .join(PLUGIN_CODE, PLUGIN_CODE.c.plugin_id == PLUGIN.c.id)
        .join(CODE, CODE.c.id == PLUGIN_CODE.c.code_id)
        .order_by(PLUGIN.c.id, PLUGIN_CODE.c.file)
    )
    if source is not None:
        query = query.where(PLUGIN.c.id.in_(plugins_of(connection, source)))
    found = connection.execute(query).all()
    missing = computed(connection, [row[4] for row in found if row[6] is None])
    for key, name, version, family, code, normalised, mark in found:
        row = {"id": key, "name": name, "version": version, "family": family}
        yield row, (normalised, mark if mark is not None else missing[code])


def computed(connection: Connection, codes: Sequence[int]) -> dict[int, bytes]:
    """The MinHashes of texts that were recorded before there were any."""
    found: dict[int, bytes] = {}
    for start in range(0, len(codes), FETCHED):
        chunk = codes[start : start + FETCHED]
        rows = connection.execute(select(CODE.c.id, CODE.c.text).where(CODE.c.id.in_(chunk))).all()
        marks = fingerprint(text for _, text in rows)
        found |= {key: mark.minhash for (key, _), mark in zip(rows, marks, strict=True)}
    return found


def plugins_of(connection: Connection, source: str) -> Select[Any]:
    """The ids of a source's networks.

    Raises:
        UnknownName: if there is no such source.
    """
    names = connection.execute(select(SOURCE.c.name)).scalars().all()
    if source not in names:
        raise UnknownName(
            f"there is no source {source!r}.{did_you_mean(source, names)} "
            f"Known: {', '.join(names) or 'none, `automl db import` brings one'}."
        )
    return (
        select(STUDY_PLUGIN.c.plugin_id)
        .join(STUDY, STUDY.c.id == STUDY_PLUGIN.c.study_id)
        .join(SOURCE, SOURCE.c.id == STUDY.c.source_id)
        .where(SOURCE.c.name == source)
    )


# ---------------------------------------------------------------- grouping


def representatives(keys: Sequence[str]) -> list[int]:
    """For each key the place of the first equal one."""
    first: dict[str, int] = {}
    return [first.setdefault(key, place) for place, key in enumerate(keys)]


def cluster_of(found: Networks, threshold: float) -> list[int]:
    """For each network the place of the first one of its cluster.

    No pair is missed: with one band more than places may differ, one band of a pair is all equal,
    and within each band only equal ones need to be compared.
    """
    first = np.array(representatives(found.normalised), np.int64)
    distinct = np.flatnonzero(first == np.arange(len(first)))
    hashes = np.ascontiguousarray(found.minhash[distinct])
    labels = np.arange(len(distinct))
    differ = PERMUTATIONS - math.ceil(threshold * PERMUTATIONS - 1e-9)
    width = PERMUTATIONS // (differ + 1)
    buckets = [bucket for at in range(differ + 1) for bucket in equal_in(hashes, at * width, width)]
    for bucket in buckets:  # cheap, and most of the work below is then done
        alike = matches(hashes[bucket[1:]], hashes[bucket[:-1]]) >= PERMUTATIONS - differ
        for one, other in zip(bucket[1:][alike], bucket[:-1][alike], strict=True):
            join(labels, one, other)
    for bucket in buckets:
        join_all(labels, hashes, bucket, PERMUTATIONS - differ)
    of_distinct = dict(zip(distinct.tolist(), distinct[labels].tolist(), strict=True))
    return [of_distinct[place] for place in first.tolist()]


def equal_in(hashes: Hashes, start: int, width: int) -> Iterator[NDArray[np.int64]]:
    """The places whose hashes are equal in a band, each group in ascending order."""
    band = np.ascontiguousarray(hashes[:, start : start + width])
    keys = band.view(np.dtype((np.void, band.dtype.itemsize * width))).ravel()
    _, group, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(sizes)
    for number in np.flatnonzero(sizes > 1):
        yield order[ends[number] - sizes[number] : ends[number]]


def matches(one: Hashes, other: Hashes) -> NDArray[np.int64]:
    """How many places of the last axis are equal."""
    equal: NDArray[np.int64] = np.count_nonzero(one == other, axis=-1)
    return equal


def join(labels: NDArray[np.int64], one: int, other: int) -> None:
    """Make one cluster of those of two places, labelled by its first place."""
    low, high = sorted((labels[one], labels[other]))
    if low != high:
        labels[labels == high] = low


def join_all(
    labels: NDArray[np.int64], hashes: Hashes, bucket: NDArray[np.int64], least: int
) -> None:
    """Join every pair of a bucket with at least so many equal places."""
    before = labels[bucket]
    names, sizes = np.unique(before, return_counts=True)
    for name in names[np.argsort(sizes)][:-1]:  # the largest has then met all others
        for place in bucket[before == name]:
            others = bucket[labels[bucket] != labels[place]]
            for other in others[matches(hashes[others], hashes[place]) >= least]:
                join(labels, place, other)
