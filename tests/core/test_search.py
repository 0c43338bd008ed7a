"""The engine over a real database: budgets, faults, resuming, reproducibility."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import update

from automl.core.entrants import Job
from automl.core.errors import (
    AutoMLError,
    BrokenPlugin,
    BudgetError,
    ConfigError,
    StudyError,
    UnknownName,
)
from automl.core.observer import Silent
from automl.core.record import Recorder, TrialStart
from automl.core.search import ListJob, resume, run_list, search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db.owner import owner_of
from automl.dataset_db.schema import STUDY

INLINE = SearchSettings(executor="inline", sampler="random", pruner="none")
TWO = SearchSettings(workers=2, sampler="random", pruner="none")
SLOW = """
for step in range(1, config.n + 1):
    time.sleep(0.05)
    run.report(step, {"accuracy": config.x * step / config.n, "nll": 1.0})
"""


class Told(Silent):
    def __init__(self) -> None:
        self.notices: list[str] = []

    def notice(self, text: str) -> None:
        self.notices.append(text)


def values(recorder: Recorder, study: int) -> list[tuple[int, str, float | None]]:
    return [(t.start.number, t.state, t.value) for t in recorder.past(study)]


def test_a_search_spends_its_budget_and_knows_its_best(make_plugin, recorder) -> None:
    result = search(Job((make_plugin(),), Budget(trials=5), settings=INLINE), recorder)
    past = recorder.past(result.study)
    assert result.state == "complete"
    assert [trial.start.number for trial in past] == [0, 1, 2, 3, 4]
    assert past[0].start.config == {"x": 0.5, "n": 3}
    assert result.best is not None
    assert result.best.value == max(trial.value or 0 for trial in past)
    assert result.best.test == {
        "accuracy": pytest.approx(result.best.value),
        "nll": pytest.approx(1 - result.best.value),
    }


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_budget_is_exact_with_any_number_of_workers(make_plugin, recorder, workers) -> None:
    settings = replace(TWO, workers=workers)
    result = search(Job((make_plugin(),), Budget(trials=7), settings=settings), recorder)
    assert result.complete == 7
    assert len(recorder.past(result.study)) == 7


def test_workers_import_nothing_from_the_folder_they_are_started_in(
    make_plugin, recorder, tmp_path: Path, monkeypatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('a file of the user')")
    monkeypatch.chdir(tmp_path)
    result = search(Job((make_plugin(),), Budget(trials=1), settings=TWO), recorder)
    assert result.complete == 1


def test_the_same_seed_gives_the_same_search_and_another_seed_another(
    make_plugin, recorder
) -> None:
    plugin = make_plugin()
    settings = replace(INLINE, sampler="tpe")

    def history(seed: int) -> list[float | None]:
        job = Job((plugin,), Budget(trials=8), settings=replace(settings, seed=seed))
        return [value for _, _, value in values(recorder, search(job, recorder).study)]

    assert history(0) == history(0)
    assert history(0)[1:] != history(1)[1:]


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_a_resumed_search_goes_on_as_an_uninterrupted_one(make_plugin, recorder, sampler) -> None:
    plugin = make_plugin()
    settings = replace(INLINE, sampler=sampler)
    whole = search(Job((plugin,), Budget(trials=14), settings=settings), recorder)
    part = search(Job((plugin,), Budget(trials=6), settings=settings), recorder)
    again = resume(part.study, recorder, trials=14)
    assert values(recorder, part.study) == values(recorder, whole.study)
    assert again.best is not None
    assert whole.best is not None
    assert again.best.config == whole.best.config


def test_pinned_settings_leave_the_space(make_plugin, recorder) -> None:
    job = Job((make_plugin(),), Budget(trials=3), overrides=("x=0.25",), settings=INLINE)
    study = search(job, recorder).study
    assert {trial.start.config["x"] for trial in recorder.past(study)} == {0.25}
    assert recorder.spec(study).space == {"tested": {}}


def test_hopeless_trials_are_pruned_but_not_before_the_warm_up(make_plugin, recorder) -> None:
    settings = replace(INLINE, pruner="median", warmup=0.5)
    job = Job((make_plugin(),), Budget(trials=20), overrides=("n=10",), settings=settings)
    result = search(job, recorder)
    pruned = [t for t in recorder.past(result.study) if t.state == "pruned"]
    assert result.pruned == len(pruned) > 0
    assert {max(trial.reports) for trial in pruned} <= set(range(5, 10))  # nor after the last step


FAULTS = {
    "raises": ("raise RuntimeError('boom')", "RuntimeError", "boom"),
    "nan": (
        "run.report(1, {'accuracy': float('nan'), 'nll': 0.0})",
        "TrialError",
        "accuracy is nan",
    ),
    "silent": ("pass", "TrialError", "without a report"),
    "wrong": ("run.report(1, {'f1': 1.0})", "TrialError", "'f1'"),
    "exits": ("sys.exit(4)", "SystemExit", "4"),
    "dies": ("os.kill(os.getpid(), 9)", "died", "signal 9"),
    "segfaults": ("os.kill(os.getpid(), 11)", "died", "signal 11"),
    "hangs": ("time.sleep(1000)", "timeout", "reported nothing for 8 seconds"),
    "eats": ("x = [b'x' * 10**8 for _ in range(60)]; time.sleep(100)", "memory", "limit of 1,500"),
}


def test_a_log_that_somebody_deletes_keeps_no_task_from_its_worker(make_plugin, recorder) -> None:
    fit = """
    if config.x == 0.5:
        os.unlink(os.readlink("/proc/self/fd/1"))
    run.report(1, {"accuracy": config.x, "nll": 1.0})
    """
    settings = replace(TWO, workers=1, stall_timeout=8.0)
    result = search(Job((make_plugin(fit=fit),), Budget(trials=2), settings=settings), recorder)
    assert (result.complete, result.failed) == (2, 0)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_its_trial_and_nothing_else(make_plugin, recorder, fault) -> None:
    code, kind, message = FAULTS[fault]
    body = f"""
