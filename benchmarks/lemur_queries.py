"""The questions that LEMUR's API answers, asked of LEMUR and of us over the same records.

Each question is asked in a process of its own: CPU seconds of the call, peak memory of the process
(imports included). Three times in turns, of which the least counts: a machine that others use too
is at times half as fast. What took less than a second is asked again in the same process, as a
session asks: the first time, an answer of few rows is mostly SQLAlchemy's writing of new
statements. What takes LEMUR more than a minute is stopped: its figure is a lower bound. The best of
each network is such a question if the task is named beside the dataset: SQLite then plans LEMUR's
join quadratically. By the dataset alone it does not, which is told beside the questions that count.

What is compared: LEMUR's API answers with a DataFrame and with nothing else (``ab.nn.api.data``).
We answer with plain rows (``record_page``) or with a DataFrame (``frames.records``), with the same
code, settings and texts in either; a caller who wants rows need not import pandas. The ratio is
that of our rows to LEMUR's API. Like with like is told beside it: both as DataFrames, and both as
rows, which are what LEMUR's API makes its DataFrame of (``ab.nn.util.db.Read.data``).

The first question is asked of LEMUR 1.2.0 too, beside those that count: that release looks up each
record's settings by itself, without an index.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from measure import finish
from published import (
    EARLIER,
    LEAN,
    OURS,
    RELEASE,
    THEIRS,
    build_theirs,
    import_ours,
    unpack,
    wheel,
    workplace,
)

LIMIT = 60  # seconds of CPU
ROUNDS = 3
ASK = """
import json, resource, sys, time
resource.setrlimit(resource.RLIMIT_CPU, ({limit}, {limit} + 5))
{prepare}
began = time.process_time()
found = {question}
spent = again = time.process_time() - began
# of this program: what getrusage tells begins with what the process that started it had
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak = int(status["VmHWM"].split()[0]) / 1024
count = len(found["rows"] if isinstance(found, dict) else found)
if spent < 1:
    began = time.process_time()
    {question}
    again = time.process_time() - began
print(json.dumps([spent, again, peak, count]))
"""
# Our own open the database and make the first statement, as LEMUR's does on import.
WE = """
from automl.dataset_db.pages import model_page
from automl.dataset_db.records import record_page
DB = sys.argv[1]
model_page(DB, limit=1)
"""
READ = f"{LEAN}from ab.nn.util.db import Read"
KINDS = {  # (what prepares, the question) of LEMUR and of us
    "rows": (
        (READ, "Read.data({})"),
        (WE, "record_page(DB, code=True, texts=True, {})"),
    ),
    "DataFrame": (
        (f"{READ}\nfrom pandas import DataFrame", "DataFrame(Read.data({}))"),
        (
            f"{WE}from automl.dataset_db.frames import records",
            "records(DB, code=True, texts=True, {})",
        ),
    ),
}
QUESTIONS = {  # as LEMUR is asked, and as we are
    "a network on a dataset (907 records)": (
        "nn='ResNet', dataset='cifar-10'", "plugin='ResNet', dataset='cifar-10', limit=None",
    ),
    "ten records": ("max_rows=10", "limit=10"),
    "all records of cifar-10 with code (122,738)": (
        "task='img-classification', dataset='cifar-10', metric='acc'",
        "problem='image-classification', dataset='cifar-10', limit=None",
    ),
    "the best record of each network and epoch of cifar-10, its task named": (
        "only_best_accuracy=True, task='img-classification', dataset='cifar-10'",
        "problem='image-classification', dataset='cifar-10', best=True, limit=None",
    ),
}  # fmt: skip
FIRST = next(iter(QUESTIONS))
BESIDE = {
    "the same, its task not named": (
        "only_best_accuracy=True, dataset='cifar-10'", "dataset='cifar-10', best=True, limit=None",
    ),
}  # fmt: skip
PAGE = "model_page(DB, limit=50, {})"
OURS_ALONE = {  # question: what may be spent of CPU seconds and MB
    "the best trial of each network of cifar-10": (
        "model_page(DB, dataset='cifar-10', unique='plugin', limit=None)", 0.3, 200.0,
    ),
    "one network with its code": (
        "model_page(DB, plugin='AirNet', code=True, limit=1)", 0.02, None,
    ),
    "first page of a dataset": (PAGE.format("dataset='svhn'"), 0.05, None),
    "first page of a setting": (PAGE.format("where={'config.lr': {'<': 0.01}}"), 0.05, None),
    "first page of a family": (PAGE.format("family='ga'"), 0.05, None),
    "first page of a score": (PAGE.format("where={'objective': {'<': 0.2}}"), 0.05, None),
    "first page of the best of each network, all datasets": (
        PAGE.format("unique='plugin'"), 0.05, None,
    ),
    "first page of the best of each family, all datasets": (
        PAGE.format("unique='family'"), 0.05, None,
    ),
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


def least(answers: list[Answer]) -> Answer:
    """The least time, the largest peak."""
    first, again, peak, rows = zip(*answers, strict=True)
    return Answer(min(first), min(again), max(peak), rows[0])


def in_turns(asked: str, same: str, folder: Path, package: Path) -> dict[str, list[Answer]]:
    """Our answer and LEMUR's, of each kind."""
    rounds: list[dict[str, list[Answer]]] = []
    while len(rounds) < ROUNDS and all(lemur.rows for each in rounds for _, lemur in each.values()):
        rounds.append(
            {
                kind: [
                    ask(we, own.format(same), folder),
                    ask(theirs, question.format(asked), folder, package),
                ]
                for kind, ((theirs, question), (we, own)) in KINDS.items()
            }
        )
    return {
        kind: [least([each[kind][side] for each in rounds]) for side in (0, 1)] for kind in KINDS
    }


