"""A worker process: takes tasks from a pipe, runs them, reports back. See ``nursery``."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from typing import Any

PARENT_CHECK_SECONDS = 1.0
DRIVER_GONE = 3  # the exit code that nobody is left to read


def main(handle: int, log: str, threads: int) -> None:
    """Serve tasks until the pipe closes. Output goes to the file ``log``."""
    with open(log, "ab", buffering=0) as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    threading.Thread(target=die_with_parent, args=(os.getppid(),), daemon=True).start()
    pipe: Connection[Any, Any] = Connection(handle)
    # When the driver is gone, whatever it had is in the database.
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        serve(pipe, threads)


def serve(pipe: Connection[Any, Any], threads: int) -> None:
    """Answer ``("fit", task)`` with reports and an end, ``("examine", task)`` with scores."""
    # Only now: what keeps them from being imported is in the log
    from automl.core.run import Decision, Report
    from automl.core.trial import examine, run_trial

    take(threads)
    pipe.send(("ready", None))
    while True:
        kind, task = pipe.recv()

        def on_report(report: Report) -> Decision:
            try:
                pipe.send(("report", report))
                decision: Decision = pipe.recv()
            except (EOFError, OSError):
                # Not a fault of the fit, which would cost it its checkpoint: the driver is gone
                os._exit(DRIVER_GONE)
            return decision

        if kind == "fit":
            end = run_trial(task, on_report)
            sys.stdout.flush()
            pipe.send(("end", end))
            continue
        try:
            pipe.send(("examined", examine(task)))
        except Exception as error:  # noqa: BLE001  the boundary to foreign code
            traceback.print_exc()
            pipe.send(("refused", f"{type(error).__name__}: {error}"))


def take(threads: int) -> None:
    """Let numerical libraries take so many threads, also those that are loaded later."""
    import torch
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    threadpool_limits(threads)
    torch.set_num_threads(threads)


def die_with_parent(parent: int) -> None:
    """End this process when its nursery is gone, and so its driver, even inside a hanging fit."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(DRIVER_GONE)
