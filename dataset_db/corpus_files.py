"""Write models, or prompts made of them, as JSON lines, Parquet or a Hugging Face data set."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection

from automl.core.errors import ConfigError, DatabaseError
from automl.dataset_db import corpus, prompts
from automl.dataset_db.corpus import Grouping, Selection
from automl.dataset_db.engine import reading
from automl.dataset_db.near_duplicates import THRESHOLD
from automl.dataset_db.query import Row
from automl.dataset_db.types import dumps

Format = Literal["jsonl", "parquet", "hf"]
WHOLE = "all"  # the name of the only part where there are no splits
MODEL = {  # column -> what it is; JSON as text
    "model": "STUDY/NUMBER within the database",
    "network": "name of the network or plugin",
    "version": "its version",
    "family": "networks of one origin share it",
    "group": "near-duplicates, which are never in different splits, share it",
    "dataset": "what it was trained on",
    "problem": "kind of task",
    "metric": "the objective",
    "goal": "max or min",
    "config": "hyperparameters, as JSON; known before training",
    "techniques": "changes to training, as JSON; known before training",
    "code": "source text",
    "score": "the objective's best value; an outcome",
    "step": "epoch or step of the best value; an outcome",
    "seconds": "duration of the training; an outcome",
    "parameters": "trainable parameters; an outcome",
    "scores": "all metrics at the best step, as JSON; outcomes",
    "source": "imported data set, empty for searches of one's own",
    "licence": "of the source",
    "origin": "of the source",
}
PROMPT = {
    "prompt": "what is given",
    "completion": "what is to be written",
    "tokens": "of both, as counted",
    "trimmed": "whether functions were left out of the prompt's code",
    "model": MODEL["model"],
    "network": MODEL["network"],
    "group": MODEL["group"],
    "dataset": MODEL["dataset"],
    "source": MODEL["source"],
    "licence": MODEL["licence"],
    "origin": MODEL["origin"],
}
TYPES = {
    **dict.fromkeys(("version", "step", "parameters", "tokens"), pa.int64()),
    **dict.fromkeys(("score", "seconds"), pa.float64()),
    "trimmed": pa.bool_(),
}
AS_JSON = ("config", "techniques", "scores")


@dataclass(frozen=True)
class Options:
    """How models are written.

    Attributes:
        format: ``jsonl``, ``parquet`` or ``hf`` (a folder that ``datasets.load_dataset`` reads).
        split: Fractions of train, (validation and) test, e.g. ``0.8,0.1,0.1``; empty for none.
            The format ``hf`` splits so by default.
        threshold: Networks at least so alike are never in different splits.
        by_family: Neither are networks of one family.
        seed: Shuffles which groups of equal size go where.
        code: Whether to write source texts.
        template: Name or file of a template: prompts and completions are written instead.
        budget: Tokens that a prompt and its completion may have together.
        tokenizer: What counts them, see ``prompts.counter``.
    """

    format: Format = "jsonl"
    split: str = ""
    threshold: float = THRESHOLD
    by_family: bool = False
    seed: int = 0
    code: bool = True
    template: str = ""
    budget: int = 4096
    tokenizer: str = "approximate"

    def __post_init__(self) -> None:
        if self.format not in get_args(Format):
            raise ConfigError(f"format={self.format!r} must be {', '.join(get_args(Format))}")
        if self.budget < 1:
            raise ConfigError(f"budget={self.budget} must be at least 1 token")
        if self.template and not self.code:
            raise ConfigError("a template needs the code: leave out --no-code")

    @property
    def shares(self) -> dict[str, float]:
        """The fraction of each split; empty where there are none."""
        text = self.split or ("0.8,0.1,0.1" if self.format == "hf" else "")
        return corpus.fractions(text) if text else {}


@dataclass
class Written:
    """What has been written so far."""

    rows: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    trimmed: int = 0
    sources: dict[str, tuple[str, str]] = field(default_factory=dict)  # name -> licence, origin


def export_models(
    path: str | Path,
    db: str | None = None,
    *,
    chosen: Selection | None = None,
    options: Options | None = None,
    progress: Callable[[int, int], None] = lambda rows, total: None,
) -> Row:
    """Write models to a file, or to a folder where there are splits.

    The same database, selection and options give the same files. Memory is bounded by the code
    fingerprints (0.5 kB a network) and the 500 rows at hand. What fails leaves no file behind.

    Args:
        path: A file or folder that does not exist yet.
        db: A file or URL; by default AUTOML_DB, else ``./automl.db``.
        chosen: Which models; by default the best of each network on each dataset.
        options: How.
        progress: Told rows read, rows in all.

    Returns:
        path, rows of each split, left_out by reason, trimmed prompts.

    Raises:
        ConfigError: for options that make no sense, or if nothing is chosen or can be written.
        DatabaseError: if the path exists or cannot be written, or there is no readable database.
    """
    path, options = Path(path).expanduser(), options or Options()
    shares = options.shares
    if path.exists():
        raise DatabaseError(f"{path} exists already: name another path, or remove it")
    if not path.absolute().parent.is_dir():
        raise DatabaseError(f"{path} cannot be written: there is no folder {path.parent}")
    partial = path.with_name(f".{path.name}.partial")
    remove(partial)
    try:
        if shares:
            (partial / "data" if options.format == "hf" else partial).mkdir(parents=True)
        with reading(db) as connection:
            written = write(connection, partial, chosen or Selection(), options, progress)
        if options.format == "hf":
            card = data_card(path.name, options, written)
            (partial / "README.md").write_text(card, encoding="utf-8")
        partial.rename(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        remove(partial)
    return {
        "path": str(path),
        "rows": {name: written.rows[name] for name in shares or (WHOLE,)},
        "left_out": dict(written.left_out),
        "trimmed": written.trimmed,
    }


def unwritable(path: Path, error: OSError) -> DatabaseError:
    """What to raise when a file cannot be written."""
    return DatabaseError(f"{path} cannot be written: {error.strerror or error}")


def remove(path: Path) -> None:
    """Remove what an earlier, interrupted export left."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write(
    connection: Connection,
    path: Path,
    chosen: Selection,
    options: Options,
    progress: Callable[[int, int], None],
) -> Written:
    """Write the chosen models; tell how many."""
    groups = corpus.grouping(connection, options.threshold, by_family=options.by_family)
    sizes = corpus.group_sizes(connection, chosen, groups)
    if not sizes:
        raise ConfigError("no complete trial was chosen: leave out a filter, or search first")
    split_of = corpus.assign(sizes, options.shares or {WHOLE: 1.0}, options.seed)
    written, total, done = Written(), sum(sizes.values()), 0
    make: Callable[[list[Row]], Iterator[Row]] = model_rows
    if options.template:
        make = Prompts(connection, chosen, options, groups, split_of, written).rows
    columns = PROMPT if options.template else {**MODEL}
    if not options.code:
        del columns["code"]
    with ExitStack() as files:
        parts = Parts(path, options, columns, files)
        for some in corpus.stream(connection, chosen, code=options.code):
            for row in some:
                row["group"] = groups.of(row)
                if row["source"]:
                    written.sources[row["source"]] = row["licence"], row["origin"]
            for row in make(some):
                split = split_of[row["group"]]
                parts.add(split, {name: row[name] for name in columns})
                written.rows[split] += 1
            parts.flush()
            done += len(some)
            progress(done, total)
    if not written.rows:
        reasons = "; ".join(f"{reason}: {count}" for reason, count in written.left_out.items())
        raise ConfigError(f"nothing was written, every model was left out ({reasons})")
    return written


