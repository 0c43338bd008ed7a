"""Verify and measure in a child process: a crash of a runtime is a status here."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from automl.core.errors import AutoMLError
from automl.core.nursery import spawn
from automl.core.trial import TrialTask
from automl.export.targets import GOOD, ExportSettings, Target, Variant

TIMEOUT_SECONDS = 900


# ---------------------------------------------------------------- the parent's side


def examined(
    target: Target,
    folder: Path,
    task: TrialTask,
    settings: ExportSettings,
    variants: Sequence[Variant],
    verify: bool = True,
) -> list[Variant]:
    """The variants verified (unless that is known) and measured, each crash at its own variant."""
    found: list[Variant] = []
    left = list(variants)
    while left:
        job = {
            "target": f"{type(target).__module__}:{type(target).__qualname__}",
            "folder": str(folder),
            "task": vars(task),
            "settings": asdict(settings),
            "variants": [asdict(variant) for variant in left],
            "verify": verify,
        }
        done, verdict = run(job)
        found += [Variant(**{**one, "benchmarks": tuple(one["benchmarks"])}) for one in done]
        left = left[len(done) :]
        if left and verdict:
            found.append(left.pop(0).found(*verdict))
    return found


def run(job: dict[str, Any]) -> tuple[list[dict[str, Any]], tuple[str, str] | None]:
    """Run a child; the variants that it finished, and what became of the next one."""
    ours, theirs = socket.socketpair()
    with tempfile.TemporaryFile() as log, Connection(ours.detach()) as pipe:
        with theirs:
            child = spawn("automl.export.child:main", [theirs.fileno(), log.fileno()])
        found: list[dict[str, Any]] = []
        deadline = time.monotonic() + TIMEOUT_SECONDS
        try:
            pipe.send(job)
            while pipe.poll(max(0.0, deadline - time.monotonic())):
                found.append(pipe.recv())
        except (EOFError, OSError):
            code = child.wait()
        else:
            message = f"verification took longer than {TIMEOUT_SECONDS} seconds"
            return found, ("timeout", message)
        finally:
            child.kill()
            child.wait()
        if code < 0:
            return found, ("crash", f"the runtime crashed with signal {-code}")
        if code > 0:
            log.seek(0)
            said = log.read().decode(errors="replace").strip().splitlines()
            return found, ("load_fail", said[-1] if said else "no output")
    return found, None


# ---------------------------------------------------------------- the child's side


def main(handle: int, log: int) -> None:
    """Examine the variants of a job that comes by the pipe, sending each as it is done.

    Runtimes print what they like: that goes to the file ``log``.
    """
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    os.close(log)
    with Connection(handle) as pipe:
        for variant in verdicts(pipe.recv()):
            pipe.send(asdict(variant))


def verdicts(job: dict[str, Any]) -> Iterator[Variant]:
    """The variants of a job as they are examined."""
    import torch

    from automl.core.cards import TargetCard
    from automl.export.subject import Subject

    torch.set_num_threads(1)
    target: Target = TargetCard(name="", target=job["target"]).load()()
    settings = ExportSettings(**job["settings"])
    subject = Subject.load(TrialTask(**job["task"]))
    folder = Path(job["folder"])
    for fields in job["variants"]:
        variant = Variant(**{**fields, "benchmarks": ()})
        try:
            if job["verify"] and not variant.status:
                variant = target.verify(subject, folder, variant, settings)
            if variant.status in GOOD:
                records = target.benchmark(subject, folder, variant)
                variant = replace(variant, benchmarks=tuple(records))
        except AutoMLError as error:
            variant = variant.found("load_fail", str(error))
        yield variant
