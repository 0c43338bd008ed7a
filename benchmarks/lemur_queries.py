"""The questions that LEMUR's API answers, asked of LEMUR and of us over the same records.

Each question is asked in a process of its own: CPU seconds of the call, peak memory of the process
(imports included). What took less than a second is asked again in the same process, as a session
asks: the first time, an answer of few rows is mostly SQLAlchemy's writing of new statements. What
takes LEMUR more than a minute is stopped: its figure is a lower bound. Both answer with a
DataFrame, so what pandas and its pyarrow take once imported is the least that either can: told too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from measure import finish
from published import LEAN, OURS, THEIRS, build_theirs, import_ours, unpack, wheel, workplace

LIMIT = 60  # seconds of CPU
ASK = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_CPU, ({limit}, {limit} + 5))
{prepare}
began = time.process_time()
found = {question}
spent = again = time.process_time() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
if spent < 1:
    began = time.process_time()
    {question}
    again = time.process_time() - began
print(json.dumps([spent, again, peak, len(found)]))
"""
LEMUR = f"{LEAN}from ab.nn.util.db import Read\nfrom pandas import DataFrame"
WE = """
from automl.dataset_db.frames import models
from automl.dataset_db.records import records
DB = sys.argv[1]
models(DB, limit=1)  # opens the database and makes the first statement, as an import does
"""
QUESTIONS = {
    "a network on a dataset (907 records)": (
        "DataFrame(Read.data(nn='ResNet', dataset='cifar-10'))",
        "records(DB, plugin='ResNet', dataset='cifar-10', code=True, texts=True)",
    ),
    "ten records": (
        "DataFrame(Read.data(max_rows=10))",
        "records(DB, limit=10, code=True, texts=True)",
    ),
    "all records of cifar-10 with code (122,738)": (
        "DataFrame(Read.data(task='img-classification', dataset='cifar-10', metric='acc'))",
        "records(DB, problem='image-classification', dataset='cifar-10', code=True, texts=True)",
    ),
    "the best record of each network and epoch of cifar-10": (
        "DataFrame(Read.data(only_best_accuracy=True, dataset='cifar-10'))",
        "records(DB, dataset='cifar-10', best=True, code=True, texts=True)",
    ),
}
OURS_ALONE = {  # question: what may be spent of CPU seconds and MB
    "the best trial of each network of cifar-10": (
        "models(DB, dataset='cifar-10', unique='plugin', limit=None)", 0.3, 200.0,
    ),
    "one network with its code": ("models(DB, plugin='AirNet', code=True, limit=1)", 0.02, None),
    "first page of a dataset": ("models(DB, dataset='svhn', limit=50)", 0.05, None),
    "first page of a setting": (
        "models(DB, where={'config.lr': {'<': 0.01}}, limit=50)", 0.05, None,
    ),
    "first page of a family": ("models(DB, family='ga', limit=50)", 0.05, None),
    "first page of a score": ("models(DB, where={'objective': {'<': 0.2}}, limit=50)", 0.05, None),
}  # fmt: skip


class Answer(NamedTuple):
    """CPU seconds of the first and of a second call, peak MB and rows; 0 rows if it was stopped."""

    first: float
    again: float
    peak: float
    rows: int

    def __str__(self) -> str:
        """As it stands in the table."""
        if not self.rows:
            return f"more than {LIMIT} s, stopped"
        again = "" if self.again == self.first else f" (again {self.again:.3f} s)"
        return f"{self.first:.3f} s{again}, {self.peak:.0f} MB"


def ask(prepare: str, question: str, folder: Path, package: Path | None = None) -> Answer:
    """Ask in a new process."""
    code = ASK.format(limit=LIMIT, prepare=prepare, question=question)
    environment = {**os.environ, "PYTHONPATH": str(package)} if package else None
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / OURS)], cwd=folder, env=environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode < 0:
        return Answer(LIMIT, LIMIT, 0.0, 0)
    if done.returncode:
        raise SystemExit(f"{question} failed:\n{done.stderr}")
    return Answer(*json.loads(done.stdout.strip().splitlines()[-1]))


def compare(folder: Path, package: Path) -> tuple[dict[str, Any], list[float], list[float]]:
    """What each question took, and the ratios of CPU and of memory."""
    details, ratios, memories = {}, [], []
    for name, (theirs, ours) in QUESTIONS.items():
        mine, lemur = ask(WE, ours, folder), ask(LEMUR, theirs, folder, package)
        ratios.append(lemur.first / mine.first)
        rows = f"{mine.rows:,} rows"
        if lemur.rows:
            memories.append(mine.peak / lemur.peak)
            rows += f" (LEMUR: {lemur.rows:,})"
        details[name] = f"{mine}; LEMUR {lemur}; {rows}"
    return details, ratios, memories


def main() -> None:
    """Measure and print."""
    with workplace() as folder:
        source = wheel(folder)
        package = unpack(source, folder / "package")
        if not (folder / OURS).exists():
            import_ours(source, folder)
        if not (folder / THEIRS).exists():
            build_theirs(package, folder)
        details, ratios, memories = compare(folder, package)
        good = True
        for name, (question, seconds, megabytes) in OURS_ALONE.items():
            mine = ask(WE, question, folder)
            good &= mine.first <= seconds and (megabytes is None or mine.peak <= megabytes)
            most = f"{1000 * seconds:.0f} ms" + (f", {megabytes:.0f} MB" if megabytes else "")
            details[name] = f"{mine}, {mine.rows:,} rows (goal {most})"
        bare = ask("import pandas", "[0]", folder)
        details["pandas and what it imports, alone"] = f"{bare.peak:.0f} MB"
    details["least ratio of CPU"] = f"{min(ratios):.1f}"
    details["largest share of LEMUR's memory"] = f"{max(memories):.2f} (goal 0.2)"
    met = min(ratios) >= 20 and max(memories) <= 0.2 and good
    finish(
        "questions on LEMUR's records, LEMUR's CPU over ours, the least", min(ratios),
        "at least 20, a fifth of the memory, each page below its limit", met, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
