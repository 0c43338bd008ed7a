"""Gives up, for good, what a process does not need: files, network, processes, privileges.

Four kernel mechanisms, none of which needs a privilege to use: no_new_privs, Landlock (which
files), seccomp (which system calls) and resource limits. Each call raises ``OSError`` where the
kernel says no; nothing is skipped. Sources: the kernel's documentation of Landlock and seccomp,
and its tables of system calls.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446  # the same on every machine
LANDLOCK_ABI = 3  # the first that keeps files from being cut short (Linux 6.2)
WRITE_FILE, READ_FILE, READ_DIR, TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
READ = READ_FILE | READ_DIR
FILES_IN_ABI_3 = (1 << 15) - 1
DEVICE_CONTROL = 1 << 15
# a folder of one's own: everything but executing, devices and moves out of it
WRITE = FILES_IN_ABI_3 & ~((1 << 0) | (1 << 6) | (1 << 11) | (1 << 13))
TCP, ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_DUMPABLE = 1, 38, 4
SIGKILL = 9
CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER, SECCOMP_EVERY_THREAD = 1, 1
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
LOAD, EQUAL, ANY_BIT, AT_LEAST, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
NUMBER_AT, MACHINE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
CLONE_THREAD = 0x10000
X32 = 0x40000000  # a second way to make the same calls on x86_64

# name -> number on x86_64 and on aarch64 (None: it has none)
REFUSED: dict[str, tuple[int, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    "listen": (50, 201), "accept": (43, 202), "accept4": (288, 242),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "tgkill": (234, 131),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "process_madvise": (440, 440), "kcmp": (312, 272), "setpriority": (141, 140),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_tree": (428, 428), "move_mount": (429, 429),
    "fsopen": (430, 430), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262), "personality": (135, 92),
    "reboot": (169, 142), "kexec_load": (246, 104), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "syslog": (103, 116),
    "setsid": (112, 157), "setpgid": (109, 154),
}  # fmt: skip
# machine -> position in the table, audit name, and numbers of clone, clone3, prlimit64, seccomp
MACHINES = {
    "x86_64": (0, 0xC000003E, 56, 435, 302, 317),
    "aarch64": (1, 0xC00000B7, 220, 435, 261, 277),
}
libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def unavailable() -> str:
    """Why this machine cannot confine a process, in a sentence; empty if it can."""
    if libc is None:
        return f"it needs Linux, and this is {platform.system()}"
    if platform.machine() not in MACHINES:
        return f"it needs {' or '.join(MACHINES)}, and this is {platform.machine()}"
    version = landlock_version()
    if version < LANDLOCK_ABI:
        found = f"the kernel's is version {version}" if version > 0 else "this kernel has none"
        return f"it needs Landlock version {LANDLOCK_ABI} (Linux 6.2 or later), and {found}"
    return ""


def landlock_version() -> int:
    """The kernel's version of Landlock; -1 without."""
    assert libc is not None
    return int(libc.syscall(LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1)))


def must(found: int, what: str) -> int:
    """The result of a C call.

    Raises:
        OSError: naming ``what``, if the call failed.
    """
    if found < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return found


def drop_privileges() -> None:
    """No privilege is left and none can be gained; the process dies with its parent.

    Other processes of the user cannot look into it. For the only thread of a process.
    """
    assert libc is not None
    threads = len(os.listdir("/proc/self/task"))
    if threads != 1:
        raise OSError(errno.EBUSY, f"{threads} threads run already, which would keep privileges")
    for option, value in ((PR_SET_NO_NEW_PRIVS, 1), (PR_SET_PDEATHSIG, SIGKILL)):
        must(libc.prctl(option, value, 0, 0, 0), f"prctl {option}")
    header = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
    must(libc.capset(header, bytes(24)), "capset")