if config.x == 0.5:
    print("last words", flush=True)
    {code}
else:
    run.report(1, {{"accuracy": config.x, "nll": 1.0}})
"""
    settings = replace(TWO, memory_mb=1500, stall_timeout=8.0 if fault == "hangs" else 600.0)
    result = search(Job((make_plugin(fit=body),), Budget(trials=4), settings=settings), recorder)
    assert (result.state, result.complete, result.failed) == ("complete", 3, 1)
    failure = recorder.failure(result.study, 0)
    assert failure.kind == kind
    assert message in failure.message
    assert "last words" in failure.log


def test_trial_after_trial_failing_alike_ends_the_study(make_plugin, recorder) -> None:
    plugin = make_plugin(fit="raise RuntimeError(f'boom {config.x}')")
    settings = replace(INLINE, max_failures=3)
    result = search(Job((plugin,), Budget(trials=50), settings=settings), recorder)
    assert (result.state, result.failed) == ("failed", 3)
    assert "3 trials in a row failed alike: RuntimeError: boom" in result.message


def test_a_space_that_raises_is_one_sentence_and_no_study(make_plugin, recorder) -> None:
    plugin = make_plugin(space="raise KeyError('no such thing')")
    with pytest.raises(BrokenPlugin, match="the space of plugin 'tested' raised KeyError"):
        search(Job((plugin,), Budget(trials=1), settings=INLINE), recorder)
    assert recorder.find_study("tested on spirals:train_size=200") is None


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"plugins": ("ptrnt",)}, UnknownName, "Did you mean 'ptrnet'"),
        ({"dataset": "tsp"}, ConfigError, "cannot learn dataset 'tsp'"),
        ({"dataset": "spiral"}, UnknownName, "Did you mean 'spirals'"),
        ({"overrides": ("x=7",)}, ConfigError, "x=7.0 must be at most 1"),
        ({"overrides": ("y=7",)}, ConfigError, "no setting named 'y'"),
        ({"techniques": ("noise",)}, UnknownName, "no technique named 'noise'"),
    ],
)
def test_misuse_is_one_sentence_and_no_study(make_plugin, recorder, change, error, message) -> None:
    job = replace(Job((make_plugin(),), Budget(trials=1), settings=INLINE), **change)
    with pytest.raises(error) as caught:
        search(job, recorder)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "budget", [{"trials": 0}, {"trials": -3}, {"timeout": 0}, {"timeout": -1}, {}]
)
def test_a_budget_is_positive(budget) -> None:
    with pytest.raises(BudgetError):
        Budget(**budget)


@pytest.mark.usefixtures("ready_nursery")
def test_the_clock_ends_a_search_and_keeps_the_models_so_far(make_plugin, recorder) -> None:
    job = Job((make_plugin(fit=SLOW),), Budget(timeout=15), overrides=("n=100",), settings=TWO)
    started = time.monotonic()
    result = search(job, recorder)
    assert result.state == "exhausted"
    assert result.best is not None
    assert time.monotonic() - started < 30  # a hang would be minutes
    assert all(t.state == "complete" for t in recorder.past(result.study))


def test_the_clock_also_ends_fits_that_never_return(make_plugin, recorder) -> None:
    job = Job((make_plugin(fit="time.sleep(1000)"),), Budget(timeout=5), settings=TWO)
    result = search(job, recorder)
    assert result.state == "exhausted"
    assert {state for _, state, _ in values(recorder, result.study)} == {"interrupted"}


DRIVER = """
import sys
from automl.core.entrants import Job
from automl.core.search import search
from automl.core.study import Budget, SearchSettings
from automl.dataset_db.store import Store
settings = SearchSettings(workers=2, sampler="random", pruner="none")
search(Job((sys.argv[1],), Budget(trials=8), overrides=("n=12",), settings=settings), Store())
"""


# seconds, below pytest's limit; imports alone take half a minute on a busy machine
PATIENCE = 200


def start_driver(plugin: str, recorder: Recorder, finished: int) -> subprocess.Popen[bytes]:
    """A search in a process of its own, at least ``finished`` trials into it."""
    process = subprocess.Popen([sys.executable, "-c", DRIVER, plugin], start_new_session=True)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
        done = [s for _, s, _ in values(recorder, 1) if s == "complete"] if exists(recorder) else []
        if len(done) >= finished:
            return process
    process.kill()  # so that it does not slow down the tests that follow
    raise AssertionError(
        f"the driver made no progress; exit code before it was killed: {process.wait()}"
    )


def exists(recorder: Recorder) -> bool:
    try:
        recorder.spec(1)
    except AutoMLError:
        return False
    return True


@pytest.mark.parametrize("who", ["driver", "worker", "nursery"])
def test_kill_9_then_resume_loses_nothing_and_runs_nothing_twice(
    make_plugin, recorder, tmp_path: Path, who: str
) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    count = f"open({str(runs)!r} + f'/{{config.x}}-{{os.getpid()}}-{{time.time()}}', 'w').close()"
    plugin = make_plugin(fit=SLOW + count)
    process = start_driver(plugin, recorder, finished=2)
    if who == "driver":
        process.kill()
        process.wait()
    else:
        import psutil

        (nursery,) = psutil.Process(process.pid).children()
        (nursery if who == "nursery" else nursery.children()[0]).send_signal(signal.SIGKILL)
        assert process.wait(timeout=PATIENCE) == 0
    before = {n: v for n, s, v in values(recorder, 1) if s == "complete"}
    result = resume(1, recorder)
    after = values(recorder, 1)
    assert [number for number, _, _ in after] == list(range(8))
    assert result.complete + result.failed == 8
    # all workers die with their nursery; one may have been between two trials
    assert result.failed in {"driver": (0,), "worker": (1,), "nursery": (1, 2)}[who]
    assert before.items() <= {n: v for n, _, v in after}.items()
    configs = [path.name.split("-")[0] for path in runs.iterdir()]
    finished = {str(t.start.config["x"]) for t in recorder.past(1) if t.start.number in before}
    assert all(configs.count(x) == 1 for x in finished)


def test_ctrl_c_once_checkpoints_and_resume_completes(make_plugin, recorder) -> None:
    process = start_driver(make_plugin(fit=SLOW), recorder, finished=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 0
    states = [state for _, state, _ in values(recorder, 1)]
    assert "interrupted" in states
    assert "running" not in states
    result = resume(1, recorder)
    assert (result.state, result.complete) == ("complete", 8)


def test_ctrl_c_twice_stops_now(make_plugin, recorder) -> None:
    # Those beside the paper's setting are deaf from their first step on: one that still reports
    # would be interrupted at the first Ctrl-C, and the search end by itself before the second.
    hang = "if config.x != 0.5: time.sleep(1000)\n" + SLOW
    process = start_driver(make_plugin(fit=hang), recorder, finished=1)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) != 0
    assert "complete" in [state for _, state, _ in values(recorder, 1)]


def test_a_study_that_runs_is_not_resumed_twice(make_plugin, recorder) -> None:
    process = start_driver(make_plugin(fit=SLOW), recorder, finished=1)
    try:
        with pytest.raises(AutoMLError, match=f"{process.pid}"):
            resume(1, recorder)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


CHECKPOINTED = """
start = (run.restore() or {"step": 0})["step"]
for step in range(min(start + 1, config.n), config.n + 1):
    time.sleep(0.05)
    run.report(step, {"accuracy": step / 100, "nll": float(start)}, state=lambda: {"step": step})
