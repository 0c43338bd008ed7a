"""Verify and measure in a child process: a crash of a runtime is a status here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from automl.core.errors import AutoMLError
from automl.core.trial import TrialTask
from automl.export.targets import GOOD, ExportSettings, Target, Variant

TIMEOUT_SECONDS = 900
MARK = "automl-variant:"  # runtimes print what they like; our lines begin so


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
    command = [sys.executable, "-m", "automl.export.child"]
    try:
        done = subprocess.run(
            command,
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        text = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        message = f"verification took longer than {TIMEOUT_SECONDS} seconds"
        return lines(text), ("timeout", message)
    if done.returncode < 0:
        message = f"the runtime crashed with signal {-done.returncode}"
        return lines(done.stdout), ("crash", message)
    if done.returncode > 0:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return lines(done.stdout), ("load_fail", last)
    return lines(done.stdout), None


def lines(text: str) -> list[dict[str, Any]]:
    """The variants that a child has printed."""
    return [
        json.loads(line.removeprefix(MARK)) for line in text.splitlines() if line.startswith(MARK)
    ]


# ---------------------------------------------------------------- the child's side


def main() -> None:
    """Examine the variants of the job on standard input, printing each as it is done."""
    import torch

    from automl.core.cards import TargetCard
    from automl.export.subject import Subject

    job = json.load(sys.stdin)
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
        sys.stdout.write(f"\n{MARK}{json.dumps(asdict(variant), default=str)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
