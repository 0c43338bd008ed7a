"""A driver on PostgreSQL whose Ray cluster is its own: it ends with the driver, and hides."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from automl.dataset_db.store import Store

SLOW = """
start = (run.restore() or {"step": 0})["step"]
for step in range(min(start + 1, 10), 11):
    time.sleep(0.1)
    run.report(step, {"accuracy": config.x, "nll": 1.0}, state=lambda: {"step": step})
"""
RAY = ["--executor", "ray", "--workers", "1", "--sampler", "random", "--pruner", "none"]


class Driver:
    """The command line in a session of its own, as a terminal would start it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "automl.ui.cli", *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self.others: list[psutil.Process] = []

    def wait_for(self, store: Store, complete: int) -> None:
        """Until so many trials are complete; then look at its processes and ports."""
        deadline = time.monotonic() + 90
        while states(store).count("complete") < complete:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.2)
        driver = psutil.Process(self.process.pid)
        # Ray's agents miss a killed driver half a minute later; they run no trial
        self.others = [p for p in driver.children(recursive=True) if "Agent" not in p.name()]
        assert len(self.others) > 3
        listening = {
            connection.laddr.ip
            for process in (driver, *driver.children(recursive=True))
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}

    def end(self) -> str:
        """Wait for its end and that of its processes; what it wrote on stderr."""
        said = self.process.communicate(timeout=240)[1]
        assert not psutil.wait_procs(self.others, timeout=90)[1]
        return said


def states(store: Store) -> list[str]:
    study = store.find_study("tested on spirals:train_size=200")
    return [] if study is None else [trial.state for trial in store.past(study)]


@pytest.mark.slow
def test_a_driver_that_is_stopped_or_killed_takes_ray_along_and_a_resume_completes(
    make_plugin, postgres, tmp_path: Path
) -> None:
    plugin = make_plugin(fit=SLOW)
    with Store(postgres, artifacts=tmp_path / "artifacts") as store:
        stopped = Driver("search", "--plugin", plugin, "-n", "6", "--db", postgres, *RAY)
        stopped.wait_for(store, complete=1)
        os.killpg(stopped.process.pid, signal.SIGINT)  # all that hang on the terminal
        assert "ray" not in stopped.end().lower()
        assert states(store)[-1] == "interrupted"
        killed = Driver("resume", "1", "--db", postgres)
        killed.wait_for(store, complete=3)
        killed.process.kill()
        killed.end()
        assert set(states(store)) == {"complete", "interrupted"}
        last = Driver("resume", "1", "--db", postgres)
        said = last.end()
        assert last.process.returncode == 0, said
        assert states(store) == ["complete"] * 6
