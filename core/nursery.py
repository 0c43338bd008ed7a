"""Processes that start in milliseconds: forked from one that has imported PyTorch already.

PyTorch takes seconds to import. A driver cannot be forked: it has threads, and perhaps CUDA. So it
starts a nursery, which has neither: that imports, forks a child for each request, and keeps its
exit code until somebody asks. A nursery ends with the process that it serves. One that is clean
never had the environment of that process: its children may become sandboxes.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

HEAVY = ("torch", "torch._dynamo", "automl.core.trial")  # the first optimiser needs the second

ALONE = {  # no thread that a fork would lose, and no CUDA: no child could use it then
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}
# of the environment, in a clean nursery; libraries that are loaded later look for their threads
KEPT = ("LANG", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
BOOT = (
    "import sys; sys.path[:0] = sys.argv[2:]; "
    "from automl.core.nursery import main; main(int(sys.argv[1]))"
)


class Request(NamedTuple):
    """A child to fork, which begins like a new process, with its own environment and folder."""

    target: str  # "module:function"
    files: int  # descriptors that follow; the function gets them before the arguments
    arguments: tuple[Any, ...]
    environment: dict[str, str]
    folder: str
    forgotten: list[int]  # earlier children whose end nobody waits for


# ---------------------------------------------------------------- the side that asks


def spawn(target: str, files: Sequence[int], *arguments: Any) -> Child:
    """Call ``target(*files, *arguments)`` in a new process, which has copies of the descriptors.

    Numerical libraries take one thread there unless told otherwise. What the process prints goes
    where this one's does, and Ctrl-C does not reach it.
    """
    return prepare().spawn(target, files, arguments, dict(os.environ), os.getcwd())


def prepare(clean: bool = False) -> Nursery:
    """The living nursery of this process, or the clean one, started if there is none.

    Its imports, for which the first child waits, begin while this process does other work.
    """
    key = os.getpid(), clean
    with STARTING:
        if key not in NURSERIES or not NURSERIES[key].alive:
            NURSERIES[key] = Nursery(clean)
        return NURSERIES[key]


class Nursery:
    """A process that imports and forks. Requests queue while it imports."""

    def __init__(self, clean: bool = False) -> None:
        self.owner = os.getpid()
        ours, theirs = socket.socketpair()
        command, environment = program(theirs.fileno(), clean)
        self.process = subprocess.Popen(
            command,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C reaches the driver alone
            env=environment,
        )
        theirs.close()
        self.socket = ours
        self.pipe: Connection[Any, Any] = Connection(os.dup(ours.fileno()))
        self.lock = threading.RLock()
        self.unborn: list[Child] = []  # in the order in which their numbers will come
        self.forgotten: list[int] = []
        atexit.register(self.close)

    @property
    def alive(self) -> bool:
        """Whether it can fork."""
        return self.process.poll() is None

    def spawn(
        self,
        target: str,
        files: Sequence[int],
        arguments: tuple[Any, ...],
        environment: dict[str, str],
        folder: str,
    ) -> Child:
        """Ask for a child."""
        child = Child(self)
        forgotten = [self.forgotten.pop() for _ in range(len(self.forgotten))]
        request = Request(target, len(files), arguments, environment, folder, forgotten)
        with self.exchange():
            self.pipe.send(request)
            if files:
                socket.send_fds(self.socket, [b"."], list(files))
            self.unborn.append(child)
        return child

    def number(self, child: Child) -> int | None:
        """The process number of a child, when it is born; ``None`` if it never was."""
        with self.exchange():
            while child in self.unborn:
                self.unborn.pop(0).known = self.pipe.recv()
        return child.known

    def end(self, number: int) -> tuple[int, float] | None:
        """Wait for a child's end: exit code, CPU seconds; ``None`` if nobody will ever know."""
        with self.exchange():
            self.pipe.send(number)
            while self.unborn:
                self.unborn.pop(0).known = self.pipe.recv()
            found: tuple[int, float] = self.pipe.recv()
            return found
        return None

    @contextlib.contextmanager
    def exchange(self) -> Iterator[None]:
        """One at a time; if it breaks off, by the nursery's end or ours, it was the last."""
        with self.lock:
            try:
                yield
            except (OSError, EOFError):
                self.close()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """End it. Children that are left see that and end as well, see ``worker``."""
        if os.getpid() != self.owner:
            return  # a fork of the owner ends: this is not its own
        atexit.unregister(self.close)
        self.process.kill()
        self.process.wait()
        self.unborn.clear()
        self.pipe.close()
        self.socket.close()