def model_rows(some: list[Row]) -> Iterator[Row]:
    """Rows of the data base with the columns of ``MODEL``."""
    for row in some:
        outcome = {"model": f"{row['study_id']}/{row['number']}", "score": row["objective"]}
        texts = {name: row[name] or "" for name in ("source", "licence", "origin")}
        yield {**row, **outcome, **texts}


class Prompts:
    """Makes prompts of rows."""

    def __init__(
        self,
        connection: Connection,
        chosen: Selection,
        options: Options,
        groups: Grouping,
        split_of: dict[str, str],
        written: Written,
    ) -> None:
        self.connection, self.written, self.budget = connection, written, options.budget
        self.template = prompts.template(options.template)
        self.count = prompts.counter(options.tokenizer)
        self.better: dict[int, int] = {}
        if self.template.pairs:
            self.better = corpus.better_neighbours(connection, chosen, groups, split_of)

    def rows(self, some: list[Row]) -> Iterator[Row]:
        """Rows with the columns of ``PROMPT``; those that cannot be are counted."""
        needs_code = not self.template.fields.isdisjoint(("code", "better_code"))
        wanted = [self.better[row["id"]] for row in some if row["id"] in self.better]
        found = corpus.by_id(self.connection, wanted)
        for row in model_rows(some):
            better = found.get(self.better.get(row["id"], -1))
            if needs_code and row["code"] is None:
                self.written.left_out["no code"] += 1
            elif self.template.pairs and better is None:
                self.written.left_out["no better network that is alike"] += 1
            else:
                values = prompts.values_of(row, better)
                filled = prompts.fill(self.template, values, self.budget, self.count)
                if filled is None:
                    self.written.left_out["over the budget"] += 1
                else:
                    self.written.trimmed += filled.trimmed
                    yield {**row, **vars(filled)}


