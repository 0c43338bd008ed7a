"""Import published records: idempotent, resumable, in transactions of whole folders."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from automl.core.errors import DatabaseError
from automl.dataset_db.bulk import analyse, insert_rows, reserve
from automl.dataset_db.catalogue import put, sha256
from automl.dataset_db.engine import connect, transaction
from automl.dataset_db.lemur import networks
from automl.dataset_db.lemur.archive import Archive, open_archive
from automl.dataset_db.lemur.devices import put_device_run
from automl.dataset_db.lemur.records import Folder, Place, perplexity, place_of
from automl.dataset_db.schema import (
    DATASET,
    DEVICE_RUN,
    ENVIRONMENT,
    FLAG,
    SCORE,
    SOURCE,
    STUDY,
    STUDY_PLUGIN,
    TRIAL,
)
from automl.dataset_db.types import clean, dumps, now

STAT = "ab/nn/stat/"
OTHERS = ("run", "nn", "train", "prun")  # below stat/, beside folders of records
FOLDERS = 500  # in one transaction
TRIAL_COLUMNS = (
    *("id", "study_id", "dataset_id", "plugin_id", "number", "state", "label", "objective"),
    *("cost", "step", "seconds", "stopped", "failure_kind", "config", "params", "techniques"),
    "scores",
)
SCORE_COLUMNS = ("trial_id", "split", "step", "metric", "value")
FLAG_COLUMNS = ("id", "source_id", "trial_id", "step", "place", "reason", "detail")
Progress = Callable[[str, int, int], None]


@dataclass
class Layout:
    """The files of an archive by what they are."""

    folders: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    networks: dict[str, str] = field(default_factory=dict)  # name -> path
    texts: list[str] = field(default_factory=list)
    statistics: dict[str, str] = field(default_factory=dict)  # network -> path
    runs: list[str] = field(default_factory=list)
    aside: list[tuple[str, str]] = field(default_factory=list)  # path, reason


def layout(archive: Archive) -> Layout:
    """Sort the files of an archive; only JSON and Python matter."""
    found = Layout()
    for path in archive.paths:
        parts = path.split("/")
        if path.startswith(STAT) and path.endswith(".json"):
            sort_statistics(found, path, parts[3:])
        elif path.startswith("ab/nn/") and path.endswith(".py"):
            stem = parts[-1].removesuffix(".py")
            if parts[2] == "nn" and len(parts) == 4 and stem != "__init__":
                found.networks[stem] = path
            elif parts[2] in ("nn", "transform", "metric", "loader"):
                found.texts.append(path)
        elif path.endswith(".json"):
            found.aside.append((path, "outside the layout"))
    return found


def sort_statistics(found: Layout, path: str, parts: list[str]) -> None:
    """Sort a file below ``stat/``: ``[train/]FOLDER/EPOCH.json``, ``run/``, ``nn/NETWORK.json``."""
    kind = parts[0]
    if kind == "run":
        found.runs.append(path)
    elif kind == "nn":
        found.statistics[parts[-1].removesuffix(".json")] = path
    elif len(parts) == (3 if kind == "train" else 2) and kind not in OTHERS[3:]:
        if place_of(parts[-2]) is None:
            found.aside.append((path, "folder is not task_dataset_metric_network"))
        elif parts[-1].removesuffix(".json").isdecimal():
            found.folders[path.rpartition("/")[0]].append(path)
        else:
            found.aside.append((path, "file is not named by an epoch"))
    else:
        found.aside.append((path, "statistics of an unknown kind"))


def import_lemur(
    location: str | Path,
    db: str | None = None,
    *,
    name: str | None = None,
    update_changed: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Import the records of a wheel or checkout of nn-dataset; return what the database holds.

    Nothing of it is imported or executed. What is there already is left alone, so that an
    interrupted import goes on where it stopped and a second one changes nothing; of a folder whose
    files have changed, ``update_changed`` replaces the records. ``name`` is that of the source, by
    default ``lemur-VERSION``. ``progress`` is told ``(stage, done, total)``.

    Returns ``{source, folders, changed, **counts}``; see ``counted`` for the counts.

    Raises:
        DataError: if there are no published records, or a file of the archive is damaged.
        DatabaseError: if the database cannot be written, or does not hold what was read.
    """
    with open_archive(Path(location).expanduser()) as archive:
        engine = connect(db, write=True)
        try:
            return Importer(archive, engine, name, progress or silent).run(update_changed)
        finally:
            engine.dispose()


def silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody watches."""


class Importer:
    """One import of one archive."""

    def __init__(
        self, archive: Archive, engine: Engine, name: str | None, progress: Progress
    ) -> None:
        self.archive, self.engine, self.progress = archive, engine, progress
        self.layout = layout(archive)
        self.facts = archive.facts()
        self.name = name or f"lemur-{self.facts['version']}"

    def run(self, update_changed: bool) -> dict[str, Any]:
        """Import what is missing."""
        with transaction(self.engine) as connection:
            self.source = self.put_source(connection)
        self.plugins = networks.put_networks(
            self.engine, self.archive, self.layout.networks, self.progress
        )
        with transaction(self.engine) as connection:
            networks.put_texts(connection, self.source, self.archive, self.layout.texts)
            self.environment = put(connection, ENVIRONMENT, {"hash": sha256("{}")}, facts={})
            self.datasets: dict[tuple[str, str, str], int] = {}
        changed = self.put_folders(update_changed)
        with transaction(self.engine) as connection:
            self.put_rest(connection)
            counts = self.counted(connection)
            row = update(SOURCE).where(SOURCE.c.id == self.source)
            connection.execute(row.values(state="complete", counts=counts))
            analyse(connection)
        return {"source": self.name, "changed": changed, **counts}

    def put_source(self, connection: Connection) -> int:
        """The row of the source, which is being imported from now on."""
        rest = {**self.facts, "kind": "lemur", "state": "importing", "counts": {}}
        key = put(connection, SOURCE, {"name": self.name}, **rest)
        connection.execute(update(SOURCE).where(SOURCE.c.id == key).values(state="importing"))
        return key

    # ---------------------------------------------------------------- records

    def put_folders(self, update_changed: bool) -> int:
        """Import the folders that are not there yet; return how many have changed since."""
        there = self.there()
        wanted, changed = [], []
        for folder, paths in self.layout.folders.items():
            paths.sort(key=lambda path: int(PurePosixPath(path).stem))
            digest = there.get(PurePosixPath(folder).name)
            if digest is None:
                wanted.append(folder)
            elif digest != self.digest(paths):
                changed.append(folder)
        if update_changed:
            with transaction(self.engine) as connection:
                for folder in changed:
                    self.remove(connection, folder)
            wanted += changed
        total = len(self.layout.folders)
        for start in range(0, len(wanted), FOLDERS):
            some = wanted[start : start + FOLDERS]
            read = [self.read(folder) for folder in some]
            with transaction(self.engine) as connection:
                self.put_read(connection, read)
            self.progress("records", total - len(wanted) + start + len(some), total)
        return len(changed)

    def there(self) -> dict[str, int]:
        """The folders that the database has, with their digests."""
        query = select(STUDY.c.name, STUDY.c.settings).where(STUDY.c.source_id == self.source)
        with transaction(self.engine, reads=True) as connection:
            return {name: told["digest"] for name, told in connection.execute(query)}

    def remove(self, connection: Connection, folder: str) -> None:
        """Delete what an earlier import read in a folder."""
        mine = (STUDY.c.source_id == self.source, STUDY.c.name == PurePosixPath(folder).name)
        connection.execute(delete(STUDY).where(*mine))
        paths = self.layout.folders[folder]
        connection.execute(
            delete(FLAG).where(FLAG.c.source_id == self.source, FLAG.c.place.in_(paths))
        )

    def digest(self, paths: list[str]) -> int:
        """What tells whether the files of a folder are those of an earlier import."""
        stamps = "".join(f"{path}:{self.archive.stamp(path)}\n" for path in sorted(paths))
        return crc32(stamps.encode())

    def read(self, folder: str) -> Folder:
        """All records of a folder."""
        place = place_of(PurePosixPath(folder).name)
        assert place is not None
        paths = self.layout.folders[folder]
        found = Folder(folder, place, self.digest(paths))
        for path in paths:
            found.add(path, int(PurePosixPath(path).stem), self.archive.read(path))
        found.settle()
        return found

    def put_read(self, connection: Connection, folders: list[Folder]) -> None:
        """Write folders: a study each, their trials, scores and flags."""
        studies = reserve(connection, STUDY, len(folders))
        trials = reserve(connection, TRIAL, sum(len(folder.fits) for folder in folders))
        rows = Rows(self.source)
        made = []
        for folder in folders:
            study, plugin = next(studies), self.plugins.of(connection, folder.place.network)
            dataset = self.dataset(connection, folder.place)
            rows.take(folder, (study, dataset, plugin), trials)
            made.append(self.study_row(study, dataset, folder, rows.best))
        connection.execute(insert(STUDY), made)
        taken = [
            {"study_id": row["id"], "plugin_id": self.plugins.ids[row["plugin"]]} for row in made
        ]
        connection.execute(insert(STUDY_PLUGIN), taken)
        insert_rows(connection, TRIAL, TRIAL_COLUMNS, rows.trials)
        insert_rows(connection, SCORE, SCORE_COLUMNS, rows.scores)
        put_flags(connection, rows.flags)

    def study_row(
        self, study: int, dataset: int, folder: Folder, best: tuple[int, float] | None
    ) -> dict[str, Any]:
        """The row of a folder's study; ``best`` is the number and value of its best trial."""
        place, moment = folder.place, now()
        number, value = best or (None, None)
        return {
            "id": study,
            "name": PurePosixPath(folder.path).name,
            "kind": "import",
            "state": "complete",
            "plugin": place.network,
            "dataset_id": dataset,
            "environment_id": self.environment,
            "source_id": self.source,
            "metric": place.objective,
            "goal": "max",
            "unit": "",
            "metrics": [[place.objective, "max", ""]],
            "settings": {
                "digest": folder.digest,
                "task": place.task,
                "metric": place.metric,
                "records": folder.records,
                "files": len(self.layout.folders[folder.path]),
            },
            "space": {},
            "n_complete": len(folder.fits),
            "best_number": number,
            "best_value": value,
            "best_cost": math.inf if value is None else -value,
            "created_at": moment,
            "active_at": moment,
            "finished_at": moment,
        }

    def dataset(self, connection: Connection, place: Place) -> int:
        """The id of a folder's dataset."""
        key = (place.problem, place.dataset, place.task)
        if key not in self.datasets:
            info = {"problem": place.problem, "task": place.task, "origin": "LEMUR"}
            hashed = sha256(place.dataset + dumps(info))
            rest = {"name": place.dataset, "problem": place.problem, "info": info}
            self.datasets[key] = put(connection, DATASET, {"hash": hashed}, **rest)
        return self.datasets[key]

    # ---------------------------------------------------------------- what else there is

    def put_rest(self, connection: Connection) -> None:
        """Statistics of networks, runs on devices, and what was set aside; each once."""
        aside: list[tuple[str, str, Any]] = [
            (path, reason, self.archive.text(path) if path.startswith(STAT) else None)
            for path, reason in self.layout.aside
        ]
        aside += self.plugins.put_statistics(connection, self.archive, self.layout.statistics)
        made = select(DEVICE_RUN.c.place).where(DEVICE_RUN.c.source_id == self.source)
        there = set(connection.execute(made).scalars())
        for path in self.layout.runs:
            if path not in there:
                aside += put_device_run(connection, self.source, self.archive, self.plugins, path)
        places = (place_of(PurePosixPath(folder).name) for folder in self.layout.folders)
        seen = {place.network for place in places if place}
        aside += [
            (path, "network without records", None)
            for network, path in self.layout.networks.items()
            if network not in seen
        ]
        aside += [(name, "records without code", None) for name in self.plugins.bare]
        known = select(FLAG.c.place, FLAG.c.reason).where(
            FLAG.c.source_id == self.source, FLAG.c.trial_id.is_(None)
        )
        told = {(place, reason) for place, reason in connection.execute(known)}
        new = [(self.source, None, None, *one) for one in aside if one[:2] not in told]
        put_flags(connection, new)

    def counted(self, connection: Connection) -> dict[str, Any]:
        """What the database holds of the source, reconciled with what its files hold.

        ``records`` counts epochs of trials, ``files`` the files of records, ``flags`` the flags by
        reason; a record with two oddities has two.

        Raises:
            DatabaseError: if fewer or more records are in the database than were read.
        """
        mine = STUDY.c.source_id == self.source
        settings = connection.execute(select(STUDY.c.settings).where(mine)).scalars().all()
        trials = select(func.count()).select_from(TRIAL.join(STUDY)).where(mine)
        of = SCORE.join(TRIAL, TRIAL.c.id == SCORE.c.trial_id).join(STUDY)
        scored = select(func.count()).select_from(of)
        scored = scored.where(mine, SCORE.c.split == "test", SCORE.c.metric == STUDY.c.metric)
        held = connection.execute(scored).scalar_one()
        read = sum(row["records"] for row in settings)
        if held != read:
            raise DatabaseError(
                f"source {self.name}: {read} records were read, but {held} are in the database"
            )
        reasons = select(FLAG.c.reason, func.count()).where(FLAG.c.source_id == self.source)
        flags = connection.execute(reasons.group_by(FLAG.c.reason).order_by(FLAG.c.reason))
        runs = select(func.count()).where(DEVICE_RUN.c.source_id == self.source)
        return {
            "folders": len(settings),
            "files": sum(row["files"] for row in settings),
            "records": held,
            "trials": connection.execute(trials).scalar_one(),
            "networks": len(self.layout.networks),
            "texts": len(self.layout.texts),
            "device_runs": connection.execute(runs).scalar_one(),
            "flags": {reason: count for reason, count in flags},
        }


