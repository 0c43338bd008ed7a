"""The outside of a sandbox: starts it, asks it, watches it, ends it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import selectors
import signal
import site
import socket
import sys
import sysconfig
import tempfile
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NoReturn, Self

from automl.core.errors import SandboxError
from automl.core.nursery import Child, clean_environment, prepare
from automl.core.sandbox import lockdown
from automl.core.sandbox.channel import Decoder, Frame, encode

Kind = Literal["error", "timeout", "memory", "disk", "output", "forbidden", "crashed", "refused"]
KINDS: dict[str, str] = {
    "error": "raised an error",
    "timeout": "took too long",
    "memory": "wanted more memory than it may have",
    "disk": "wrote more than it may",
    "output": "printed more than it may",
    "forbidden": "tried what is forbidden",
    "crashed": "ended without an answer",
    "refused": "cannot be confined here",
}
CHILD = "automl.core.sandbox.child:main"
POLL_SECONDS = 0.1
QUOTA_SECONDS = 0.5
LOG_BYTES = 16_384
MOST_FILES = 10_000
# what Python, torch and NumPy look at of a machine
MACHINE = (
    "/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/etc/ssl/openssl.cnf",
    "/dev/urandom", "/dev/zero", "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat",
    "/proc/sys/vm/overcommit_memory", "/sys/devices/system/cpu", "/sys/devices/system/node",
)  # fmt: skip
START_SECONDS = 300  # for trusted imports, which a busy machine makes long
DYING_SECONDS = 2.0  # between the end of the channel and that of the process


@dataclass(frozen=True)
class Limits:
    """What a sandbox may use. ``seconds`` are of wall-clock for one request, the others in all."""

    seconds: float = 120.0
    cpu_seconds: float = 600.0
    memory_mb: int = 4096  # beyond what the trusted imports take
    disk_mb: int = 64
    output_mb: int = 16


@dataclass(frozen=True)
class Ending:
    """How a request went wrong: at which ``stage``, in which way, in words, and the last lines."""

    stage: str
    kind: Kind
    detail: str
    log: str = ""

    def __str__(self) -> str:
        return f"{self.stage}: it {KINDS[self.kind]}: {self.detail}"


class Sandbox:
    """A process that serves requests with a handler and can do nothing else.

    ``target`` is ``module:function`` of trusted code: called with ``arguments`` inside, before the
    doors close, it returns the handler, which maps a request (a JSON object and bytes) to a
    ``Frame``. The untrusted code is what the handler is asked to run. It can read this Python
    and its packages but no other file, write in a temporary folder, and neither reach the network
    nor start or signal a process; its environment is empty. Whatever it answers is data: check it.

    Raises:
        SandboxError: if any of that cannot be had on this machine (kind ``refused``).
    """

    def __init__(
        self, target: str, arguments: Mapping[str, Any] | None = None, limits: Limits | None = None
    ) -> None:
        self.limits = limits or Limits()
        self.log = b""
        self._printed = 0
        self._checked_disk = 0.0
        require_sandbox()
        self._folder = tempfile.TemporaryDirectory(prefix="automl-sandbox-")
        self._decoder = Decoder(max(1 << 30, self.limits.memory_mb << 20))
        self._process, self._socket, self._output = start(self._folder.name)
        self._finalizer = weakref.finalize(
            self, abandon, self._process, self._socket, self._output, self._folder
        )
        first = {
            "target": target,
            "arguments": dict(arguments or {}),
            "folder": self._folder.name,
            "paths": [path for path in sys.path if os.path.isabs(path)],
            "readable": sorted(map(str, readable())),
            "cpu_seconds": self.limits.cpu_seconds,
            "memory_bytes": self.limits.memory_mb << 20,
            "file_bytes": self.limits.disk_mb << 20,
        }
        found = self._exchange("start", encode(Frame(first)), START_SECONDS).header
        assert self._process.pid is not None  # it answers; known before it may have to be killed
        if "refused" in found:
            self.close()
            raise SandboxError(Ending("start", "refused", str(found["refused"])))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process and remove its folder."""
        if self.alive:
            self._process.kill()
            self._process.wait()
            self._finalizer()

    @property
    def alive(self) -> bool:
        """Whether it still serves."""
        return self._finalizer.alive

    def ask(self, stage: str, header: dict[str, Any], payload: bytes = b"") -> Frame:
        """Send a request and return the answer.

        Raises:
            SandboxError: with the ``Ending``. A sandbox that broke a limit or died is closed;
                after an error raised by the code it can be asked again.
        """
        if not self.alive:
            raise SandboxError(Ending(stage, "crashed", "the sandbox has been closed", self.tail()))
        frame = self._exchange(stage, encode(Frame(header, payload)), self.limits.seconds)
        if "ending" in frame.header:
            told = frame.header
            kind: Kind = told["ending"] if told["ending"] in KINDS else "error"
            detail = f"{told.get('type', '')}: {told.get('detail', '')}".removeprefix(": ")
            log = f"{self.tail()}\n{told.get('log', '')}".strip()
            raise SandboxError(Ending(stage, kind, detail, log))
        return frame

    def _exchange(self, stage: str, outgoing: bytes, seconds: float) -> Frame:
        waiting, deadline = memoryview(outgoing), time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE)
            selector.register(self._output, selectors.EVENT_READ)
            while True:
                for key, events in selector.select(POLL_SECONDS):
                    if key.fileobj is self._output:
                        if not self._read_output(stage):
                            selector.unregister(self._output)
                        continue
                    if events & selectors.EVENT_WRITE and waiting:
                        waiting = waiting[self._write(waiting) :]
                        if not waiting:
                            selector.modify(self._socket, selectors.EVENT_READ)
                    if events & selectors.EVENT_READ:
                        frame = self._read(stage)
                        if frame is not None:
                            return frame
                if time.monotonic() > deadline:
                    self._stop(stage, "timeout", f"more than {seconds:g} s")
                self._check_disk(stage)

    def _write(self, waiting: memoryview) -> int:
        try:
            return self._socket.send(waiting[: 1 << 20])
        except BlockingIOError:
            return 0
        except OSError:  # it died; reading tells how
            return len(waiting)

    def _read(self, stage: str) -> Frame | None:
        try:
            content = self._socket.recv(1 << 20)
        except BlockingIOError:
            return None
        except OSError:
            content = b""
        if not content:
            self._died(stage)
        try:
            return self._decoder.feed(content)
        except (ValueError, RecursionError) as error:
            self._stop(stage, "forbidden", f"it answered out of turn: {error}")

    def _read_output(self, stage: str) -> bool:
        try:
            content = os.read(self._output.fileno(), 1 << 16)
        except BlockingIOError:
            return True
        self._printed += len(content)
        self.log = (self.log + content)[-LOG_BYTES:]
        if self._printed > self.limits.output_mb << 20:
            self._stop(stage, "output", f"more than {self.limits.output_mb} MB")
        return bool(content)

    def _check_disk(self, stage: str) -> None:
        if time.monotonic() < self._checked_disk + QUOTA_SECONDS:
            return
        self._checked_disk = time.monotonic()
        used = 0
        for files, size in enumerate(sizes(self._folder.name), start=1):
            used += size
            if used > self.limits.disk_mb << 20:
                self._stop(stage, "disk", f"more than {self.limits.disk_mb} MB")
            if files > MOST_FILES:
                self._stop(stage, "disk", f"more than {MOST_FILES} files")

    def _stop(self, stage: str, kind: Kind, detail: str) -> NoReturn:
        self.close()
        raise SandboxError(Ending(stage, kind, detail, self.tail()))

    def _died(self, stage: str) -> NoReturn:
        with contextlib.suppress(OSError):
            while self._read_output(stage):
                if not readable_within(self._output, 0):
                    break
        if not ended(self._process, DYING_SECONDS):
            self._stop(stage, "forbidden", "it closed the channel")
        code, spent = self._process.wait(), self._process.cpu_seconds
        kind: Kind = "crashed"
        detail = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        if -code == signal.SIGXCPU or (-code == signal.SIGKILL and spent > self.limits.cpu_seconds):
            kind, detail = "timeout", f"more than {self.limits.cpu_seconds:g} s of CPU time"
        elif b"bad_alloc" in self.log or b"allocate memory" in self.log:
            kind, detail = "memory", f"more than {self.limits.memory_mb} MB"
        self._stop(stage, kind, detail)

    def tail(self) -> str:
        """The last lines that were printed inside."""
        return "\n".join(self.log.decode("utf-8", "replace").splitlines()[-12:])


