"""Processes forked from one that has imported PyTorch: like new ones, but at once."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil
import pytest

from automl.core import nursery

CHILD = """
import os, sys, threading, time
from multiprocessing.connection import Connection

def tell(handle, *arguments):
    torch = sys.modules.get("torch")
    with Connection(handle) as pipe:
        pipe.send({
            "arguments": arguments, "folder": os.getcwd(), "told": os.environ.get("TOLD"),
            "torch": torch is not None and "torch._dynamo" in sys.modules,
            "cuda": torch is not None and torch.cuda._is_in_bad_fork(),
            "path": sys.path[0], "threads": len(os.listdir("/proc/self/task")),
            "files": sorted(os.listdir("/proc/self/fd"))[3:], "parent": os.getppid(),
        })

def end(code):
    sys.exit(code)

def fail():
    raise ValueError("a fault")

def sleep(handle):
    time.sleep(1000)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the module ``told`` lies, which children find by PYTHONPATH alone."""
    (tmp_path / "told.py").write_text(CHILD)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nurseries that have little to import, since it fails, and that no other test has."""
    (tmp_path / "torch.py").write_text("raise ImportError('no such library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(nursery, "NURSERIES", {})
    yield
    nursery.prepare().close()


def asked(function: str, *arguments: Any) -> tuple[nursery.Child, "Connection[Any, Any]"]:
    """A child with a pipe, and the other end of that."""
    ours, theirs = socket.socketpair()
    with theirs:
        child = nursery.spawn(f"told:{function}", [theirs.fileno()], *arguments)
    return child, Connection(ours.detach())


def test_a_child_begins_like_a_new_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLD", "first")
    first, pipe = asked("tell", 1, "two")
    one = pipe.recv()
    assert first.wait() == 0
    (folder / "other").mkdir()
    (folder / "other" / "told.py").write_text(CHILD)
    monkeypatch.chdir(folder / "other")
    monkeypatch.setenv("PYTHONPATH", ".")
    monkeypatch.setenv("TOLD", "second")
    second, pipe = asked("tell")
    two = pipe.recv()
    assert second.wait() == 0
    assert one["arguments"] == (1, "two")
    assert (one["told"], two["told"]) == ("first", "second")
    assert (one["path"], two["path"]) == (str(folder), str(folder / "other"))
    assert two["folder"] == str(folder / "other")
    assert one["parent"] == two["parent"]
    for told in (one, two):
        assert told["torch"]
        assert told["threads"] == 1
        assert not told["cuda"]  # nobody has initialised it before the fork
        assert len(told["files"]) <= 2  # its pipe and the folder that is listed; nobody else's


@pytest.mark.parametrize(
    ("function", "arguments", "code"), [("end", (7,), 7), ("end", (0,), 0), ("fail", (), 1)]
)
def test_the_exit_code_is_kept(folder: Path, function: str, arguments: Any, code: int) -> None:
    children = [nursery.spawn(f"told:{function}", [], *arguments) for _ in range(3)]
    assert [child.wait() for child in reversed(children)] == [code] * 3
    children[0].kill()  # waited for: its number may be somebody else's by now
    assert children[0].wait() == code


def test_a_killed_child_says_so_and_leaves_the_others_alone(folder: Path) -> None:
    doomed, pipe = asked("sleep")
    other, _ = asked("sleep")
    doomed.kill()
    assert doomed.wait() == -signal.SIGKILL
    with pytest.raises(EOFError):
        pipe.recv()
    assert psutil.pid_exists(other.pid or 0)
    other.kill()
    assert other.wait() == -signal.SIGKILL


ASKER = """
import time
from automl.core.nursery import spawn
child = spawn("time:sleep", [], 1000)
print(child.nursery.process.pid, child.pid, flush=True)
time.sleep({seconds})
"""


@pytest.mark.parametrize("seconds", [1000, 0])
def test_a_nursery_ends_with_the_process_that_it_serves(light: None, seconds: int) -> None:
    code = ASKER.format(seconds=seconds)
    asker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert asker.stdout is not None
    it, child = (psutil.Process(int(number)) for number in asker.stdout.readline().split())
    if seconds:
        asker.kill()
    asker.wait(timeout=30)
    it.wait(timeout=30)
    child.kill()


def test_a_killed_nursery_is_replaced(light: None) -> None:
    child = nursery.spawn("time:sleep", [], 1000)
    assert child.pid is not None
    child.nursery.process.kill()
    assert child.wait() == -signal.SIGKILL
    os.kill(child.pid, signal.SIGKILL)  # a worker sees it by itself
    after = nursery.spawn("time:sleep", [], 0)
    assert after.wait() == 0
    assert after.nursery is not child.nursery


def test_a_nursery_that_dies_before_a_birth_is_no_riddle(light: None) -> None:
    child = nursery.spawn("time:sleep", [], 1000)
    child.nursery.process.kill()
    assert child.pid is None
    child.kill()
    assert child.wait() == -signal.SIGKILL


def test_what_cannot_be_imported_is_left_to_the_child(light: None) -> None:
    assert nursery.spawn("time:sleep", [], 0).wait() == 0
    assert nursery.spawn("torch:rand", [], 1).wait() == 1


def test_the_number_of_a_child_can_be_asked_for_in_any_order(folder: Path) -> None:
    children = [asked("sleep")[0] for _ in range(4)]
    numbers = [child.pid for child in reversed(children)]
    assert len(set(numbers)) == 4
    for child in children:
        child.kill()
        assert child.wait() == -signal.SIGKILL