class Rows:
    """The rows of some folders, in the order of the tables' keys."""

    def __init__(self, source: int) -> None:
        self.source = source
        self.trials: list[tuple[Any, ...]] = []
        self.scores: list[tuple[Any, ...]] = []
        self.flags: list[tuple[Any, ...]] = []
        self.best: tuple[int, float] | None = None

    def take(self, folder: Folder, of: tuple[int, int, int], trials: Iterator[int]) -> None:
        """Add a folder; ``of`` are the ids of study, dataset and plugin."""
        metric, self.best = folder.place.objective, None
        for number, fit in enumerate(folder.fits.values()):
            trial = next(trials)
            scored = [(value, -step) for step, value in fit.scores.items() if value is not None]
            value, step = max(scored, default=(None, None))  # of equal ones the earliest
            if value is not None and (self.best is None or value > self.best[1]):
                self.best = (number, value)
            self.trials.append(
                (
                    *(trial, *of, number, "complete", clean(fit.uid), value),
                    *(math.inf if value is None else -value, None if step is None else -step),
                    *(fit.seconds[max(fit.seconds)] if fit.seconds else None, "", ""),
                    *(
                        dumps(fit.config),
                        "{}",
                        "{}",
                        dumps({} if value is None else {metric: value}),
                    ),
                )
            )
            self.score(trial, metric, fit)
            self.flags += [
                (self.source, trial, step, folder.path, reason, detail)
                for step, reason, detail in fit.flags
            ]
        self.flags += [(self.source, None, None, *aside) for aside in folder.aside]

    def score(self, trial: int, metric: str, fit: Any) -> None:
        """Add the scores of a trial by epoch."""
        found = {(trial, "test", step, metric): value for step, value in fit.scores.items()}
        if metric == "lemur_ppl":
            for step, value in fit.scores.items():
                if value is not None:
                    found[trial, "test", step, "perplexity"] = perplexity(value)
        for step, split, name, value in fit.more:
            found.setdefault((trial, split, step, name), value)
        for step, value in fit.seconds.items():
            found[trial, "train", step, "seconds"] = value
        self.scores += [(*key, value) for key, value in found.items()]


def put_flags(connection: Connection, flags: list[tuple[Any, ...]]) -> None:
    """Write flags: source, trial, step, place, reason, detail."""
    ids = reserve(connection, FLAG, len(flags))
    rows = [
        (next(ids), *flag[:3], clean(flag[3]), flag[4], None if flag[5] is None else dumps(flag[5]))
        for flag in flags
    ]
    insert_rows(connection, FLAG, FLAG_COLUMNS, rows)