"""


@pytest.mark.parametrize("damage", [False, True])
def test_a_checkpoint_is_continued_and_a_damaged_one_costs_no_trial(
    make_plugin, recorder, damage: bool
) -> None:
    process = start_driver(make_plugin(fit=CHECKPOINTED), recorder, finished=1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=PATIENCE) == 0
    kept = list(recorder.folder(1).glob("*.checkpoint.safetensors"))
    assert kept
    if damage:
        for path in kept:
            path.write_bytes(path.read_bytes()[:20])
    result = resume(1, recorder)
    assert (result.state, result.complete) == ("complete", 8)
    assert not list(recorder.folder(1).glob("*.checkpoint.safetensors"))


LISTENING = """
from automl.core.api import Paper, PluginCard, hookimpl

CARD = PluginCard(
    name="{name}",
    target=f"{{__name__}}.plugin:Tested",
    paper=Paper("A paper", 2020),
    problems=("tabular-classification",),
    dataset="spirals:train_size=200",
)
heard = []

@hookimpl
def register_plugins(register):
    register(CARD)

@hookimpl
def study_started(study):
    heard.append(("started", study["plugin"]))

@hookimpl
def trial_finished(trial):
    heard.append((trial["number"], trial["state"]))
    raise RuntimeError("a listener's own fault")

