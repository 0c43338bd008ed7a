"""Prepare a user's own data once: read, split, encode, compare with plain baselines, keep."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from automl.core.data import SplitName
from automl.core.errors import ConfigError, DataError, did_you_mean
from automl.core.own import memory, pictures, tables
from automl.core.own.baselines import baselines
from automl.core.own.dataset import folder_of
from automl.core.own.encoding import TableEncoder
from automl.core.settings import Settings, setting

PROBLEMS = (
    "auto",
    "tabular-classification",
    "tabular-regression",
    "image-classification",
    "sequence-classification",
)
FEWEST_ROWS = 10
FEWEST_OF_A_CLASS = 3  # one for each split
MOST_INTEGER_CLASSES = 20  # more different integers are a quantity
IMBALANCE = 3.0  # times that the largest class is the smallest, from which on they are weighted
FORMAT = 1  # of prepared folders; a change makes new ones
Array = NDArray[Any]
Notice = Callable[[str], None]


@dataclass(frozen=True)
class Ingest(Settings):
    """How a user's data is read; part of what a prepared dataset is named after."""

    target: str = setting("", doc="column to predict; for arrays the name of the answers, e.g. y")
    problem: str = setting("auto", choices=PROBLEMS, doc="what to learn; auto looks at the target")
    categorical: str = setting("", doc="columns of names that look like numbers, with commas")
    image_size: int = setting(0, low=0, high=2048, unit="pixels", doc="resize images; 0: as is")
    max_rows: int = setting(1_000_000, low=100, doc="longer tables are sampled down to this")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the splits")


@dataclass
class Raw:
    """What was read: raw inputs and answers, not yet split."""

    problem: str
    inputs: Array  # float32 (n, ...) or uint8 images
    answers: Array  # float64 numbers, or texts of classes
    columns: tuple[tables.Column, ...] = ()  # of a table
    told: list[str] = dataclass_field(default_factory=list)


def ingest(path: Path, options: Ingest, notice: Notice) -> str:
    """Prepare ``path`` (CSV, Parquet, NPZ or a folder of images) and return its dataset's name.

    The same file and options give the same name, and are prepared once.

    Raises:
        DataError: for anything wrong with the data, in one sentence.
        ConfigError: for options that do not fit them.
    """
    if not path.exists():
        raise DataError(f"there is no file or folder {str(path)!r}")
    digest = hashlib.sha256(json.dumps([FORMAT, options.to_dict()], sort_keys=True).encode())
    for piece in content(path):
        digest.update(piece)
    stem = re.sub(r"[^a-z0-9]+", "-", path.stem.lower()).strip("-") or "data"
    name = f"{stem}-{digest.hexdigest()[:8]}"
    folder = folder_of(name)
    if not (folder / "meta.json").exists():
        prepare(path, options, folder)
    for line in json.loads((folder / "meta.json").read_text())["told"]:
        notice(line)
    return f"data:id={name}"


