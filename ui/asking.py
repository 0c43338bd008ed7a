"""Questions that need torch, asked to a helper process: the browser application imports none of it.

The helper is started at the first question and kept, so that later answers take no import and no
loading. It is replaced if it crashes or takes too long, and ends with the process that asked.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from functools import cache
from multiprocessing.connection import Connection
from typing import Any

from automl.core.errors import AutoMLError

SECONDS = 120.0  # that an answer may take; some datasets are generated first
Row = dict[str, Any]


class Helper:
    """A process that answers; one question at a time."""

    def __init__(self) -> None:
        self.turn = threading.Lock()
        self.process: subprocess.Popen[bytes] | None = None
        self.pipe: Connection[Any, Any] | None = None

    def ask(self, question: str, given: Row, seconds: float) -> Any:
        """The answer of ``automl.ui.insight``.

        Raises:
            AutoMLError: what the answer raised; if there is none in time, or the process ended.
        """
        with self.turn:
            pipe = self.connected()
            try:
                pipe.send_bytes(json.dumps({"question": question, "given": given}).encode())
                if not pipe.poll(seconds):
                    self.stop()
                    raise AutoMLError(
                        f"no answer after {seconds:g} seconds: choose less, or use the command line"
                    )
                said = json.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                self.stop()
                raise AutoMLError(
                    "the process that should answer has ended, perhaps for want of memory"
                ) from None
        if "error" in said:
            raise AutoMLError(said["error"])
        return said["answer"]

    def connected(self) -> Connection[Any, Any]:
        """The pipe to a living process."""
        if self.pipe is None or self.process is None or self.process.poll() is not None:
            ours, theirs = socket.socketpair()
            handle = str(theirs.fileno())
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "automl.ui.insight", handle],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # plugins print what they like
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            )
            theirs.close()
            self.pipe = Connection(ours.detach())
        return self.pipe

    def stop(self) -> None:
        """End the process; the next question starts another."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if self.pipe is not None:
            self.pipe.close()
        self.process = self.pipe = None


@cache
def helper() -> Helper:
    """The one of this process."""
    return Helper()


def ask(question: str, *, seconds: float = SECONDS, **given: Any) -> Any:
    """Ask one of the functions of ``automl.ui.insight`` by its name; values are JSON.

    Raises:
        AutoMLError: what it raises; if it takes too long or crashes.
    """
    return helper().ask(question, given, seconds)
