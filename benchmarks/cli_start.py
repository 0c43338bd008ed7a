"""CPU time of `automl --help` and `automl plugins` against a bare Typer program."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import finish, interleaved

ROUNDS = 15
BARE = """
import typer
app = typer.Typer(no_args_is_help=True)
@app.command()
def one(check: bool = False) -> None: print("one thing")
@app.command()
def two(x: int = 1) -> None: "Do another."
app()
"""


def children() -> float:
    """CPU seconds of all finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder) / "bare.py"
        bare.write_text(BARE)
        commands = {
            "bare Typer --help": [sys.executable, str(bare), "--help"],
            "bare Typer, a command": [sys.executable, str(bare), "one"],
            "automl --help": [sys.executable, "-m", "automl.ui.cli", "--help"],
            "automl plugins": [sys.executable, "-m", "automl.ui.cli", "plugins"],
        }
        # A user's Python keeps compiled modules: without them ours would be compiled at each start.
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        calls = [
            lambda c=command: subprocess.run(c, capture_output=True, check=True, env=environment)
            for command in commands.values()
        ]
        for call in calls:
            call()
        times = interleaved(calls, ROUNDS, children)
    details = {name: f"{1000 * t:.0f} ms CPU" for name, t in zip(commands, times, strict=True)}
    worst = max(times[2] / times[0], times[3] / times[1])  # help by help, command by command
    finish(
        "start of the command line over a bare Typer program", worst, "at most 1.5",
        worst <= 1.5, details,
    )  # fmt: skip


if __name__ == "__main__":
    main()