def compare(folder: Path, package: Path, details: dict[str, Any]) -> tuple[float, float]:
    """The least ratio of CPU and our largest share of memory, our rows to LEMUR's API."""
    ratios: dict[str, list[float]] = {"headline": [], **{kind: [] for kind in KINDS}}
    share: dict[str, list[float]] = {kind: [] for kind in ratios}
    for name, (asked, same) in {**QUESTIONS, **BESIDE}.items():
        pairs = in_turns(asked, same, folder, package)
        ours, lemur = ({kind: pair[side] for kind, pair in pairs.items()} for side in (0, 1))
        pairs["headline"] = [ours["rows"], lemur["DataFrame"]]
        told = "; ".join(f"{kind} {ours[kind]}, LEMUR {lemur[kind]}" for kind in KINDS)
        details[name] = f"{told}; {ours['rows'].rows:,} rows (LEMUR: {lemur['rows'].rows:,})"
        mine, other = pairs["headline"]
        details[f"{name}, LEMUR's DataFrame over our rows"] = (
            f"{other.first / mine.first:.1f} (again {other.again / mine.again:.1f})"
        )
        if name in BESIDE:
            continue
        for kind, (mine, other) in pairs.items():
            ratios[kind].append(other.first / mine.first)
            share[kind] += [mine.peak / other.peak] if other.rows else []
    for kind in KINDS:
        details[f"both as {kind}, the least ratio of CPU, the largest share of memory"] = (
            f"{min(ratios[kind]):.1f}, {max(share[kind]):.2f}"
        )
    return min(ratios["headline"]), max(share["headline"])


def of_earlier(folder: Path, details: dict[str, Any]) -> None:
    """The first question on the records of an earlier release, and of its own code."""
    package = both(folder, EARLIER)
    mine, other = in_turns(*QUESTIONS[FIRST], folder, package)["rows"]
    details[f"the same network of LEMUR {EARLIER}"] = (
        f"rows {mine}, LEMUR {other}: {other.first / mine.first:.0f} times; "
        f"{mine.rows:,} rows (LEMUR: {other.rows:,})"
    )


def both(folder: Path, release: str) -> Path:
    """Both databases of a release in a folder, unless they are there; LEMUR's package."""
    folder.mkdir(exist_ok=True)
    source = wheel(folder, release)
    package = unpack(source, folder / "package")
    if not (folder / OURS).exists():
        import_ours(source, folder)
    if not (folder / THEIRS).exists():
        build_theirs(package, folder)
    return package


def main() -> None:
    """Measure and print."""
    with workplace() as folder:
        details: dict[str, Any] = {}
        ratio, memory = compare(folder, both(folder, RELEASE), details)
        of_earlier(folder / EARLIER, details)
        good = True
        for name, (question, seconds, megabytes) in OURS_ALONE.items():
            mine = least([ask(WE, question, folder) for _ in range(ROUNDS)])
            good &= mine.first <= seconds and (megabytes is None or mine.peak <= megabytes)
            most = f"{1000 * seconds:.0f} ms" + (f", {megabytes:.0f} MB" if megabytes else "")
            details[name] = f"{mine}, {mine.rows:,} rows (goal {most})"
        bare = ask("import pandas", "[0]", folder)
        details["pandas and what it imports, alone"] = f"{bare.peak:.0f} MB"
    details["least ratio of CPU"] = f"{ratio:.1f}"
    details["largest share of LEMUR's memory"] = f"{memory:.2f} (goal 0.2)"
    finish(
        "questions on LEMUR's records, the CPU of LEMUR's API over that of our rows, the least",
        ratio, "at least 20, a fifth of the memory, each page below its limit",
        ratio >= 20 and memory <= 0.2 and good, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