class Child:
    """A forked process, to be used like a ``subprocess.Popen``."""

    def __init__(self, nursery: Nursery) -> None:
        self.nursery = nursery
        self.known: int | None = None
        self.code: int | None = None
        self.cpu_seconds = 0.0  # when it was waited for

    @property
    def pid(self) -> int | None:
        """Its number, once it is born; ``None`` if the nursery died before."""
        return self.nursery.number(self) if self.known is None else self.known

    def kill(self) -> None:
        """SIGKILL, unless it was waited for: until then nobody else can have its number."""
        if self.code is None and self.pid is not None and self.nursery.alive:
            with contextlib.suppress(ProcessLookupError):  # its nursery was killed just now
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Its exit code, negative for a signal; that of its nursery if it died with it."""
        if self.code is None:
            found = None if self.pid is None else self.nursery.end(self.pid)
            self.code, self.cpu_seconds = found or (self.nursery.process.wait(), 0.0)
        return self.code

    def forget(self) -> None:
        """Kill it, if it is known to be born, and never wait for it.

        For finalizers, which may run in the midst of an exchange with the nursery.
        """
        if self.code is None and self.known is not None:
            self.kill()
            self.nursery.forgotten.append(self.known)
            self.code = -signal.SIGKILL


NURSERIES: dict[tuple[int, bool], Nursery] = {}  # by process, whose forks start theirs, and kind
STARTING = threading.Lock()


def program(handle: int, clean: bool) -> tuple[list[str], dict[str, str]]:
    """How a nursery is started: command and environment."""
    if not clean:
        # -P: nothing in the folder that the user happens to be in is imported by mistake
        command = [sys.executable, "-P", "-m", "automl.core.nursery", str(handle)]
        return command, {**os.environ, **ALONE}
    paths = [path for path in sys.path if os.path.isabs(path) and os.path.exists(path)]
    command = [sys.executable, "-I", "-B", "-c", BOOT, str(handle), *paths]
    return command, {**clean_environment(), **ALONE}


def clean_environment() -> dict[str, str]:
    """What a process needs of ours, and no secret."""
    return {"LANG": "C.UTF-8", **{name: os.environ[name] for name in KEPT if name in os.environ}}


# ---------------------------------------------------------------- the side that forks


def main(handle: int) -> None:
    """Fork until whoever asks is gone; in a child, do what was asked for."""
    added = added_to_path()
    path = [folder for folder in sys.path if folder not in added]
    for name in HEAVY:
        with contextlib.suppress(Exception):  # a child that needs it fails and says why
            importlib.import_module(name)
    gc.freeze()  # pages that a collection writes to are no longer shared
    asked = serve(socket.socket(fileno=handle))
    if asked is None:
        return
    request, files = asked
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    tempfile.tempdir = None  # what an import asked for may lie elsewhere now
    sys.path[:] = [*added_to_path(), *path]
    module, _, function = request.target.partition(":")
    getattr(importlib.import_module(module), function)(*files, *request.arguments)


def added_to_path() -> list[str]:
    """The folders of PYTHONPATH."""
    listed = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return [os.path.abspath(folder) for folder in listed if folder]


def serve(asker: socket.socket) -> tuple[Request, list[int]] | None:
    """Answer requests; what to do in a child, ``None`` at the end."""
    own = os.getpid()
    with asker, Connection(os.dup(asker.fileno())) as pipe, contextlib.suppress(EOFError, OSError):
        while True:
            asked: Request | int = pipe.recv()
            if isinstance(asked, int):
                _, status, used = os.wait4(asked, 0)
                pipe.send((os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime))
                continue
            for number in asked.forgotten:
                os.waitpid(number, 0)
            files = socket.recv_fds(asker, 1, asked.files)[1] if asked.files else []
            number = os.fork()
            if number == 0:
                if os.getppid() != own:
                    return None
                return asked, list(files)
            for file in files:
                os.close(file)
            pipe.send(number)
    return None


if __name__ == "__main__":
    main(int(sys.argv[1]))
