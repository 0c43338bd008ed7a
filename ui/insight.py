"""The helper process of the browser application: what only the engine knows, as JSON.

Each function here is a question of ``automl.ui.asking.ask``. The models of imported networks are
built by their plugin, which keeps them in its sandbox.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
import torch

from automl.core.data import Dataset, SplitName
from automl.core.discovery import catalogue
from automl.core.entrants import resolve
from automl.core.errors import AutoMLError, DataError, ExportError, SandboxError
from automl.core.own.ingest import PROBLEMS, Ingest, ingest
from automl.core.plan import SearchPlan
from automl.core.plugin import Plugin
from automl.core.search import aims, described
from automl.core.settings import SCALARS, Settings, field_types
from automl.core.study import SearchSettings

if TYPE_CHECKING:
    from automl.core.trial import TrialTask

Row = dict[str, Any]
MOST_NUMBERS = 60_000  # of one sample's tensor that is sent
MOST_ROWS = 100  # of a table that is looked at for its columns
KEPT_MODELS = 4
LARGEST_INPUT = 1_000_000  # numbers


# ---------------------------------------------------------------- what can be chosen


def search_settings() -> Row:
    """The settings of a search, and the problems of own data."""
    settings = SearchSettings()
    return {"settings": fields(settings), "problems": list(PROBLEMS)}


def space(plugin: str, dataset: str, full: bool = False, overrides: tuple[str, ...] = ()) -> Row:
    """A plugin's settings on a dataset, and which of them are searched.

    Raises:
        AutoMLError: as a search would, for names and settings that do not fit.
    """
    found, data = resolve(plugin, dataset)
    base: Settings = (found.full if full else found.defaults).updated(overrides)
    values = base.to_dict()
    fixed = {text.partition("=")[0].strip() for text in overrides}
    plan = SearchPlan(
        found,
        base,
        data.info,
        SearchSettings(sampler="random"),
        aims(data, SearchSettings()),
        pinned={name: values[name] for name in fixed},
        techniques=(),
        parallel=False,
    )
    searched = described(plan.distributions)
    return {
        "plugin": found.name,
        "dataset": data.name,
        "metrics": [dataclasses.asdict(metric) for metric in data.problem.metrics],
        "settings": [{**row, "searched": searched.pop(row["name"], None)} for row in fields(base)],
        "others": searched,
        "options": [row for row in fields(data) if row["name"] != "name"],
    }


def fields(settings: Settings) -> list[Row]:
    """Each setting: its kind, value, range or choices, unit and meaning."""
    types = field_types(type(settings))  # type: ignore[arg-type]
    return [
        {
            "name": field.name,
            "kind": types[field.name].__name__ if types[field.name] in SCALARS else "str",
            "value": getattr(settings, field.name),
            "low": field.metadata.get("low"),
            "high": field.metadata.get("high"),
            "choices": list(field.metadata.get("choices") or ()),
            "unit": field.metadata.get("unit", ""),
            "doc": field.metadata.get("doc", ""),
        }
        for field in dataclasses.fields(settings)
    ]


def claims(plugin: str) -> list[Row]:
    """What a plugin says that its paper claims, checked or not."""
    found = catalogue().plugin(plugin)
    return [
        {"claim": c.name, "statement": c.statement, "source": c.source, "scale": c.scale}
        for c in found.claims
    ]


def columns(path: str) -> list[str]:
    """The columns of a table, or the names of the arrays in an NPZ file.

    Raises:
        DataError: if it cannot be read.
    """
    from automl.core.own import tables

    file = Path(path)
    if file.suffix.lower() != ".npz":
        frame, _ = tables.read(file, MOST_ROWS, 0)
        return [str(name).strip() for name in frame.columns]
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return list(arrays.files)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise DataError(f"{file.name} cannot be read as NPZ: {error}") from None


def prepared(path: str, options: Row) -> Row:
    """A user's own data as a dataset: its name, its problem, its size, what was noticed.

    Raises:
        AutoMLError: for anything wrong with the data or the options.
    """
    told: list[str] = []
    name = ingest(Path(path), Ingest.from_dict(options), told.append)
    info = catalogue().dataset(name).info
    return {"dataset": name, "told": told, **info.to_dict()}


# ---------------------------------------------------------------- datasets


def dataset(spec: str) -> Row:
    """What is known of a dataset without loading it.

    Raises:
        AutoMLError: if there is none of that name, or it cannot be had here.
    """
    found = catalogue().dataset(spec)
    info = found.info
    metrics = [dataclasses.asdict(metric) for metric in info.problem.metrics]
    options = [row for row in fields(found) if row["name"] != "name"]
    return {**info.to_dict(), "metrics": metrics, "batch": dict(info.problem.batch),
            "options": options}  # fmt: skip


def samples(spec: str, split: SplitName = "test", start: int = 0, count: int = 8) -> Row:
    """Examples of a dataset, each a mapping of names to nested lists, with what is known of it.

    Raises:
        AutoMLError: if it cannot be loaded.
    """
    found = catalogue().dataset(spec)
    whole = found.split(split)
    first = min(max(0, start), max(0, len(whole) - count))
    batch = whole.take(slice(first, first + count))
    taken = len(next(iter(batch.values())))
    return {
        **dataset(spec),
        "split": split,
        "start": first,
        "total": len(whole),
        "examples": [
            {name: plain(column[i]) for name, column in batch.items()} for i in range(taken)
        ],
    }


def plain(tensor: torch.Tensor) -> Any:
    """A tensor as nested lists; what JSON cannot say is ``None``, and too much is its shape."""
    if tensor.numel() > MOST_NUMBERS:
        return {"shape": list(tensor.shape)}
    found = tensor.detach().cpu()
    return finite(found.tolist())


def finite(value: Any) -> Any:
    """The same with ``None`` for what is not finite."""
    if isinstance(value, list):
        return [finite(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


# ---------------------------------------------------------------- models


@lru_cache(maxsize=KEPT_MODELS)
def subject(task: str) -> Any:
    """A trained model with what goes around it, by its task as JSON."""
    from automl.core.trial import TrialTask
    from automl.export.subject import Subject

    return Subject.load(TrialTask(**json.loads(task)))


@lru_cache(maxsize=KEPT_MODELS)
def session(file: str, modified: float) -> Any:
    """An exported file in onnxruntime."""
    from automl.export.session import Session

    return Session(Path(file))


def run(task: Row, file: str, inputs: Row) -> Row:
    """A model's answers to ``inputs``: in onnxruntime if ``file`` names an export, else in PyTorch.

    Raises:
        AutoMLError: if the model cannot be loaded, or does not take such inputs.
    """
    if file:
        loaded = session(file, Path(file).stat().st_mtime)
        types = {put.name: put.type for put in loaded.onnx.get_inputs()}
        feeds = {name: array(value, types.get(name, "")) for name, value in inputs.items()}
        try:
            answers = dict(zip(loaded.outputs, loaded.run(feeds), strict=True))
        except Exception as error:
            raise ExportError(f"the model does not take this input: {error}") from error
        return {"outputs": {name: plain(torch.as_tensor(a)) for name, a in answers.items()}}
    found = subject(json.dumps(task, sort_keys=True))
    wanted = found.exportable.inputs
    given = {
        name: torch.from_numpy(array(value)).to(wanted[name].dtype)
        for name, value in inputs.items()
        if name in wanted
    }
    try:
        with torch.no_grad():
            answered = found.eager()(given)
    except SandboxError as error:
        subject.cache_clear()  # what is kept of it does not answer any more
        raise ExportError(
            f"the model's code ended in its sandbox ({error}): ask again, another one is started"
        ) from error
    except (RuntimeError, ValueError, IndexError) as error:
        raise ExportError(f"the model does not take this input: {error}") from error
    return {"outputs": {name: plain(value) for name, value in answered.items()}}


def array(value: Any, kind: str = "") -> Any:
    """Nested lists as an array of an ONNX type; ``None`` is NaN."""
    whole = "int64" in kind
    found = np.asarray(value, dtype=np.int64 if whole else np.float32)
    if found.size > LARGEST_INPUT:
        raise DataError(f"{found.size:,} numbers are too many: {LARGEST_INPUT:,} at most")
    return found


def inputs(task: Row) -> Row:
    """What a model takes, and what goes around it: columns and class names of own data."""
    found = subject(json.dumps(task, sort_keys=True))
    facts = found.deployment.facts if found.deployment is not None else {}
    raw = found.deployment.raw[:1] if found.deployment is not None else None
    return {
        "inputs": {name: list(value.shape) for name, value in found.exportable.inputs.items()},
        "outputs": list(found.exportable.outputs),
        "facts": json.loads(json.dumps(facts, default=str)),
        "raw": None if raw is None else plain(raw[0]),
    }


def layers(task: Row) -> Row:
    """The layers of a trial's model, which is built anew without its weights, and how they join.

    Raises:
        AutoMLError: if its plugin or its dataset is gone, or refuses the recorded settings.
    """
    from automl.core.trial import TrialTask
    from automl.ui.layers import traced

    given = TrialTask(**task)
    found, data = built(given)
    config = type(found.defaults).from_dict(given.config)
    model = found.build(config, data.info)
    return traced(model, found.example(config, data.info))


def built(task: TrialTask) -> tuple[Plugin[Any, Any], Dataset]:
    """The plugin and the dataset of a task."""
    return catalogue().plugin(task.plugin), catalogue().dataset(task.dataset)


# ---------------------------------------------------------------- answering

QUESTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        search_settings, space, claims, columns, prepared, dataset, samples, run, inputs, layers,
    )
}  # fmt: skip


def answer(said: Row) -> Row:
    """The answer to one question, or what is wrong with it."""
    try:
        return {"answer": QUESTIONS[said["question"]](**said["given"])}
    except AutoMLError as error:
        return {"error": str(error)}
    except Exception as error:  # noqa: BLE001  foreign code: plugins and datasets
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer until whoever asks is gone."""
    torch.set_num_threads(1)
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    while True:
        try:
            asked = json.loads(pipe.recv_bytes())
        except EOFError:
            return
        pipe.send_bytes(json.dumps(answer(asked)).encode())


if __name__ == "__main__":
    main()