def require_sandbox() -> None:
    """Refuse a machine that cannot confine a process.

    Raises:
        SandboxError: with the reason.
    """
    reason = lockdown.unavailable()
    if reason:
        raise SandboxError(Ending("start", "refused", reason))


def start(folder: str) -> tuple[Child, socket.socket, BinaryIO]:
    """A process without our environment, in ``folder``; its channel and what it prints."""
    ours, theirs = socket.socketpair()
    reading, printed = os.pipe()
    output = open(reading, "rb", buffering=0)  # noqa: SIM115  ``abandon`` closes it
    home = {"HOME": folder, "TMPDIR": folder, "USER": "sandbox"}
    files = [theirs.fileno(), printed]
    try:
        process = prepare(clean=True).spawn(
            CHILD, files, (), {**clean_environment(), **home}, folder
        )
    finally:
        theirs.close()
        os.close(printed)
    ours.setblocking(False)
    os.set_blocking(reading, False)
    return process, ours, output


def ended(process: Child, seconds: float) -> bool:
    """Whether a process ends within some time; it is not waited for."""
    if process.pid is None:
        return True
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:  # it died with its nursery
        return True
    with open(handle, "rb", buffering=0) as file:
        return readable_within(file, seconds)


def readable_within(file: BinaryIO, seconds: float) -> bool:
    """Whether a file has something to be read, within some time."""
    with selectors.DefaultSelector() as selector:
        selector.register(file, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def abandon(
    process: Child,
    channel: socket.socket,
    output: BinaryIO,
    folder: tempfile.TemporaryDirectory[str],
) -> None:
    """Kill a sandbox that is not ended yet, and remove what it wrote."""
    process.forget()
    channel.close()
    output.close()
    folder.cleanup()


def readable() -> set[Path]:
    """Python, its packages and this package: code without secrets, and nothing beside it."""
    found = {Path(path) for path in MACHINE}
    found |= {Path(sys.prefix), Path(sys.base_prefix), *map(Path, sysconfig.get_paths().values())}
    found |= {Path(path) for path in site.getsitepackages()}
    found |= {Path(path) for path in sys.path if Path(path).name in SITE_FOLDERS}
    spec = importlib.util.find_spec("automl")
    assert spec is not None and spec.submodule_search_locations
    package = Path(next(iter(spec.submodule_search_locations)))
    found |= {package, *(path.resolve() for path in package.iterdir() if path.is_dir())}
    return {path for path in found if path.exists()}


SITE_FOLDERS = ("site-packages", "dist-packages")


def sizes(folder: str) -> Iterator[int]:
    """Bytes of each file and folder beneath a folder, without following links."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                yield entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    yield from sizes(entry.path)
