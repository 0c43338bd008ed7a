"""Trials on a Ray cluster of two nodes, which share no folder and lose workers and a node."""

from __future__ import annotations

import hashlib
import secrets
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from automl.core.cluster import connection
from automl.core.entrants import Job
from automl.core.errors import ConfigError, MissingExtra, StudyError
from automl.core.observer import Silent
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db import query
from automl.dataset_db.store import Store

pytestmark = pytest.mark.timeout(300)
RAY = {"executor": "ray", "workers": 2, "threads": 1, "sampler": "random", "pruner": "none"}
STEPS = 12
FIT = """
start = (run.restore() or {{"step": 0}})["step"]
with open({fits!r}, "a") as file:
    file.write(f"{{run.seed}} {{os.getpid()}} {{start}}\\n")
print("last words", flush=True)
for step in range(min(start + 1, {steps}), {steps} + 1):
    time.sleep(0.05)
    run.checkpoint({{"step": step}})
    run.report(step, {{"accuracy": config.x, "nll": float(start)}})
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster with a head and two nodes of one CPU each; this process has joined it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in connection.ALONE.items():
            patch.setenv(name, value)
        patch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
        patch.setenv("RAY_worker_niceness", "0")  # else no slot starts while other tests compute
        import ray
        from ray.cluster_utils import Cluster

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        connection.connect(ray, cluster.address)
        try:
            yield cluster
        finally:
            ray.shutdown()
            cluster.shutdown()


@pytest.fixture
def fits(tmp_path: Path) -> Path:
    """Where fits leave their seed and process when they begin."""
    return tmp_path / "fits"


@pytest.fixture
def plugin(make_plugin, fits: Path) -> str:
    return make_plugin(fit=FIT.format(fits=str(fits), steps=STEPS))


class Saboteur(Silent):
    """In mid-trial kills the worker of 0, the slot of 1, the node of 2, and has 3 hang."""

    def __init__(self, cluster: Any, fits: Path) -> None:
        self.cluster, self.fits = cluster, fits
        self.seeds: dict[int, int] = {}
        self.done: list[int] = []

    def trial_started(self, trial: Any) -> None:
        self.seeds[trial.number] = trial.seed

    def trial_reported(self, number: int, report: Any) -> None:
        if report.step != STEPS // 2 or number in self.done or number > 3:
            return
        self.done.append(number)
        begun = [line.split() for line in self.fits.read_text().splitlines()]
        pid = next(int(pid) for seed, pid, _ in begun if int(seed) == self.seeds[number])
        worker = psutil.Process(pid)
        nursery = worker.parent()
        assert nursery is not None
        slot = nursery.parent()
        assert slot is not None
        if number == 0:
            worker.kill()
        elif number == 1:
            slot.kill()
        elif number == 3:
            worker.suspend()
        else:
            raylet = slot.ppid()
            node = next(n for n in self.cluster.worker_nodes if raylet in pids_of(n))
            slot.suspend()  # a machine stops all at once
            self.cluster.remove_node(node, allow_graceful=False)
            slot.kill()
            worker.kill()


def pids_of(node: Any) -> set[int]:
    return {info.process.pid for infos in node.all_processes.values() for info in infos}


def unshared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no slot see the mark by which it would know the driver's folder as its own."""
    from automl.core.cluster import executor, slot

    monkeypatch.setattr(
        executor, "Place", lambda folder, mark, *rest: slot.Place(folder, "another", *rest)
    )


