"""What a file of published statistics says: records by trial, and what is odd about each."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from functools import cache
from hashlib import md5
from typing import Any

import orjson

Record = dict[str, Any]
MD5 = re.compile(r"[0-9a-f]{32}")
DAY = 86_400.0
PROBLEMS = {  # LEMUR's tasks by the names of our problems
    "img-classification": "image-classification",
    "img-segmentation": "image-segmentation",
    "img-captioning": "image-captioning",
    "obj-detection": "object-detection",
    "txt-generation": "text-generation",
    "txt-image": "text-to-image",
}
METRICS = {
    "acc": "accuracy",
    "map": "lemur_map",
    "ppl": "lemur_ppl",
}  # the last two are LEMUR's own
MEASURED = {  # what later versions tell of an epoch, by split; never settings
    **dict.fromkeys(("train_loss", "train_accuracy", "gradient_norm"), "train"),
    **dict.fromkeys(("samples_per_second", "lr_now", "duration_seconds"), "train"),
    **dict.fromkeys(("test_loss", "best_accuracy", "best_epoch", "epoch_max"), "test"),
}
SURROUNDINGS = ("cpu_", "gpu_", "ram_", "total_ram_", "occupied_", "total_gpu_")
NAMED = ("task", "dataset", "metric", "model")  # repeat the folder's name


@dataclass(frozen=True)
class Place:
    """What the name of a folder says: ``task_dataset_metric_network``."""

    task: str
    dataset: str
    metric: str
    network: str

    @property
    def problem(self) -> str:
        """The task by our name."""
        return PROBLEMS.get(self.task, self.task)

    @property
    def objective(self) -> str:
        """The first metric, by our name."""
        first = self.metric.split(",")[0]
        return METRICS.get(first, first)


def place_of(folder: str) -> Place | None:
    """The parts of a folder's name; ``None`` if there are not four."""
    parts = folder.split("_", 3)
    return Place(*parts) if len(parts) == 4 and all(parts) else None


@dataclass
class Fit:
    """One trial: its settings, and a score and cumulative seconds by epoch."""

    uid: str
    config: Record
    scores: dict[int, float | None] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    more: list[tuple[int, str, str, float]] = field(default_factory=list)  # epoch, split, metric
    flags: list[tuple[int, str, Any]] = field(default_factory=list)  # epoch, reason, detail


@dataclass
class Folder:
    """What the files of one folder say; ``digest`` tells whether they have changed since."""

    path: str
    place: Place
    digest: int
    fits: dict[tuple[str, int], Fit] = field(default_factory=dict)
    records: int = 0
    aside: list[tuple[str, str, Any]] = field(default_factory=list)  # file, reason, content

    def add(self, file: str, epoch: int, content: bytes) -> None:
        """Read one file: the records of all trials at an epoch."""
        try:
            found, odd = parsed(content)
        except ValueError as error:
            text = content.decode("utf-8", "replace")
            self.aside.append((file, f"not JSON: {error}", text))
            return
        best = math.inf
        for index, record in enumerate(found):
            if not isinstance(record, dict):
                self.aside.append((file, "not a record", record))
                continue
            fit = self.take(record, epoch)
            score = fit.scores[epoch]
            if odd:
                fit.flags.append((epoch, odd, None))
            if score is not None:
                if score > best:
                    fit.flags.append((epoch, "not sorted by score", index))
                best = score

    def take(self, record: Record, epoch: int) -> Fit:
        """Add a record to its trial."""
        self.records += 1
        told = dict(record)
        score, uid = told.pop("accuracy", None), told.pop("uid", None)
        duration, key = told.pop("duration", None), told.pop("epoch", None)
        more, unmapped = apart(told, self.place) if tells_of_epoch(tuple(told)) else ([], {})
        flags: list[tuple[str, Any]] = []
        if uid is None:
            uid = hash_of(told)
            flags.append(("no uid", None))
        fit = self.fit_of(str(uid), told, epoch, flags)
        fit.scores[epoch] = self.score(score, flags)
        if duration is None:
            flags.append(("no duration", None))
        elif number(duration) is None:
            flags.append(("duration is not a number", duration))
        else:
            fit.seconds[epoch] = duration / 1e9  # nanoseconds
            if duration > DAY * 1e9:
                flags.append(("longer than a day", duration))
        if key is not None:
            same = isinstance(key, int) and key == epoch
            flags.append(("epoch told twice" if same else "another epoch than the file's", key))
        if epoch == 0:
            flags.append(("epoch 0", None))
        if unmapped:
            flags.append(("unmapped", unmapped))
        fit.more += [(epoch, *score) for score in more]
        fit.flags += [(epoch, *flag) for flag in flags]
        return fit

    def score(self, score: Any, flags: list[tuple[str, Any]]) -> float | None:
        """The score as a number; what is none is flagged."""
        value = number(score)
        if value is None:
            flags.append(("no score" if score is None else "nonfinite", str(score)))
        return value

    def fit_of(self, uid: str, config: Record, epoch: int, flags: list[tuple[str, Any]]) -> Fit:
        """The trial that a record belongs to: of its uid, with its settings, without this epoch."""
        turn = 0
        while (fit := self.fits.get((uid, turn))) is not None:
            if epoch not in fit.scores and fit.config == config:
                break
            turn += 1
        else:
            fit = self.fits[uid, turn] = Fit(uid, config)
        if turn:
            flags.append(("uid told before", turn))
        return fit

    def settle(self) -> None:
        """Flag the records whose settings are odd; once all files are read."""
        for fit in self.fits.values():
            for reason, detail in odd_settings(fit):
                fit.flags += [(epoch, reason, detail) for epoch in fit.scores]


