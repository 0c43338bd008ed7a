"""Reads a model's text, from wherever it is, and what its text declares; runs nothing."""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib.util
import math
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from automl.core.api import ConfigError
from automl.core.api import policy as rules

MODELS = "ab/nn/nn/"  # where LEMUR's wheels keep the models
OWN = ("lr", "momentum", "dropout", "batch", "transform", "epoch", "pretrained")
USUAL = 0.5  # of a hyperparameter that declares no default; all are shares of one
SMALL = Path(__file__).with_name("small.py")


@dataclass(frozen=True)
class Source:
    """A model: its name, where its text comes from, the text, and what it declares.

    ``declared`` maps every hyperparameter to its default where it gives one.
    """

    name: str
    place: str
    code: str
    declared: dict[str, float | None]

    @property
    def sha256(self) -> str:
        """The hash of the text."""
        return hashlib.sha256(self.code.encode()).hexdigest()

    @property
    def further(self) -> dict[str, float]:
        """Hyperparameters that only this model has, with their defaults."""
        names = sorted(self.declared.keys() - set(OWN))
        return {name: default_of(self.declared[name]) for name in names}


def default_of(declared: float | None) -> float:
    """A share between 0 and 1."""
    return USUAL if declared is None or not 0 <= declared <= 1 else declared


def read(reference: str, allow_unsafe: bool = False) -> Source:
    """The model that ``reference`` names: a file, ``WHEEL!NAME`` or the code itself.

    Raises:
        ConfigError: if there is no such model, or its text is not in LEMUR's format.
        PolicyError: if its text does what is not allowed (unless ``allow_unsafe``).
    """
    return examined(*locate(reference), allow_unsafe)


@cache
def examined(name: str, place: str, code: str, allow_unsafe: bool) -> Source:
    """The model of a text; raises as ``read``."""
    tree = rules.parse(code, place)
    if not allow_unsafe:
        rules.check(tree, place)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Net"]
    if not classes:
        raise ConfigError(f"{place}: no class Net: a model in LEMUR's format defines one")
    missing = absent(tree)
    if missing:
        line, module = missing[0]
        raise ConfigError(f"{place}:{line}: needs {module}, which is not installed here")
    return Source(name, place, code, hyperparameters(tree, place))


def locate(reference: str) -> tuple[str, str, str]:
    """Name, place and text of a model.

    Raises:
        ConfigError: if it is nowhere.
    """
    if "\n" in reference:
        return "Net", "the given code", reference
    path, inside, member = reference.removeprefix("zip:").partition("!")
    if inside:
        changed = Path(path).stat().st_mtime_ns if Path(path).is_file() else 0
        return from_archive(Path(path), member, changed)
    file = Path(reference) if reference else SMALL
    try:
        return file.stem, str(file), file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"model={reference!r} cannot be read ({error}): give FILE.py, WHEEL.whl!NAME or code"
        ) from None


@cache
def from_archive(archive: Path, member: str, changed: int) -> tuple[str, str, str]:
    """A model of a wheel, by its name or its path inside; ``changed`` is the wheel's time."""
    try:
        with zipfile.ZipFile(archive) as file:
            names = set(file.namelist())
            wanted = member if member.endswith(".py") else f"{MODELS}{member}.py"
            if wanted not in names:
                known = [PurePosixPath(n).stem for n in names if n.startswith(MODELS)]
                close = difflib.get_close_matches(member, known, n=1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise ConfigError(f"{archive} has no model {member!r} (looked for {wanted}).{hint}")
            text = file.read(wanted).decode()
            return PurePosixPath(wanted).stem, f"{archive}!{wanted}", text
    except (OSError, zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ConfigError(f"{str(archive)!r} is no wheel that can be read: {error}") from None


def absent(tree: ast.Module) -> list[tuple[int, str]]:
    """Line and name of the packages that the top level imports and this Python does not have."""
    found = []
    for node in tree.body:
        for line, module in rules.imports(node):
            package = module.partition(".")[0]
            # LEMUR's own package has a stand-in inside the sandbox, with an error that says so
            if package != "ab" and importlib.util.find_spec(package) is None:
                found.append((line, package))
    return found


def hyperparameters(tree: ast.Module, place: str) -> dict[str, float | None]:
    """What ``supported_hyperparameters`` returns, read from its text: a set, a list or a dict.

    Raises:
        ConfigError: if there is no such function, or it returns anything but a literal.
    """
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    named = [node for node in functions if node.name == "supported_hyperparameters"]
    if not named:
        raise ConfigError(
            f"{place}: no function supported_hyperparameters: a model in LEMUR's format has one"
        )
    returned = next((n.value for n in ast.walk(named[0]) if isinstance(n, ast.Return)), None)
    if isinstance(returned, ast.Dict):
        return dict(declarations(returned))
    if isinstance(returned, ast.Set | ast.List | ast.Tuple):
        texts = [node.value for node in returned.elts if isinstance(node, ast.Constant)]
        if len(texts) == len(returned.elts) and all(isinstance(text, str) for text in texts):
            return {str(text): None for text in texts}
    raise ConfigError(
        f"{place}:{named[0].lineno}: supported_hyperparameters must return a set, a list or a "
        "dict written out, so that it can be read without running it"
    )


def declarations(returned: ast.Dict) -> Iterator[tuple[str, float | None]]:
    """Names with their defaults: ``name: default`` or ``name: (type, default)``."""
    for key, value in zip(returned.keys, returned.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            numbers = [
                float(node.value)
                for node in ast.walk(value)
                if isinstance(node, ast.Constant) and isinstance(node.value, int | float)
            ]
            yield key.value, next(filter(math.isfinite, numbers), None)