@pytest.mark.slow
def test_workers_slots_and_a_node_are_lost_and_the_study_is_whole(
    nodes, plugin, fits, recorder, monkeypatch, capfd
) -> None:
    unshared(monkeypatch)
    saboteur = Saboteur(nodes, fits)
    job = Job((plugin,), Budget(trials=6), settings=SearchSettings(**RAY, stall_timeout=15.0))
    result = search(job, recorder, saboteur)
    assert sorted(saboteur.done) == [0, 1, 2, 3]
    assert (result.state, result.complete, result.failed) == ("complete", 4, 2)
    assert result.best is not None and result.best.test  # scored on the cluster as well
    killed, hung = (recorder.failure(result.study, number) for number in (0, 3))
    assert (killed.kind, killed.log) == ("died", "last words")
    assert (hung.kind, hung.log) == ("timeout", "last words")
    past = recorder.past(result.study)
    assert [trial.start.number for trial in past] == list(range(6))
    assert all(
        sorted(trial.reports) == list(range(1, STEPS + 1)) for trial in (*past[1:3], *past[4:])
    )
    begun = [tuple(map(int, line.split())) for line in fits.read_text().splitlines()]
    starts = [[start for seed, _, start in begun if seed == t.start.seed] for t in past]
    assert starts == [[0], [0, STEPS // 2], [0, STEPS // 2], [0], [0], [0]]
    assert "aylet" not in "".join(capfd.readouterr())
    check_files(recorder, result.study, complete=4)


def check_files(recorder: Any, study: int, complete: int) -> None:
    """The weights of every complete trial as recorded, and nothing else."""
    with recorder.engine.connect() as db:
        kept = db.exec_driver_sql("SELECT path, sha256 FROM artifact WHERE kind='weights'").all()
    assert len(kept) == complete
    for path, digest in kept:
        assert hashlib.sha256((recorder.artifacts / path).read_bytes()).hexdigest() == digest
    names = {path.name for path in recorder.folder(study).iterdir()}
    assert names == {Path(path).name for path, _ in kept}


@pytest.mark.slow
def test_only_who_has_the_token_is_taken_in(nodes, monkeypatch) -> None:
    connection.probe(nodes.address)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "another")
    with pytest.raises(ConfigError, match="asks for another token"):
        connection.probe(nodes.address)


@pytest.mark.slow
def test_an_address_that_does_not_answer_is_one_sentence_and_nothing_is_recorded(
    make_plugin, tmp_path
) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = "{}:{}".format(*silent.getsockname())
        command = [
            *(sys.executable, "-m", "automl.ui.cli", "search", "--plugin", make_plugin()),
            *("--executor", "ray", "--ray-address", address, "--db", str(tmp_path / "none.db")),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"no Ray cluster answers at {address!r}" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    with Store(tmp_path / "none.db") as store:
        assert store.find_study("tested on spirals:train_size=200") is None


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "run the search on a machine of the cluster"),
        ("nowhere", "no Ray cluster to join at 'nowhere': ValueError"),
        ("127.0.0.1:1", "no Ray cluster answers at '127.0.0.1:1'"),
    ],
)
def test_an_address_that_cannot_be_is_refused(address, said) -> None:
    with pytest.raises(ConfigError, match=said):
        connection.connect(types.ModuleType("ray"), address)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"device": "cuda:1"}, "Ray deals out the GPUs"),
        ({"device": "cuda"}, "the Ray cluster has no GPU"),
        ({"executor": "processes", "ray_address": "head:6379"}, "needs executor='ray'"),
    ],
)
def test_settings_that_cannot_be_are_refused(nodes, given, said) -> None:
    with pytest.raises(ConfigError, match=said):
        connection.join(SearchSettings(**{**RAY, **given}))


@pytest.mark.slow
def test_a_cluster_without_room_ends_the_search_and_nothing_is_left(
    nodes, plugin, recorder, monkeypatch
) -> None:
    from automl.core.cluster import executor

    monkeypatch.setattr(executor, "EMPTY_SECONDS", 1.0)
    job = Job((plugin,), Budget(trials=1), settings=SearchSettings(**{**RAY, "threads": 64}))
    with pytest.raises(StudyError, match="no room for a worker with 64 CPUs for 1 seconds; it has"):
        search(job, recorder)
    (study,) = query.studies()
    assert study["state"] == "failed"
    assert not any(path.is_file() for path in recorder.artifacts.rglob("*"))


def test_without_ray_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"automl-papers\[ray\]"):
        connection.join(SearchSettings(**RAY))


def test_nothing_imports_ray_before_a_study_asks_for_it() -> None:
    code = "import sys, automl.core.search, automl.ui.cli; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
