"""Join a Ray cluster, or start one of our own that nobody else can reach."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from automl.core.errors import ConfigError, MissingExtra, StudyError

if TYPE_CHECKING:
    from automl.core.study import SearchSettings

LOCAL = "local"  # the address that stands for a cluster of our own
LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 30.0  # that a cluster which answers has to take us in, on a busy machine too
NOBODY = 3  # the exit code of a probe that found no one at the address
# Ray reads these when it is imported. Without clusters it binds all its ports to the loopback
# address; with a token it serves nobody without.
ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
GREETING_SECONDS = 3.0  # that a machine has to answer at all
# Ray waits where nobody is. Whatever speaks its protocol, HTTP/2, answers these first words, a
# frame of kind SETTINGS included, with such a frame at once; its fourth byte is the kind.
SETTINGS = 4
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, SETTINGS, 0, 0, 0, 0, 0))
PROBE = f"""
import os, socket, sys
host, _, port = sys.argv[1].rpartition(":")
if port.isdecimal():
    try:
        with socket.create_connection((host.strip("[]"), int(port)), {GREETING_SECONDS}) as there:
            there.sendall({GREETING!r})
            encrypted = os.environ.get("RAY_USE_TLS", "0") != "0"
            if not encrypted and there.recv(9)[3:4] != bytes(({SETTINGS},)):
                raise OSError("it is no Ray cluster")
    except OSError:
        sys.exit({NOBODY})
import ray
ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
"""


@contextmanager
def leaving() -> Iterator[None]:
    """Leave the cluster that a study has joined, and end one that was started for it."""
    ray = sys.modules.get("ray")
    before = ray is not None and ray.is_initialized()  # by the program around us
    try:
        yield
    finally:
        ray = sys.modules.get("ray")
        if ray is not None and not before:
            ray.shutdown()


def join(settings: SearchSettings) -> tuple[str, ...]:
    """The devices of the cluster, one for each trial that has room there; joins it first.

    A program that has called ``ray.init`` itself stays where it is.

    Raises:
        MissingExtra: without Ray.
        ConfigError: if the cluster does not take us in, or has no such device.
    """
    alone = settings.ray_address == LOCAL
    if alone and "ray" not in sys.modules:
        os.environ.update(ALONE)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # Ray's own 15 starves trials, and the start of their workers, beside whatever else runs
        os.environ.setdefault("RAY_worker_niceness", "0")
    ray = imported()
    if not ray.is_initialized():
        if alone:
            start(ray, settings)
        else:
            connect(ray, settings.ray_address)
    return devices(ray, settings)


def imported() -> ModuleType:
    """Ray.

    Raises:
        MissingExtra: if it is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("--executor ray needs Ray: pip install 'automl-papers[ray]'") from error
    # Ray puts a few packages of its own before all others, which would go on record as ours
    private = str(Path(ray.__file__).parent / "thirdparty_files")
    sys.path[:] = [folder for folder in sys.path if folder != private]
    module: ModuleType = ray
    return module


def start(ray: ModuleType, settings: SearchSettings) -> None:
    """Start a cluster of this machine: loopback only, behind a token, without a dashboard.

    Raises:
        StudyError: if Ray was imported before, set up to be reached from elsewhere.
    """
    from automl.core.executors import cuda_or_cpu

    if not os.environ.items() >= ALONE.items():
        wanted = ", ".join(f"{name}={value}" for name, value in ALONE.items())
        raise StudyError(
            "Ray was imported before the search and would listen on every network: call ray.init "
            f"yourself, or set {wanted} and RAY_AUTH_TOKEN before the import"
        )
    found = cuda_or_cpu(settings.device)
    gpus = 0 if found[0] == "cpu" else len(found)
    cores = len(os.sched_getaffinity(0))
    with undisturbed(ray):
        ray.init(
            LOCAL,
            num_cpus=max(cores, (settings.workers or gpus or cores) * (settings.threads or 1)),
            num_gpus=gpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )


def connect(ray: ModuleType, address: str) -> None:
    """Join a running cluster.

    Raises:
        ConfigError: if it does not answer, or does not take us in.
    """
    if "://" in address:
        raise ConfigError(
            f"ray_address={address!r} must be HOST:PORT or auto: run the search on a machine of "
            "the cluster, not through Ray's client"
        )
    probe(address)
    with undisturbed(ray):
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)


def probe(address: str) -> None:
    """Join and leave in a process of its own: Ray gives up late, and ends its process then."""
    command = [sys.executable, "-c", PROBE, address]
    said: list[bytes] = []
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        late = threading.Timer(ANSWER_SECONDS, process.kill)
        late.start()
        for line in process.stderr or ():
            said.append(line)
            if b"InvalidAuthToken" in line:
                process.kill()
        code = process.wait()
        late.cancel()
    if any(b"InvalidAuthToken" in line for line in said):
        raise ConfigError(
            f"the Ray cluster at {address!r} asks for another token: put its own into "
            "RAY_AUTH_TOKEN or the file ~/.ray/auth_token, with RAY_AUTH_MODE=token"
        )
    if code in (NOBODY, -signal.SIGKILL):
        raise ConfigError(
            f"no Ray cluster answers at {address!r}: give --ray-address the HOST:PORT that "
            "`ray start --head` printed, or leave it out for a local one"
        )
    if code:
        last = said[-1].decode(errors="replace").strip() if said else f"exit code {code}"
        raise ConfigError(f"no Ray cluster to join at {address!r}: {last}")


@contextmanager
def undisturbed(ray: ModuleType) -> Iterator[None]:
    """Keep Ray from what it does to a process: its handler of SIGTERM, its words on stdout."""
    ours = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, handler)
    # ``log_to_driver=False`` leaves the logs of nodes that were lost
    ray._private.worker._worker_logs_enabled = False


def devices(ray: ModuleType, settings: SearchSettings) -> tuple[str, ...]:
    """What ``--device`` stands for on the cluster: a name for each trial that has room.

    Raises:
        ConfigError: for a device that it does not have.
    """
    cpus, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
    if settings.device.startswith("cuda:"):
        raise ConfigError(f"device={settings.device!r}: Ray deals out the GPUs; use --device cuda")
    if settings.device == "cuda" and not gpus:
        raise ConfigError("device='cuda' but the Ray cluster has no GPU; use --device cpu")
    if gpus and settings.device != "cpu":
        return ("cuda:0",) * gpus  # each worker sees the one that it was given
    return ("cpu",) * max(1, cpus // (settings.threads or 1))


def cpus() -> int:
    """The cores of the cluster that we have joined."""
    return int(imported().cluster_resources().get("CPU", 1))
