"""The size budget: functions, files, core and plugins; exceptions carry their reason here."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Lines of code: blank lines, comments and docstrings are free, so that nobody saves on them.
FUNCTION, FILE, CORE, PLUGIN = 60, 500, 5500, 1200
APART = (
    "core/cluster",
    "core/ensemble",
    "core/own",
    "core/sandbox",
)  # packages of core that are no part of the engine
EXCEPTIONS = {
    "ui/cli.py:search": "one option per line: the signature is the command's documentation",
    "plugins/continual": "eighteen methods in two settings, four streams, a technique, a probe",
    "plugins/ncap": "a simulator, two policies, three learners in full, five claims",
    "plugins/ptrnet": "three tasks, three networks, four teachers, six claims: the largest paper",
    "plugins/selu": "eight networks, 18 tables, an archive in two layouts, 121 names, five claims",
    "plugins/ntk_svm": "three machines, five losses, their solvers, two certificates, seven claims",
    "plugins/neural_operator": "twelve architectures, nine layers, four sets of fields, a solver",
    "plugins/spiking": "five systems that share little but their data, two sets, seven claims",
    "dataset_db/migrations/versions/0001_first_schema.py:upgrade": "the schema, column by column",
}


def code_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    first = node.body[0]
    is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    doc = (first.end_lineno or 0) - first.lineno + 1 if is_text else 0
    return (node.end_lineno or 0) - node.lineno + 1 - doc


def count(text: str) -> int:
    """Lines of code of a file."""
    docs: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            docs |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return sum(
        bool(line.strip()) and not line.lstrip().startswith("#") and number not in docs
        for number, line in enumerate(text.splitlines(), start=1)
    )


def complaints() -> Iterator[str]:
    """Everything over budget, a sentence each."""
    totals: dict[str, int] = {}
    for folder in ("core", "plugins", "dataset_db", "export", "ui", "benchmarks", "tools"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            text = path.read_text()
            lines = count(text)
            parts = name.split("/")
            group = "/".join(parts[:2])
            if parts[0] == "core" and group not in APART:
                group = "core"
            totals[group] = totals.get(group, 0) + lines
            if lines > FILE and name not in EXCEPTIONS:
                yield f"{name} has {lines} lines, more than {FILE}"
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    size, key = code_lines(node), f"{name}:{node.name}"
                    if size > FUNCTION and key not in EXCEPTIONS:
                        yield f"{key} has {size} code lines, more than {FUNCTION}"
    for group, lines in totals.items():
        limit = (
            CORE
            if group == "core"
            else PLUGIN
            if group in APART or group.startswith("plugins/")
            else None
        )
        if limit is not None and lines > limit and group not in EXCEPTIONS:
            yield f"{group} has {lines} lines, more than {limit}"


if __name__ == "__main__":
    found = list(complaints())
    print("\n".join(found) or "size: within budget")
    sys.exit(bool(found))
