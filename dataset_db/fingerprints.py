"""Fingerprints of source texts: exact, blind to layout, and one that tells how alike two are.

The MinHash (Broder 1997) is that of ``datasketch.MinHash`` with its default scheme and seed, so
that its index takes the values; computed here because importing datasketch costs half a second
and a search must not pay for it.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from automl.core.garbage import uncollected
from automl.dataset_db.catalogue import sha256

PERMUTATIONS = 128
SHINGLE = 7  # tokens
AT_ONCE = 8192  # shingles; bounds the memory that a very long text takes
OWNERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)  # of a docstring
ROLL = np.uint64(0x9E3779B97F4A7C15)  # odd, 2^64 divided by the golden ratio
NOT_PYTHON = (SyntaxError, ValueError, RecursionError, MemoryError)


class Fingerprint(NamedTuple):
    """What identifies a text.

    Attributes:
        sha256: Hash of the text.
        normalised: Hash that ignores layout, comments and docstrings; of the lines, without the
            space around them, if the text is not Python.
        minhash: 128 little-endian uint32. The fraction of places where two agree estimates the
            Jaccard similarity of the texts' sets of 7 consecutive tokens, with a standard error of
            at most 0.045. Texts with equal ``normalised`` have equal ones.
    """

    sha256: str
    normalised: str
    minhash: bytes


class Hashes(dict[str, int]):
    """The hash of each token, computed once."""

    def __missing__(self, token: str) -> int:
        self[token] = value = crc32(token.encode("utf-8", "surrogatepass"))
        return value


def fingerprint(texts: Iterable[str]) -> list[Fingerprint]:
    """The fingerprints of texts, in order; about 2 ms of processor time each, parsing included."""
    hashes = Hashes()
    with uncollected(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the parser, about the texts
        return [one(text, hashes) for text in texts]


def one(text: str, hashes: Hashes) -> Fingerprint:
    """The fingerprint of a text."""
    tokens = outline(text)
    if tokens is not None:
        normalised = sha256("".join(tokens))
    else:
        tokens = text.split()
        normalised = sha256("\n".join(line.strip() for line in text.splitlines()))
    return Fingerprint(sha256(text), normalised, minhash(tokens, hashes).tobytes())


def outline(text: str) -> list[str] | None:
    """The syntax tree of Python code as tokens without docstrings; ``None`` if it is not Python.

    Alike in every version of Python: ``ast.dump`` writes the empty fields too, and each version
    adds some.
    """
    tokens: list[str] = []
    try:
        walk(ast.parse(text), "", tokens.append)
    except NOT_PYTHON:
        return None
    return tokens


def walk(node: Any, label: str, add: Callable[[str], object]) -> None:
    """Add the tokens of a syntax tree, the first of them with a label.

    Names, attributes and constants are most of a tree: each is one token, written by hand.
    """
    kind = node.__class__
    if kind is ast.Name:
        add(f"{label}Name(id={node.id!r},ctx={node.ctx.__class__.__name__}())")
    elif kind is ast.Attribute:
        add(label + "Attribute(")
        walk(node.value, "value=", add)
        add(f"attr={node.attr!r},ctx={node.ctx.__class__.__name__}())")
    elif kind is ast.Constant and node.kind is None and node.value is not None:
        add(f"{label}Constant(value={node.value!r},)")
    elif kind._fields:
        walk_fields(node, label, add)
    else:
        add(f"{label}{kind.__name__}()")


def walk_fields(node: Any, label: str, add: Callable[[str], object]) -> None:
    """Add the tokens of a node of any kind, without its empty fields."""
    kind, values = node.__class__, node.__dict__
    add(f"{label}{kind.__name__}(")
    for name in kind._fields:
        value = values.get(name)
        if value is None or value == []:
            continue
        if value.__class__ is list:
            add(name + "=[")
            documented = name == "body" and kind in OWNERS and is_docstring(value[0])
            for item in value[documented:]:
                if isinstance(item, ast.AST):
                    walk(item, "", add)
                else:
                    add(f"{item!r},")
            add("]")
        elif isinstance(value, ast.AST):
            walk(value, name + "=", add)
        else:
            add(f"{name}={value!r},")
    add(")")


def is_docstring(node: ast.AST) -> bool:
    """Whether a statement is a bare text."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def minhash(tokens: list[str], hashes: Hashes) -> NDArray[np.uint32]:
    """The MinHash of a text's shingles of 7 tokens, shape (128,)."""
    shingles = np.unique(shingle(np.fromiter(map(hashes.__getitem__, tokens), np.uint64)))
    least = np.full(PERMUTATIONS, 2**32 - 1, np.uint32)
    for start in range(0, len(shingles), AT_ONCE):
        mixed = avalanche(shingles[start : start + AT_ONCE])
        permuted = FACTORS * mixed  # modulo 2^32
        permuted += TERMS
        np.minimum(least, permuted.min(axis=1), out=least)
    return least


def shingle(tokens: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """Hashes of each 7 consecutive tokens; of all of them if there are fewer."""
    length = max(1, len(tokens) - SHINGLE + 1)
    rolled = np.zeros(length, np.uint64)
    for offset in range(min(SHINGLE, len(tokens))):
        rolled = (rolled + tokens[offset : offset + length]) * ROLL
        rolled ^= rolled >> np.uint64(29)
    return (rolled >> np.uint64(32)).astype(np.uint32)


def avalanche(values: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Spread every bit over all: MurmurHash3's finaliser, as datasketch does."""
    values = values ^ (values >> np.uint32(16))
    values *= np.uint32(0x85EBCA6B)
    values ^= values >> np.uint32(13)
    values *= np.uint32(0xC2B2AE35)
    values ^= values >> np.uint32(16)
    return values


def permutations() -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors (odd) and terms of datasketch's permutations of 32 bits, each of shape (128, 1)."""
    draws = np.random.RandomState(1)
    factors = draws.randint(0, 1 << 31, PERMUTATIONS, dtype=np.uint32)
    terms = draws.randint(0, 1 << 32, PERMUTATIONS, dtype=np.uint32)
    return (factors * np.uint32(2) + np.uint32(1))[:, None], terms[:, None]


FACTORS, TERMS = permutations()