# ---------------------------------------------------------------- files


class Parts:
    """The files of an export, one for each split."""

    def __init__(
        self, path: Path, options: Options, columns: dict[str, str], files: ExitStack
    ) -> None:
        self.path, self.options, self.files = path, options, files
        self.schema = pa.schema([(name, TYPES.get(name, pa.string())) for name in columns])
        self.waiting: dict[str, list[Row]] = {}
        self.opened: dict[str, Any] = {}

    def add(self, split: str, row: Row) -> None:
        """Add a row to a split."""
        self.waiting.setdefault(split, []).append(row)

    def flush(self) -> None:
        """Write the rows added.

        Raises:
            DatabaseError: if they cannot be written; told here, since ``reading`` would take it
                for an error of the database.
        """
        try:
            for split, rows in self.waiting.items():
                self.put(split, rows)
        except OSError as error:
            raise unwritable(self.path, error) from error
        self.waiting = {}

    def put(self, split: str, rows: list[Row]) -> None:
        """Write rows of a split."""
        if self.options.format == "jsonl":
            self.file(split).writelines(dumps(row) + "\n" for row in rows)
        else:
            flat = [{**row, **as_text(row)} for row in rows]
            self.file(split).write_table(pa.Table.from_pylist(flat, schema=self.schema))

    def file(self, split: str) -> Any:
        """The file of a split, opened when its first rows come."""
        if split not in self.opened:
            place = self.path / self.name(split) if self.options.shares else self.path
            if self.options.format == "jsonl":
                some: Any = place.open("w", encoding="utf-8")
            else:
                some = pq.ParquetWriter(place, self.schema, compression="zstd")
            self.opened[split] = self.files.enter_context(some)
        return self.opened[split]

    def name(self, split: str) -> str:
        """The name of a split's file within the folder."""
        if self.options.format == "hf":
            return f"data/{split}-00000-of-00001.parquet"
        return f"{split}.{self.options.format}"


def as_text(row: Row) -> dict[str, str]:
    """The JSON values of a row as text: their keys differ from row to row."""
    return {name: dumps(row[name]) for name in AS_JSON if name in row}


# ---------------------------------------------------------------- the card

LICENCES = {"MIT License": "mit", "MIT": "mit", "Apache License 2.0": "apache-2.0"}
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (10**6, "100K<n<1M"))
CARD = """\
---
pretty_name: "{name}"
license: {licence}
language:
- code
task_categories:
- {category}
tags:
- automl
- neural-architectures
- source-code
size_categories:
- {size}
configs:
- config_name: default
  data_files:
{files}
---
# {name}

{what} from an automl model database, {rows} rows.

| split | rows |
|---|---|
{splits}

## Splits
Whole groups of near-duplicates are in one split: networks whose code has a MinHash similarity of at
least {threshold} (sets of 7 consecutive tokens of the syntax tree, without layout, comments and
docstrings), chains of such pairs included{families}. Seed {seed}.

## Columns
| column | what it is |
|---|---|
{columns}

What is marked as an outcome came of the training: do not use it to predict another outcome.

## Sources
| source | licence | origin |
|---|---|---|
{sources}

## Limits
Published records may leave out failed and weak trainings and may have been chosen by their test
scores, so a predictor trained on them sees successes only. Scores of different datasets, metrics or
training recipes are not comparable.
"""


def data_card(name: str, options: Options, written: Written) -> str:
    """The README.md of a Hugging Face data set."""
    licences = {LICENCES.get(licence, "other") for licence, _ in written.sources.values()}
    splits = [name for name in options.shares if written.rows[name]]
    total = written.rows.total()
    columns = PROMPT if options.template else MODEL
    sources = sorted(written.sources.items())
    return CARD.format(
        name=name.replace('"', ""),
        licence=licences.pop() if len(licences) == 1 else "other",
        category="text-generation" if options.template else "tabular-regression",
        size=next((text for limit, text in SIZES if total < limit), "n>1M"),
        files="\n".join(f'  - split: {split}\n    path: "data/{split}-*"' for split in splits),
        what=f"Prompts of template {options.template!r}" if options.template else "Models",
        rows=total,
        splits="\n".join(f"| {split} | {written.rows[split]} |" for split in splits),
        threshold=options.threshold,
        families=", and whole families" if options.by_family else "",
        seed=options.seed,
        columns="\n".join(
            f"| `{key}` | {text} |"
            for key, text in columns.items()
            if options.code or key != "code"
        ),
        sources="\n".join(f"| {key} | {' | '.join(facts)} |" for key, facts in sources)
        or "| searches of one's own | | |",
    )
