"""From a graph of one size to C99, by emx-onnx-cgen."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from automl.core.errors import ExportError
from automl.export.operators import origin
from automl.export.targets import Unsupported

ENTRY = re.compile(r"^void model\((.*)\) \{$", re.MULTILINE)
ARGUMENT = re.compile(r"^(const )?(\w+) (\w+)\[(?:restrict )?(.*)\]$")
NAMED = re.compile(r"[Uu]nsupported (?:op|operator|ONNX op)\w* '?(\w+)")
GROWN = re.compile(r"tensor '(\S+)' has dynamic dimensions")
TIMEOUT_SECONDS = 300
HEADER = """/* {name}, exported by automl. No heap; one call at a time. */
#ifndef AUTOML_MODEL_H
#define AUTOML_MODEL_H
#include <stdbool.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {{
#endif
{comments}
void model({arguments});
#ifdef __cplusplus
}}
#endif
#endif
"""


@dataclass(frozen=True)
class Argument:
    """One argument of the generated function."""

    kind: str  # the C type of an element
    name: str
    shape: tuple[int, ...]
    given: bool  # an input

    @property
    def declaration(self) -> str:
        """As in a prototype; ``restrict`` is C's alone, so that C++ can include the header."""
        sizes = "".join(f"[{size}]" for size in self.shape)
        return f"{'const ' if self.given else ''}{self.kind} {self.name}{sizes}"


def generate(model: Any, folder: Path, name: str) -> list[Argument]:
    """Write ``model.c`` and ``model.h``; return the arguments of ``model``.

    Raises:
        Unsupported: naming the operator, its node and the plugin's line.
        ExportError: if the generator fails otherwise.
    """
    repair(model)
    path = folder / "model.onnx"
    onnx.save(model, path)
    command = [sys.executable, "-m", "emx_onnx_cgen", "compile", str(path), str(folder / "model.c")]
    command += ["--large-temp-threshold", "0", "--large-weight-threshold", "0", "--color", "never"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"writing C took longer than {TIMEOUT_SECONDS} seconds") from None
    finally:
        path.unlink()
    if done.returncode or not (folder / "model.c").exists():
        raise refusal(model, done.stdout + done.stderr)
    found = arguments((folder / "model.c").read_text())
    comments = "\n".join(f"/* {'in' if one.given else 'out'}: {one.name} */" for one in found)
    declared = ", ".join(one.declaration for one in found)
    text = HEADER.format(name=name, comments=comments, arguments=declared)
    (folder / "model.h").write_text(text)
    return found


def repair(model: Any) -> None:
    """Undo what the generator trips on: a direction that is the default, told all the same."""
    for node in model.graph.node:
        for attribute in list(node.attribute):
            if attribute.name == "direction" and attribute.s == b"forward":
                node.attribute.remove(attribute)


def refusal(model: Any, said: str) -> ExportError:
    """Why the generator failed, with the node where its message names an operator."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = next((line for line in reversed(lines) if "rror" in line), lines[-1] if lines else "")
    named, grown = NAMED.search(said), GROWN.search(said)
    for node in model.graph.node:
        if named and node.op_type == named[1]:
            return Unsupported(f"{origin(node)} has no equivalent in C")
        if grown and grown[1] in node.output:
            return Unsupported(
                f"{origin(node)} gives as much as its input demands: C is for one size"
            )
    for node in model.graph.node:
        if f" {node.op_type} " in f" {last} ":
            return Unsupported(f"{origin(node)}: {last}")
    return ExportError(f"no C could be written: {last[:300]}")


def arguments(source: str) -> list[Argument]:
    """The arguments of the generated function, from its definition."""
    entry = ENTRY.search(source)
    if entry is None:
        raise ExportError("the generated C has no function model")
    found = []
    for text in entry[1].split(", "):
        match = ARGUMENT.match(text)
        if match is None:
            raise ExportError(f"the generated C takes {text!r}, which is no array of fixed size")
        shape = tuple(int(size) for size in match[4].split("]["))
        found.append(Argument(match[2], match[3], shape, bool(match[1])))
    return found