@hookimpl
def study_finished(study):
    heard.append((study["state"], study["best"]["value"] > 0))
"""


def test_listeners_are_told_and_a_broken_one_costs_nothing(make_plugin, recorder) -> None:
    folder = make_plugin(name="listening", init=LISTENING)
    with pytest.warns(UserWarning, match="trial_finished hook raised"):
        result = search(Job((folder,), Budget(trials=2), settings=INLINE), recorder)
    assert (result.state, result.complete) == ("complete", 2)
    (module,) = [m for name, m in sys.modules.items() if name.endswith("plugin_listening")]
    assert module.heard == [
        ("started", "listening"), (0, "complete"), (1, "complete"), ("complete", True),
    ]  # fmt: skip


def touched(folder: str, old: str, new: str, file: str = "plugin.py") -> None:
    path = Path(folder) / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_study_goes_on_with_the_code_that_it_began_with_or_is_forked(
    make_plugin, recorder
) -> None:
    plugin, told = make_plugin(), Told()
    first = search(Job((plugin,), Budget(trials=6), settings=INLINE, name="mine"), recorder)
    before = recorder.past(first.study)
    touched(plugin, "import torch\n", "import torch  # touched\n")
    (Path(plugin) / "more.py").write_text("")
    with pytest.raises(StudyError, match=r"changed plugin\.py, added more\.py.*--accept-changes"):
        resume(first.study, recorder, trials=10)
    with pytest.raises(StudyError, match="has spent its budget"):
        resume(first.study, recorder, accept_changes=True)

    fork = resume(first.study, recorder, trials=10, accept_changes=True, observer=told)
    assert first.best is not None
    assert (fork.study, fork.complete) == (first.study + 1, 4)
    assert f"Study {fork.study} is a fork of study {first.study}" in "".join(told.notices)
    past = recorder.past(fork.study)
    assert past[0].start.config == {"x": 0.5, "n": 3}
    assert past[1].start.config == first.best.config
    spec, old = recorder.spec(fork.study), recorder.spec(first.study)
    assert spec.settings["forked_from"] == first.study
    assert spec.settings["search"] == old.settings["search"]
    assert (spec.seed, spec.name, spec.trials) == (old.seed, "mine", 4)
    assert recorder.past(first.study) == before
    assert resume(fork.study, recorder, trials=5).complete == 5  # its own code is unchanged


@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_fork_that_is_cut_short_goes_on_as_an_uninterrupted_one(
    make_plugin, recorder, sampler
) -> None:
    space = 'return replace(base, x=trial.suggest_float("x", 0, 1), n=trial.suggest_int("n", 1, 9))'
    plugin = make_plugin(space=space)
    settings = replace(INLINE, sampler=sampler)
    first = search(Job((plugin,), Budget(trials=6), settings=settings), recorder)
    touched(plugin, "import torch\n", "import torch  # touched\n")
    fork = resume(first.study, recorder, trials=7, accept_changes=True)
    resume(fork.study, recorder, trials=6)
    assert first.best is not None
    assert recorder.past(fork.study)[1].start.config == first.best.config
    whole = resume(first.study, recorder, trials=12, accept_changes=True)
    assert values(recorder, fork.study) == values(recorder, whole.study)


def test_a_fork_leaves_out_what_the_changed_space_refuses(make_plugin, recorder) -> None:
    plugin = make_plugin()
    settings = replace(INLINE, seed=1)
    first = search(Job((plugin,), Budget(trials=8), settings=settings), recorder)
    assert first.best is not None
    assert first.best.config["x"] > 0.5
    # The module is imported already: what has changed for this process is its class alone.
    from automl.core.discovery import catalogue

    kind = type(catalogue().plugin(plugin))
    kind.space = lambda self, trial, base, data: replace(base, x=trial.suggest_float("x", 0, 0.5))
    touched(plugin, "0, 1)", "0, 0.5)")
    fork = resume(first.study, recorder, trials=12, accept_changes=True)
    assert all(trial.start.config["x"] <= 0.5 for trial in recorder.past(fork.study))


def test_a_study_that_a_living_process_runs_is_neither_resumed_nor_forked(
    make_plugin, recorder
) -> None:
    plugin = make_plugin()
    study = search(Job((plugin,), Budget(trials=2), settings=INLINE), recorder).study
    touched(plugin, "import torch\n", "import torch  # touched\n")
    with subprocess.Popen(["sleep", "60"]) as driver:
        with recorder.engine.begin() as connection:
            connection.execute(update(STUDY).values(owner=owner_of(driver.pid)))
        for accept_changes in (False, True):
            with pytest.raises(StudyError, match=f"is being run by process {driver.pid} on this"):
                resume(study, recorder, trials=4, accept_changes=accept_changes)
        driver.kill()
    fork = resume(study, recorder, trials=4, accept_changes=True)
    assert (fork.study, fork.complete) == (study + 1, 2)  # its driver is gone


def test_a_claim_is_checked_anew_with_other_code_not_forked(make_plugin, recorder) -> None:
    plugin = make_plugin()
    runs = (TrialStart(0, "tested", 1, {}, {"x": 0.5, "n": 3}, label="ours"),)
    job = ListJob(plugin, "spirals:train_size=200", runs, {}, INLINE, "claims")
    study = run_list(job, recorder).study
    touched(plugin, "import torch\n", "import torch  # touched\n")
    with pytest.raises(StudyError, match="changed plugin.py.*`automl reproduce tested`"):
        resume(study, recorder, accept_changes=True)