def content(path: Path) -> Iterator[bytes]:
    """What identifies a source: a file's bytes; the names, sizes and times of a folder's files."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.is_file():
                facts = file.stat()
                name = file.relative_to(path)
                yield f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\n".encode()
        return
    with path.open("rb") as opened:
        while piece := opened.read(1 << 20):
            yield piece


def prepare(path: Path, options: Ingest, folder: Path) -> None:
    """Read, split and write a dataset; its folder appears complete, or not at all."""
    raw = read(path, options)
    if len(raw.inputs) < FEWEST_ROWS:
        raise DataError(
            f"{path} has {len(raw.inputs)} usable examples, too few: {FEWEST_ROWS} are the least"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        meta = write(raw, options, work) | {"source": str(path.resolve()), "told": raw.told}
        (work / "meta.json").write_text(json.dumps(meta, indent=1))
        if folder.exists():
            shutil.rmtree(folder)
        work.replace(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


# ---------------------------------------------------------------- reading


def read(path: Path, options: Ingest) -> Raw:
    """Whatever ``path`` is."""
    if path.is_dir():
        return read_images(path, options)
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return read_arrays(path, options)
    if suffix in tables.SUFFIXES:
        return read_table(path, options)
    raise DataError(
        f"{path} is none of .csv, .tsv, .parquet, .npz or a folder of images: convert it to one"
    )


def read_images(path: Path, options: Ingest) -> Raw:
    """A folder of images; the class is the folder."""
    refuse_problem(path, options, "image-classification")
    found = pictures.files_of(path)
    pixels = pictures.read([file for file, _ in found], options.image_size)
    shape = " x ".join(map(str, pixels.shape[1:]))
    answers = np.asarray([name for _, name in found])
    told = [f"{len(pixels)} images of {shape} (channels x height x width)"]
    return Raw("image-classification", pixels, answers, told=told)


def refuse_problem(path: Path, options: Ingest, only: str) -> None:
    """Refuse a problem that such data cannot be."""
    if options.problem not in ("auto", only):
        raise ConfigError(f"{path} can only be learnt as {only}, not as {options.problem}")


def read_table(path: Path, options: Ingest) -> Raw:
    """A table; every column but the target is an input."""
    if not options.target:
        raise ConfigError(f"name the column of {path} to predict with --target")
    frame, total = tables.read(path, options.max_rows, options.seed)
    frame.columns = [str(name).strip() for name in frame.columns]
    cells = tables.take_target(frame, options.target, path)
    told = []
    if total > len(frame):
        told.append(f"a random {len(frame):,} of {total:,} rows are used (max_rows)")
    known = tables.texts(cells).notna().to_numpy()
    if not known.all():
        told.append(f"{int((~known).sum()):,} rows without {options.target!r} are left out")
        frame, cells = frame[known].reset_index(drop=True), cells[known].reset_index(drop=True)
    columns = table_columns(frame, options, told)
    inputs = np.concatenate([column.encode(frame[column.name]) for column in columns], 1)
    problem, answers = answers_of(cells, options, told)
    return Raw(problem, inputs, answers, tuple(columns), told)


def table_columns(frame: Any, options: Ingest, told: list[str]) -> list[tables.Column]:
    """The inputs of a table; what is left out is told."""
    forced = {name.strip() for name in options.categorical.split(",") if name.strip()}
    for name in forced - set(frame.columns):
        raise ConfigError(
            f"there is no column {name!r} to take as categorical."
            f"{did_you_mean(name, frame.columns)}"
        )
    columns = []
    for name in frame.columns:
        if name == options.target:
            continue
        column = tables.infer(name, frame[name], name in forced)
        if column is None:
            told.append(f"column {name!r} has no values and is left out")
            continue
        columns.append(column)
        distinct = frame[name].nunique()
        if column.kind == "category" and distinct > tables.MOST_CATEGORIES:
            told.append(
                f"column {name!r} has {distinct:,} different values: the "
                f"{tables.MOST_CATEGORIES} most frequent are told apart"
            )
    if not columns:
        raise DataError(f"nothing is left to predict {options.target!r} from: add columns")
    kinds = [column.kind for column in columns]
    counts = {kind: kinds.count(kind) for kind in ("number", "category", "date")}
    told.append("inputs: " + ", ".join(f"{n} {kind}" for kind, n in counts.items() if n))
    return columns


def answers_of(cells: Any, options: Ingest, told: list[str]) -> tuple[str, Array]:
    """Classes as texts or numbers as such, with the problem that makes them one or the other."""
    found = tables.numbers(cells) if cells.dtype != bool else cells
    numeric = cells.dtype != bool and bool(found.notna().all())
    problem = options.problem
    if problem == "auto":
        whole = numeric and bool((found == found.round()).all())
        few = cells.nunique() <= min(MOST_INTEGER_CLASSES, max(2, len(cells) // 5))
        classes = not numeric or (whole and few)
        problem = f"tabular-{'classification' if classes else 'regression'}"
        other = "tabular-regression" if classes else "tabular-classification"
        hint = f" (--problem {other} if it is not)" if numeric else ""
        told.append(f"{options.target!r} has {cells.nunique():,} different values: {problem}{hint}")
    if problem == "tabular-regression":
        if not numeric:
            bad = tables.texts(cells)[found.isna()].iloc[0]
            raise DataError(
                f"the target {options.target!r} cannot be a quantity: it holds {bad!r}; use "
                "--problem tabular-classification"
            )
        return problem, found.to_numpy(dtype=np.float64)
    if problem != "tabular-classification":
        raise ConfigError(f"a table can be classified or regressed on, not learnt as {problem}")
    return problem, tables.texts(cells).to_numpy(dtype=str)


def read_arrays(path: Path, options: Ingest) -> Raw:
    """An NPZ file with inputs ``x`` and answers ``y`` (or another name, by --target)."""
    try:
        memory.check_fits(path, memory.unpacked(path))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, zipfile.BadZipFile, EOFError, MemoryError) as error:
        raise DataError(f"{path} cannot be read as arrays: {tables.first_line(error)}") from error
    target = options.target or next((n for n in ("y", "Y", "target", "labels") if n in arrays), "")
    if target not in arrays:
        raise DataError(
            f"{path} has no array of answers {target or 'y'!r}: it has "
            f"{', '.join(arrays) or 'none'}; name it with --target"
        )
    inputs = next((n for n in ("x", "X", "data", "inputs", "images") if n in arrays), "")
    others = [name for name in arrays if name != target]
    inputs = inputs or (others[0] if len(others) == 1 else "")
    if not inputs or inputs == target:
        raise DataError(f"{path} needs an array of inputs called x: it has {', '.join(arrays)}")
    return arrays_as_raw(path, arrays[inputs], arrays[target], options)


def arrays_as_raw(path: Path, x: Array, y: Array, options: Ingest) -> Raw:
    """Arrays by their shapes: (n, features), (n, steps, features) or images."""
    if len(x) != len(y) or (y.ndim != 1 and not (y.ndim == 2 and y.shape[1] == 1)):
        raise DataError(
            f"{path}: inputs of shape {x.shape} and answers of shape {y.shape} do not go together: "
            "one answer an example is needed"
        )
    if not np.issubdtype(x.dtype, np.number) and x.dtype != bool:
        raise DataError(f"{path}: inputs of type {x.dtype} must be numbers")
    if x.dtype != np.uint8 or x.ndim == 2:  # but for images, a number takes four bytes from here on
        memory.check_fits(path, 4 * x.size)
    cells = pd.Series(y.reshape(-1))
    told = [f"{len(x)} examples of shape {x.shape[1:]}"]
    if x.ndim == 2:
        columns = tuple(tables.Column(f"x{i}", "number") for i in range(x.shape[1]))
        named = Ingest.from_dict({**options.to_dict(), "target": options.target or "y"})
        problem, answers = answers_of(cells, named, told)
        inputs = x.astype(np.float32)
        inputs[~np.isfinite(inputs)] = np.nan
        return Raw(problem, inputs, answers, columns, told)
    if not np.isfinite(x).all():
        raise DataError(f"{path}: inputs contain NaN or infinity: only tables may")
    answers = tables.texts(cells).to_numpy(dtype=str)
    if options.problem == "sequence-classification" and x.ndim == 3:
        return Raw(options.problem, x.astype(np.float32), answers, told=told)
    if x.ndim not in (3, 4) or options.problem not in ("auto", "image-classification"):
        raise ConfigError(
            f"{path}: inputs of shape {x.shape} cannot be learnt as {options.problem}"
        )
    return Raw("image-classification", as_images(path, x), answers, told=told)


def as_images(path: Path, x: Array) -> Array:
    """(n, height, width) or with channels first or last, to (n, channels, height, width)."""
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in (1, 3, 4) and x.shape[-1] in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    if x.min() < 0 or x.max() > 1:
        raise DataError(
            f"{path}: pixels from {x.min():g} to {x.max():g} must be in [0, 1], or of type uint8"
        )
    return np.ascontiguousarray(x, dtype=np.float32)


# ---------------------------------------------------------------- splitting and writing


def write(raw: Raw, options: Ingest, folder: Path) -> dict[str, Any]:
    """Write the splits and the encoder; return the facts."""
    classes: list[str] = []
    facts: dict[str, Any] = {"target": options.target or "class"}
    if raw.problem.endswith("regression"):
        answers, index = raw.answers, split_rows(len(raw.answers), None, options.seed)
        mean, std = float(answers[index["train"]].mean()), float(answers[index["train"]].std())
        if std == 0:
            raise DataError(f"the target {facts['target']!r} has one value only: nothing to learn")
        facts |= {"target_mean": mean, "target_std": std}
        target = ((answers - mean) / std).astype(np.float32)[:, None]
        balanced = False
    else:
        classes, target, balanced = encode_classes(raw, facts["target"])
        index = split_rows(len(target), target, options.seed)
        facts["class_names"] = classes
    encoder = fit_encoder(raw, index["train"])
    if encoder is not None:
        facts["columns"] = [column.to_dict() for column in raw.columns]
        state = {key: value.contiguous() for key, value in encoder.state_dict().items()}
        safetensors.torch.save_file(state, folder / "encoder.safetensors")
    for name, rows in index.items():
        columns = {"raw": raw.inputs[rows], "target": target[rows]}
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in columns.items()}
        safetensors.torch.save_file(tensors, folder / f"{name}.safetensors")
    shape = [encoder.width] if encoder is not None else list(raw.inputs.shape[1:])
    facts["baselines"] = baselines(raw.inputs, target, index, encoder, raw.problem, raw.columns)
    return {
        "format": FORMAT,
        "problem": raw.problem,
        "balanced": balanced,
        "classes": classes,
        "shapes": {"x": shape, "target": list(target.shape[1:])},
        "sizes": {name: len(rows) for name, rows in index.items()},
        "facts": facts,
        "options": options.to_dict(),
    }


def encode_classes(raw: Raw, target: str) -> tuple[list[str], Array, bool]:
    """Class names, their numbers (n,), and whether rare classes need weight."""
    classes, numbers, counts = np.unique(raw.answers, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise DataError(
            f"{target!r} is {str(classes[0])!r} everywhere: two classes are needed to learn"
        )
    if counts.min() < FEWEST_OF_A_CLASS:
        rare = str(classes[counts.argmin()])
        raise DataError(
            f"class {rare!r} of {target!r} has {counts.min()} example"
            f"{'s' if counts.min() > 1 else ''}, too few to be in training, validation and test: "
            "add examples, or remove or merge the class"
        )
    balanced = bool(counts.max() > IMBALANCE * counts.min())
    if balanced:
        raw.told.append(
            f"the classes have {counts.min():,} to {counts.max():,} examples: they count alike "
            "(weighted loss, balanced accuracy)"
        )
    return [str(name) for name in classes], numbers.reshape(-1).astype(np.int64), balanced


def split_rows(count: int, classes: Array | None, seed: int) -> dict[SplitName, Array]:
    """A fifth for the test, a fifth of the rest for validation; stratified by class."""
    rows = np.arange(count)
    share = 0.2
    if classes is not None:  # every class in every split
        share = max(0.2, len(np.unique(classes)) / count)
    rest, test = train_test_split(rows, test_size=share, stratify=classes, random_state=seed)
    again = None if classes is None else classes[rest]
    if again is not None:
        share = max(0.2, len(np.unique(again)) / len(rest))
    train, valid = train_test_split(rest, test_size=share, stratify=again, random_state=seed)
    found: dict[SplitName, Array] = {"train": train, "valid": valid, "test": test}
    return found


def fit_encoder(raw: Raw, train: Array) -> TableEncoder | None:
    """The transformers of a table, fitted on its training rows."""
    if not raw.columns:
        return None
    kinds = [column.kind for column in raw.columns for _ in column.inputs]
    numeric = [i for i, kind in enumerate(kinds) if kind != "category"]
    category = [i for i, kind in enumerate(kinds) if kind == "category"]
    return TableEncoder.fitted(raw.inputs[train], numeric, category)
