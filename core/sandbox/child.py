"""The inside of a sandbox: import what is trusted, lock every door, then serve requests."""

from __future__ import annotations

import errno
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from automl.core.sandbox import lockdown
from automl.core.sandbox.channel import Decoder, Frame, encode

LAST_LINES = 12  # of a traceback, told to the other side
Handler = Callable[[dict[str, Any], bytes], Frame]


class Pipe:
    """The inner end of the channel, blocking."""

    def __init__(self, handle: int) -> None:
        self._socket = socket.socket(fileno=handle)
        self._decoder = Decoder(1 << 40)  # the other side is trusted

    def receive(self) -> Frame:
        """The next request.

        Raises:
            EOFError: when there will be none.
        """
        frame = self._decoder.feed(b"")
        while frame is None:
            content = self._socket.recv(1 << 20)
            if not content:
                raise EOFError
            frame = self._decoder.feed(content)
        return frame

    def send(self, frame: Frame) -> None:
        """Answer."""
        self._socket.sendall(encode(frame))


def main(handle: int, output: int) -> None:
    """Serve the handler that the first frame names until the other end closes.

    What is printed goes to ``output``.
    """
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    pipe = Pipe(handle)
    try:
        first = pipe.receive().header
        handler = prepare(first)
    except Exception as error:  # noqa: BLE001  whatever it is, nothing runs unconfined
        pipe.send(Frame({"refused": f"{type(error).__name__}: {error}"}))
        return
    pipe.send(Frame({"ready": True}))
    while True:
        try:
            request = pipe.receive()
        except EOFError:
            return
        pipe.send(answer(handler, request))


def prepare(first: dict[str, Any]) -> Handler:
    """Confine this process and return the handler.

    Files and privileges go before the handler is imported, while there is one thread; calls and
    resources after it, measured from what the imports took.
    """
    folder = Path(first["folder"])
    sys.path[:] = first["paths"]
    lockdown.drop_privileges()
    lockdown.restrict_files(map(Path, first["readable"]), folder)
    module, _, name = first["target"].partition(":")
    make: Callable[..., Handler] = getattr(importlib.import_module(module), name)
    handler = make(**first["arguments"])
    lockdown.limit_resources(first["cpu_seconds"], first["memory_bytes"], first["file_bytes"])
    lockdown.restrict_calls()
    return handler


def answer(handler: Handler, request: Frame) -> Frame:
    """What the handler says, or how it failed."""
    try:
        found = handler(request.header, request.payload)
    except MemoryError:
        return Frame({"ending": "memory", "detail": "MemoryError", "log": ""})
    except BaseException as error:  # noqa: BLE001  sys.exit and KeyboardInterrupt too
        return Frame(failure(error))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return found


def failure(error: BaseException) -> dict[str, Any]:
    """An exception as a header: its kind, its sentence, its last lines."""
    kind = "error"
    text = str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno in (errno.EPERM, errno.EACCES):
        kind = "forbidden"
    elif isinstance(error, OSError) and error.errno == errno.EFBIG:
        kind = "disk"
    elif "allocate memory" in text or "bad_alloc" in text:
        kind = "memory"
    if isinstance(error, SystemExit):
        text = f"it called sys.exit({error.code!r})"
    lines = "".join(traceback.format_exception(error)).splitlines()[-LAST_LINES:]
    return {
        "ending": kind, "type": type(error).__name__, "detail": text[:2000],
        "log": "\n".join(lines)[-8000:],
    }  # fmt: skip