def parsed(content: bytes) -> tuple[list[Any], str]:
    """The records of a file, and what is odd about all of them.

    Raises:
        ValueError: if it is not JSON.
    """
    odd = ""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value = json.loads(content)  # takes NaN and Infinity, which are no JSON
        odd = "file with nonfinite numbers"
    if isinstance(value, dict):
        return [value], "a single record"
    if not isinstance(value, list):
        raise ValueError(f"holds {type(value).__name__}, not records")
    return value, odd


def apart(told: Record, place: Place) -> tuple[list[tuple[str, str, float]], Record]:
    """Take what was measured at an epoch out of the settings: scores, and what has no place."""
    nested = told.pop("train_stat", None)
    found = dict(nested) if isinstance(nested, dict) else {}
    for name in [name for name in told if measured(name)]:
        found[name] = told.pop(name)
    for name in NAMED:
        if name in told and told[name] == getattr(place, "network" if name == "model" else name):
            del told[name]
        elif name in told:
            found[name] = told.pop(name)
    scores, rest = [], {}
    for name, value in found.items():
        plain = number(value)
        if plain is None or not isinstance(value, int | float):
            rest[name] = value
        else:
            metric = name.removeprefix("metric_")
            scores.append((MEASURED.get(name, "test"), METRICS.get(metric, metric), plain))
    if nested is not None and not isinstance(nested, dict):
        rest["train_stat"] = nested
    return scores, rest


@cache
def tells_of_epoch(names: tuple[str, ...]) -> bool:
    """Whether settings with these names hold something of an epoch; there are few sets of names."""
    return any(name in NAMED or name == "train_stat" or measured(name) for name in names)


def measured(name: str) -> bool:
    """Whether a key tells of an epoch, not of settings."""
    return (
        name in MEASURED
        or name == "layer_stat"
        or name.startswith("metric_")
        or name.startswith(SURROUNDINGS)
    )


def odd_settings(fit: Fit) -> list[tuple[str, Any]]:
    """What is odd about the settings of a trial."""
    config, found = fit.config, []
    batch = config.get("batch")
    if not (isinstance(batch, int) and batch > 0 and batch & (batch - 1) == 0):
        found.append(("batch is no power of two", batch))
    if "batch_size" in config:
        found.append(("batch_size beside batch", config["batch_size"]))
    if "momentum" not in config:
        found.append(("no momentum", None))
    if not MD5.fullmatch(fit.uid):
        found.append(("uid is no md5", fit.uid))
    return found


def number(value: Any) -> float | None:
    """The value as a finite float, or ``None``."""
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def hash_of(config: Record) -> str:
    """A name for settings that came without one."""
    text = json.dumps(config, sort_keys=True, default=str)
    return md5(text.encode(), usedforsecurity=False).hexdigest()


def perplexity(score: float) -> float:
    """The perplexity behind LEMUR's score s = 1 - (ln(1 + p) - ln 2) / (ln 1001 - ln 2)."""
    return math.exp(math.log(2) + (1 - score) * (math.log(1001) - math.log(2))) - 1
