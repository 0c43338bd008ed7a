"""The queue of searches: real processes, stopped, resumed, killed and left behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from automl.core.errors import ConfigError, StudyError, UnknownName
from automl.dataset_db import query
from automl.dataset_db.owner import owner_of, parts
from automl.ui.cli import app
from automl.ui.jobs import GONE, STOPPED, Job, Queue, honest

FAST = ["--executor", "inline", "--pruner", "none", "--sampler", "random"]
REFUSED = ["search", "--no-such-option"]  # ends at once, without torch
SLOW_FIT = """
for step in range(1, config.n + 1):
    time.sleep(0.1)
    run.report(step, {"accuracy": config.x * step / config.n, "nll": 1.0})
"""


def until(told: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def ended(queue: Queue, number: int) -> Job:
    """A job that has ended, and its runner has noticed."""
    until(lambda: queue.job(number).state not in ("queued", "running"))
    return queue.job(number)


@pytest.fixture
def queue() -> Queue:
    return Queue()


def test_jobs_run_one_after_the_other_are_stopped_with_a_checkpoint_and_resumed(
    queue: Queue, make_plugin
) -> None:
    slow = make_plugin(name="slow", fit=SLOW_FIT)
    first = queue.post(["search", "--plugin", slow, "--trials", "2", "--set", "n=16", *FAST])
    second = queue.post(REFUSED)
    until(lambda: queue.job(first.number).study)
    study = queue.job(first.number).study
    assert study is not None
    until(lambda: query.trials(study))  # it trains
    assert queue.job(second.number).state == "queued"
    queue.stop(first.number)
    stopped = ended(queue, first.number)
    assert (stopped.state, stopped.study, stopped.message) == ("stopped", study, STOPPED)
    assert query.study(study)["state"] == "interrupted"
    kept = query.trials(study)[0]["step"]
    assert 0 < kept < 16

    after = ended(queue, second.number)
    assert after.state == "failed"  # at once, but only when its turn had come
    assert after.started >= stopped.finished

    resumed = queue.post(["resume", str(study)])
    assert ended(queue, resumed.number).state == "done"
    assert query.study(study)["n_complete"] == 2
    assert len(query.curves(study, metric="accuracy")[0]) == 16  # none of its steps twice
    with pytest.raises(StudyError, match="is done and cannot be stopped"):
        queue.stop(resumed.number)


def test_a_killed_job_is_noticed_and_the_next_one_runs(queue: Queue, make_plugin) -> None:
    slow = make_plugin(name="slow", fit=SLOW_FIT)
    killed = queue.post(["search", "--plugin", slow, *FAST])
    refused = queue.post(REFUSED)
    until(lambda: queue.job(killed.number).owner)
    os.kill(parts(queue.job(killed.number).owner)[1], signal.SIGKILL)
    found = ended(queue, killed.number)
    assert (found.state, found.message) == ("failed", GONE)
    assert ended(queue, refused.number).state == "failed"
    assert "no-such-option" in queue.log(refused.number)


def test_after_a_crash_of_the_machine_nothing_is_said_to_run(queue: Queue) -> None:
    process = subprocess.Popen([sys.executable, "-c", "pass"], stdout=subprocess.PIPE)
    gone = owner_of(process.pid)
    process.wait()
    record = Job(1, ("search",), ".", "running", owner=gone, runner=gone)
    with queue.lock("records"):
        queue.write(record)
        queue.write(replace(record, number=2, arguments=tuple(REFUSED), state="queued"))
    assert queue.job(1).state == "failed"
    assert queue.waiting()
    queue.start()
    assert ended(queue, 2).state == "failed"
    until(lambda: json.loads(queue.path(1, "json").read_text())["state"] == "failed")
    assert not queue.waiting()
    assert queue.clear() == 2
    assert queue.jobs() == []


def test_a_job_of_a_runner_that_died_is_still_running() -> None:
    mine = owner_of(os.getpid())
    record = Job(1, ("search",), ".", "running", owner=mine, runner="")
    assert honest(record) == record
    elsewhere = replace(record, owner="another-machine:1:0")
    assert honest(elsewhere) == elsewhere  # nobody here can tell


def test_what_is_no_job_is_refused(queue: Queue, tmp_path: Path) -> None:
    for arguments in ([], ["ui"], ["search", "--db", "other.db"]):
        with pytest.raises(ConfigError):
            queue.post(arguments)
    assert queue.jobs() == []
    with pytest.raises(UnknownName, match="there is no job 7"):
        queue.job(7)


def test_a_queued_job_can_be_taken_out(queue: Queue) -> None:
    with queue.lock("runner"):  # nothing runs meanwhile
        job = queue.post(REFUSED)
        assert queue.stop(job.number).state == "stopped"
    assert queue.job(job.number).message == "never started"


def test_the_queue_on_the_command_line(queue: Queue) -> None:
    def automl(*words: str) -> str:
        return CliRunner().invoke(app, list(words), catch_exceptions=False).output

    with queue.lock("runner"):
        assert automl("jobs").startswith("No jobs.")
        added = automl("jobs", "add", *REFUSED)
        assert added == "Job 1 is queued: automl search --no-such-option\n"
        (listed,) = json.loads(automl("jobs", "--json"))
        assert (listed["state"], listed["number"]) == ("queued", 1)
        assert automl("jobs", "stop", "1") == "Job 1 is out of the queue.\n"
        assert "never started" in automl("jobs")
        assert automl("jobs", "clear") == "1 jobs are forgotten.\n"
    with pytest.raises(UnknownName, match="there is no job 3"):
        automl("jobs", "log", "3")