def restrict_files(readable: Iterable[Path], folder: Path) -> None:
    """From now on only ``readable`` files and folders can be read, and ``folder`` be written.

    Where the kernel knows how, TCP and signals to other processes go too. For the only thread of
    a process.
    """
    assert libc is not None
    version = landlock_version()
    files = FILES_IN_ABI_3 | (DEVICE_CONTROL if version >= 5 else 0)
    rules = struct.pack("QQQ", files, TCP, ABSTRACT_SOCKETS_AND_SIGNALS)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = must(
        libc.syscall(LANDLOCK_CREATE, rules, ctypes.c_size_t(size), ctypes.c_uint(0)),
        "landlock_create_ruleset",
    )
    try:
        for path in readable:
            allow(ruleset, path, READ)
        allow(ruleset, folder, WRITE)
        allow(ruleset, Path("/dev/null"), READ_FILE | WRITE_FILE)
        must(libc.syscall(LANDLOCK_RESTRICT, ruleset, ctypes.c_uint(0)), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def allow(ruleset: int, path: Path, access: int) -> None:
    """Let a set of rules permit ``access`` to a file or to all beneath a folder, if it exists."""
    assert libc is not None
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            access &= READ_FILE | WRITE_FILE | TRUNCATE
        rule = struct.pack("=Qi", access, handle)
        kind, flags = ctypes.c_int(1), ctypes.c_uint(0)
        must(libc.syscall(LANDLOCK_ADD, ruleset, kind, rule, flags), f"landlock rule for {path}")
    finally:
        os.close(handle)


def limit_resources(cpu_seconds: float, memory_bytes: int, file_bytes: int) -> None:
    """Bound what the process takes from now on, beyond what it has taken already."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = int(used.ru_utime + used.ru_stime + cpu_seconds) + 1
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    space = pages * resource.getpagesize() + memory_bytes
    for kind, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, space, space),
        (resource.RLIMIT_FSIZE, file_bytes, file_bytes),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        resource.setrlimit(kind, (soft, hard))


def restrict_calls() -> None:
    """No network, no new process, no signal to others, no change of limits, in every thread."""
    assert libc is not None
    filters = program(platform.machine())
    buffer = ctypes.create_string_buffer(filters, len(filters))
    head = struct.pack("HxxxxxxP", len(filters) // 8, ctypes.addressof(buffer))
    number = MACHINES[platform.machine()][-1]
    flags = ctypes.c_uint(SECCOMP_EVERY_THREAD)
    found = libc.syscall(number, ctypes.c_uint(SECCOMP_SET_MODE_FILTER), flags, head)
    if must(found, "seccomp") > 0:
        raise OSError(errno.EBUSY, f"seccomp: thread {found} cannot be confined")


def program(machine: str) -> bytes:
    """The filter of system calls of a machine, as the kernel's packet filter instructions."""
    position, audit, clone, clone3, prlimit, _ = MACHINES[machine]
    no, never = REFUSE | errno.EPERM, REFUSE | errno.ENOSYS
    code = [
        (LOAD, 0, 0, MACHINE_AT), (EQUAL, 1, 0, audit), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT), (AT_LEAST, 0, 1, X32), (RETURN, 0, 0, KILL),
        # programs fall back to clone, whose flags can be looked at
        (EQUAL, 0, 1, clone3), (RETURN, 0, 0, never),
        # a new thread of this process is fine, a new process is not
        (EQUAL, 0, 4, clone), (LOAD, 0, 0, FIRST_ARGUMENT_AT), (ANY_BIT, 1, 0, CLONE_THREAD),
        (RETURN, 0, 0, no), (RETURN, 0, 0, ALLOW),
        # limits of this process (0) may be read; another's not be touched
        (EQUAL, 0, 4, prlimit), (LOAD, 0, 0, FIRST_ARGUMENT_AT), (EQUAL, 1, 0, 0),
        (RETURN, 0, 0, no), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    for numbers in REFUSED.values():
        number = numbers[position]
        if number is not None:
            code += [(EQUAL, 0, 1, number), (RETURN, 0, 0, no)]
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)
