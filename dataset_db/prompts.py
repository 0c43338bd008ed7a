"""Prompts and completions made of models, for training and asking language models."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import string
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from automl.core.errors import ConfigError, MissingExtra, did_you_mean
from automl.dataset_db.query import Row

Counter = Callable[[str], int]
FEATURES = ("task", "dataset", "metric", "goal", "hyperparameters", "code", "network", "family")
OUTCOMES = ("score", "step")  # in completions only: a prompt that held them would tell the answer
NEIGHBOUR = ("better_code", "better_hyperparameters", "better_score")
BYTES_PER_TOKEN = 3  # of code; current tokenizers take 3 to 4, so this counts rather too many
LEFT_OUT = "# left out to fit: "


@dataclass(frozen=True)
class Template:
    """A prompt and a completion with named fields in braces; ``{{`` stands for a brace.

    Attributes:
        name: What it is called.
        prompt: May use task, dataset, metric, goal, hyperparameters (JSON), code, network, family.
        completion: May also use score and step and, of a better network that is alike,
            better_code, better_hyperparameters, better_score.

    Raises:
        ConfigError: for a field that does not exist or would tell the answer, or a stray brace.
    """

    name: str
    prompt: str
    completion: str

    def __post_init__(self) -> None:
        check(self, "prompt", FEATURES)
        check(self, "completion", (*FEATURES, *OUTCOMES, *NEIGHBOUR))

    @property
    def fields(self) -> set[str]:
        """The fields that it uses."""
        return set(fields(self.prompt)) | set(fields(self.completion))

    @property
    def pairs(self) -> bool:
        """Whether it needs a better neighbour."""
        return not self.fields.isdisjoint(NEIGHBOUR)


def fields(text: str) -> list[str]:
    """The names in braces.

    Raises:
        ValueError: for a stray brace, or a field with more than a name.
    """
    names = []
    for _, name, specification, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if specification or conversion or not name.isidentifier():
            raise ValueError(f"{{{name}}} must be a plain name")
        names.append(name)
    return names


def check(template: Template, part: str, allowed: tuple[str, ...]) -> None:
    """Refuse a text with fields that it may not use."""
    try:
        names = fields(getattr(template, part))
    except ValueError as error:
        raise ConfigError(
            f"the {part} of template {template.name!r} is malformed: {error}; write {{{{ for a "
            "brace"
        ) from error
    for name in names:
        if name not in allowed:
            raise ConfigError(
                f"the {part} of template {template.name!r} uses {{{name}}}."
                f"{did_you_mean(name, allowed)} It may use: {', '.join(allowed)}."
            )


TASK = """\
Task: {task}
Dataset: {dataset}
Metric: {metric} ({goal})
"""
BUILT_IN = {
    template.name: template
    for template in (
        Template(
            "predict",
            TASK + "Hyperparameters: {hyperparameters}\nCode:\n```python\n{code}\n```\n"
            "Which {metric} will this network reach?\n",
            "{score}",
        ),
        Template(
            "improve",
            TASK + "Hyperparameters: {hyperparameters}\nCode:\n```python\n{code}\n```\n"
            "Write a network of this kind that reaches a better {metric}, and its "
            "hyperparameters.\n",
            "Hyperparameters: {better_hyperparameters}\nCode:\n```python\n{better_code}\n```\n",
        ),
        Template(
            "write",
            TASK + "Write a network for this task and its hyperparameters.\n",
            "Hyperparameters: {hyperparameters}\nCode:\n```python\n{code}\n```\n",
        ),
    )
}


def template(given: str) -> Template:
    """A built-in template by its name, or one in a TOML file with ``prompt`` and ``completion``.

    Raises:
        ConfigError: if there is neither, or the file is malformed.
    """
    if given in BUILT_IN:
        return BUILT_IN[given]
    path = Path(given).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"there is no template {given!r}.{did_you_mean(given, BUILT_IN)} Built in: "
            f"{', '.join(BUILT_IN)}; or name a TOML file with prompt and completion"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ConfigError(f"template {given} cannot be read as TOML: {error}") from error
    texts = {key: content.get(key) for key in ("prompt", "completion")}
    if set(content) != set(texts) or not all(isinstance(text, str) for text in texts.values()):
        raise ConfigError(
            f"template {given} must hold two texts, prompt and completion, and no more"
        )
    return Template(path.stem, str(texts["prompt"]), str(texts["completion"]))


# ---------------------------------------------------------------- tokens


def approximate(text: str) -> int:
    """About how many tokens: a third of the bytes, rather too many than too few for code."""
    return math.ceil(len(text.encode("utf-8", "replace")) / BYTES_PER_TOKEN)


def counter(name: str) -> Counter:
    """What counts tokens: ``approximate``, ``tiktoken:ENCODING`` or a tokenizer.json file.

    Raises:
        ConfigError: if there is no such encoding or file.
        MissingExtra: if the package for it is not installed.
    """
    if name == "approximate":
        return approximate
    package = "tiktoken" if name.startswith("tiktoken:") else "tokenizers"
    if package == "tokenizers" and not Path(name).is_file():
        raise ConfigError(
            f"tokenizer={name!r} must be approximate, tiktoken:ENCODING or a tokenizer.json file"
        )
    if importlib.util.find_spec(package) is None:
        raise MissingExtra(f"tokenizer={name!r} needs {package}: pip install {package}")
    module = importlib.import_module(package)
    try:
        if package == "tiktoken":
            encoding = module.get_encoding(name.partition(":")[2])
            return lambda text: len(encoding.encode(text, disallowed_special=()))
        tokenizer = module.Tokenizer.from_file(name)
    except Exception as error:
        raise ConfigError(f"tokenizer={name!r} cannot be loaded: {error}") from error
    return lambda text: len(tokenizer.encode(text).ids)


# ---------------------------------------------------------------- filling


@dataclass(frozen=True)
class Filled:
    """A prompt and its completion, with their tokens."""

    prompt: str
    completion: str
    tokens: int
    trimmed: bool = False


def values_of(row: Row, better: Row | None = None) -> dict[str, str]:
    """What a template's fields stand for, of a row of ``corpus.stream`` and a better one."""
    values = {
        "task": row["problem"],
        "dataset": row["dataset"],
        "metric": row["metric"],
        "goal": {"max": "more is better", "min": "less is better"}[row["goal"]],
        "hyperparameters": json.dumps(row["config"], sort_keys=True),
        "code": (row["code"] or "").strip("\n"),
        "network": row["network"],
        "family": row["family"],
        "score": f"{row['objective']:.4f}",
        "step": str(row["step"] or ""),
    }
    if better is not None:
        values["better_code"] = (better["code"] or "").strip("\n")
        values["better_hyperparameters"] = json.dumps(better["config"], sort_keys=True)
        values["better_score"] = f"{better['objective']:.4f}"
    return values


def fill(
    template: Template, values: Mapping[str, str], budget: int, count: Counter
) -> Filled | None:
    """The prompt and completion, of at most ``budget`` tokens together; ``None`` if they can't be.

    Only the prompt's code is trimmed, at the borders of functions, the first ones first, since
    the network as a whole comes last. A completion is what is to be learnt.
    """
    completion = template.completion.format_map(values)
    left = budget - count(completion)

    def filled(code: str, trimmed: bool) -> Filled | None:
        prompt = template.prompt.format_map({**values, "code": code})
        used = count(prompt)
        return Filled(prompt, completion, used + budget - left, trimmed) if used <= left else None

    whole = filled(values["code"], False)
    if whole is not None or left <= 0 or "code" not in fields(template.prompt):
        return whole
    borders = functions(values["code"])
    low, high = 1, len(borders)  # the fewest functions to leave out, by halving
    best = None
    while low <= high:
        middle = (low + high) // 2
        attempt = filled(without(values["code"], borders[:middle]), True)
        if attempt is None:
            low = middle + 1
        else:
            best, high = attempt, middle - 1
    return best


def functions(code: str) -> list[tuple[str, int, int]]:
    """The functions and methods of a text: name, first and last line, none within another."""
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    found = []
    stack: list[ast.AST] = [tree]
    while stack:
        node = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min([child.lineno, *(mark.lineno for mark in child.decorator_list)])
                found.append((child.name, first, child.end_lineno or child.lineno))
            elif isinstance(child, ast.ClassDef):
                stack.append(child)
    return sorted(found, key=lambda one: one[1])


def without(code: str, left_out: list[tuple[str, int, int]]) -> str:
    """The text without some functions; a comment in place of each names it."""
    lines = code.split("\n")
    for name, first, last in reversed(left_out):
        line = lines[first - 1]
        indent = line[: len(line) - len(line.lstrip())]
        lines[first - 1 : last] = [f"{indent}{LEFT_OUT}{name}"]
    return "\n".join(lines)
