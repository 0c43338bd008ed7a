"""The simplest handler: runs Python text as a module of its own."""

from __future__ import annotations

import linecache
import sys
import types
from typing import Any

from automl.core.sandbox.channel import Frame
from automl.core.sandbox.child import Handler


def load_code(code: str, name: str) -> types.ModuleType:
    """Execute ``code`` as the module ``name``, findable as one (dataclasses, tracebacks, pickle).

    For the inside of a sandbox only.
    """
    module = types.ModuleType(name)
    file = f"<{name}>"
    module.__file__ = file
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    sys.modules[name] = module
    exec(compile(code, file, "exec"), module.__dict__)
    return module


def scripts() -> Handler:
    """A handler of ``{"code": text}``; answers with the module's ``answer``, if it sets one."""

    def run(header: dict[str, Any], payload: bytes) -> Frame:
        module = load_code(header["code"], "untrusted")
        return Frame({"answer": getattr(module, "answer", None)})

    return run
