"""What the text of untrusted code may not say, looked at before any of it runs.

A filter that gives early, clear answers; it can be talked around, and the sandbox is what holds.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import NamedTuple

from automl.core.errors import PolicyError

MODULES = frozenset({
    "_posixsubprocess", "_socket", "_thread", "aiohttp", "asyncio", "builtins", "cffi", "code",
    "concurrent", "ctypes", "ftplib", "http", "httpx", "huggingface_hub", "imaplib", "imp",
    "importlib", "marshal", "mmap", "multiprocessing", "paramiko", "pathlib", "pickle",
    "pip", "pkgutil", "poplib", "psutil", "pty", "requests", "resource", "runpy", "shelve",
    "shutil", "signal", "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess",
    "telnetlib", "tempfile", "threading", "urllib", "urllib3", "wandb", "webbrowser", "xmlrpc",
    "zipimport", "torch.hub", "torch.distributed", "torch.multiprocessing",
    "torch.utils.cpp_extension",
})  # fmt: skip
CALLS = frozenset({"eval", "exec", "compile", "open", "__import__", "breakpoint"})
OF_MODULES = {
    "os": frozenset({
        "abort", "chdir", "chmod", "chown", "execl", "execle", "execlp", "execv",
        "execve", "execvp", "fork", "forkpty", "kill", "killpg", "link", "listdir",
        "makedirs", "mkdir", "open", "popen", "posix_spawn", "remove", "removedirs",
        "rename", "replace", "rmdir", "scandir", "spawnl", "spawnv", "startfile", "symlink",
        "system", "truncate", "unlink", "walk", "_exit",
    }),
    "sys": frozenset({
        "exit", "modules", "path", "settrace", "setprofile", "_getframe", "meta_path",
    }),
    "torch": frozenset({"load", "save", "hub"}),
    "np": frozenset({"load", "save", "savez", "fromfile", "memmap", "loadtxt", "savetxt"}),
    "numpy": frozenset({"load", "save", "savez", "fromfile", "memmap", "loadtxt", "savetxt"}),
}  # fmt: skip
ANYWHERE = frozenset({
    "from_pretrained", "load_state_dict_from_url", "load_url", "hf_hub_download", "urlopen",
    "urlretrieve", "snapshot_download", "push_to_hub",
    "__subclasses__", "__globals__", "__builtins__", "__code__", "__bases__", "__mro__",
    "__loader__", "__spec__", "__getattribute__",
})  # fmt: skip


class Violation(NamedTuple):
    """One thing that is not allowed, with the line it stands in."""

    line: int
    what: str


def parse(code: str, file: str) -> ast.Module:
    """The syntax tree of ``code``.

    Raises:
        PolicyError: naming the line that is no Python.
    """
    try:
        return ast.parse(code)
    except SyntaxError as error:
        raise PolicyError(f"{file}:{error.lineno}: this is no Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise PolicyError(f"{file}: this cannot be read as Python: {error}") from None


def check(tree: ast.Module, file: str) -> None:
    """Refuse code that imports, calls or names what is on the lists.

    Raises:
        PolicyError: naming the file and, for each of up to five places, the line and what is there.
    """
    found = sorted(set(violations(tree)))
    if found:
        places = "; ".join(f"{file}:{line}: {what}" for line, what in found[:5])
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise PolicyError(f"{places}{more}: code that is run for its results may not do that")


def violations(tree: ast.AST) -> Iterator[Violation]:
    """Everything that is not allowed, in no order."""
    for node in ast.walk(tree):
        for line, module in imports(node):
            parts = module.split(".")
            prefixes = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
            if prefixes & MODULES:
                yield Violation(line, f"import of {module!r}")
        if isinstance(node, ast.ImportFrom) and node.module in OF_MODULES:
            for alias in node.names:
                if alias.name in OF_MODULES[node.module]:
                    yield Violation(node.lineno, f"import of '{node.module}.{alias.name}'")
        if isinstance(node, ast.Name) and node.id in CALLS:
            yield Violation(node.lineno, f"use of {node.id!r}")
        if isinstance(node, ast.Attribute):
            yield from attributes(node)


def attributes(node: ast.Attribute) -> Iterator[Violation]:
    """What a dotted name refers to that it may not."""
    if node.attr in ANYWHERE:
        yield Violation(node.lineno, f"use of {node.attr!r}")
    if isinstance(node.value, ast.Name) and node.attr in OF_MODULES.get(node.value.id, ()):
        yield Violation(node.lineno, f"use of '{node.value.id}.{node.attr}'")


def imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full name of each module that a statement imports; ``from a import b`` is both."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield node.lineno, alias.name
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.lineno, node.module
        for alias in node.names:
            yield node.lineno, f"{node.module}.{alias.name}"
