"""Where the generated C is built and run: this machine, a Cortex-M4F and an AArch64 in QEMU."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from automl.core.errors import ExportError
from automl.export.embedded import harness
from automl.export.embedded.codegen import Argument
from automl.export.latency import summary

KINDS = {
    "float": np.float32, "double": np.float64, "int64_t": np.int64, "int32_t": np.int32,
    "int16_t": np.int16, "int8_t": np.int8, "uint8_t": np.uint8, "bool": np.bool_,
    "_Bool": np.bool_,
}  # fmt: skip
BUILD_SECONDS, RUN_SECONDS = 300, 120
STACK_BYTES = 512 * 1024 * 1024  # of a process here: temporaries are on the stack
CORTEX = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
NANOSECONDS_PER_TICK = 40  # of the board's 25 MHz timer; QEMU takes 1 ns for an instruction
INSTALL = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi and libnewlib-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu and libc6-dev-arm64-cross",
    "qemu-aarch64": "qemu-user",
    "gcc": "gcc",
}


def bytes_of(argument: Argument) -> int:
    """The size of an argument's buffer."""
    return int(np.prod(argument.shape)) * np.dtype(KINDS[argument.kind]).itemsize


class Missing(ExportError):
    """A program is not installed; the message says what to install."""


def program(name: str) -> str:
    """The path of a program.

    Raises:
        Missing: saying which Debian package has it.
    """
    found = shutil.which(name)
    if found is None:
        raise Missing(f"{name} is not installed: apt-get install {INSTALL[name]}")
    return found


def call(command: Sequence[str], folder: Path, seconds: int, **options: Any) -> str:
    """Run a program in a folder; what it printed.

    Raises:
        ExportError: with the last line that it said, if it fails.
    """
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, timeout=seconds, check=False, **options
        )
    except subprocess.TimeoutExpired:
        raise ExportError(f"{Path(command[0]).name} took longer than {seconds} seconds") from None
    if done.returncode:
        complaints = done.stderr.decode(errors="replace").strip().splitlines()
        errors = [line for line in complaints if "error" in line or "overflow" in line]
        errors = errors or complaints
        last = errors[-1] if errors else f"exit code {done.returncode}"
        raise ExportError(f"{Path(command[0]).name} failed: {last[:300]}")
    said: str = done.stdout.decode(errors="replace")
    return said


def deep_stack() -> None:
    """Allow a child process the stack that temporaries need."""
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    most = STACK_BYTES if hard == resource.RLIM_INFINITY else min(hard, STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_STACK, (most, hard))


@dataclass(frozen=True)
class Program:
    """A generated model built for a device; calling it maps named tensors to named tensors.

    The compiled function takes one example; a batch is run one by one.
    """

    folder: Path
    command: tuple[str, ...]
    arguments: tuple[Argument, ...]
    names: dict[str, str]  # of inputs and outputs in PyTorch -> in C
    files: bool = False  # input.bin and output.bin instead of standard input and output

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Outputs by name, for a batch of examples."""
        given = {self.names[name]: tensor for name, tensor in inputs.items()}
        count = {len(tensor) for tensor in given.values()}.pop()
        rows = b"".join(
            self.packed(one, given[one.name][row : row + 1])
            for row in range(count)
            for one in self.arguments
            if one.given
        )
        return self.unpacked(self.run(rows), count)

    def packed(self, argument: Argument, value: Tensor) -> bytes:
        """One input of one example.

        Raises:
            ExportError: if its shape is not the one that the C was made for.
        """
        if tuple(value.shape) != argument.shape:
            raise ExportError(
                f"the C takes {argument.name} of shape {argument.shape}, not {tuple(value.shape)}"
            )
        return value.contiguous().numpy().astype(KINDS[argument.kind]).tobytes()

    def run(self, rows: bytes) -> bytes:
        """Run the program on the inputs of all examples; its outputs."""
        if not self.files:
            done = subprocess.run(
                self.command, input=rows, cwd=self.folder, capture_output=True,
                timeout=RUN_SECONDS, check=False, preexec_fn=deep_stack,
            )  # fmt: skip
            if done.returncode:
                raise ExportError(f"the program ended with {done.returncode}")
            return done.stdout
        (self.folder / "input.bin").write_bytes(rows)
        try:
            call(self.command, self.folder, RUN_SECONDS)
        except ExportError as error:
            raise ExportError(
                f"{error} (the emulated board has 4 MB each of flash and RAM)"
            ) from error
        return (self.folder / "output.bin").read_bytes()

    def unpacked(self, data: bytes, count: int) -> dict[str, Tensor]:
        """The outputs of all examples by their names in PyTorch."""
        outputs = [one for one in self.arguments if not one.given]
        row = np.dtype([(one.name, KINDS[one.kind], one.shape) for one in outputs])
        table = np.frombuffer(data, row)
        if len(table) != count:
            raise ExportError(f"the program answered {len(table)} of {count} examples")
        names = {there: here for here, there in self.names.items()}
        return {
            names[one.name]: torch.from_numpy(
                np.ascontiguousarray(table[one.name]).reshape(count * one.shape[0], *one.shape[1:])
            )
            for one in outputs
        }


# ---------------------------------------------------------------- the devices


def on_host(
    source: Path, work: Path, arguments: Sequence[Argument], names: dict[str, str]
) -> Program:
    """The model built by gcc for this machine."""
    (work / "host.c").write_text(harness.host(arguments))
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-w", f"-I{source}"]
    files = ["host.c", str(source / "model.c"), "-lm", "-o", "host"]
    call([program("gcc"), *flags, *files], work, BUILD_SECONDS)
    return Program(work, ("./host", "times.txt"), tuple(arguments), names)


def host_times(work: Path) -> dict[str, float]:
    """Latency of the examples of the last run on this machine."""
    return summary([float(line) for line in (work / "times.txt").read_text().split()])


def on_aarch64(
    source: Path, work: Path, arguments: Sequence[Argument], names: dict[str, str]
) -> Program:
    """The model built for AArch64 Linux and run by QEMU."""
    compiler, emulator = program("aarch64-linux-gnu-gcc"), program("qemu-aarch64")
    (work / "host.c").write_text(harness.host(arguments))
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-w", "-static", f"-I{source}"]
    files = ["host.c", str(source / "model.c"), "-lm", "-o", "aarch64"]
    call([compiler, *flags, *files], work, BUILD_SECONDS)
    return Program(work, (emulator, "-s", str(STACK_BYTES), "./aarch64"), tuple(arguments), names)


def on_cortex(
    source: Path, work: Path, arguments: Sequence[Argument], names: dict[str, str]
) -> Program:
    """The model built for a Cortex-M4F and run by QEMU's MPS2 board; leaves ``model.map``."""
    compiler, emulator = program("arm-none-eabi-gcc"), program("qemu-system-arm")
    for name, text in (("board.c", harness.board(arguments)), ("start.c", harness.STARTUP),
                       ("link.ld", harness.LINKER)):  # fmt: skip
        (work / name).write_text(text)
    flags = [*CORTEX, "-std=c11", "-O2", "-w", "-ffunction-sections", "-fdata-sections",
             f"-I{source}"]  # fmt: skip
    call([compiler, *flags, "-c", str(source / "model.c"), "-o", "model.o"], work, BUILD_SECONDS)
    link = [
        "-nostartfiles",
        "--specs=rdimon.specs",
        "-Wl,--gc-sections,-Map=model.map",
        "-Tlink.ld",
    ]
    files = ["board.c", "start.c", "model.o", "-lm", "-o", "board.elf"]
    call([compiler, *flags, *link, *files], work, BUILD_SECONDS)
    command = [emulator, "-machine", "mps2-an386", "-display", "none", "-monitor", "none"]
    command += ["-serial", "none", "-icount", "shift=0", "-kernel", "board.elf"]
    command += ["-semihosting-config", "enable=on,target=native"]
    return Program(work, tuple(command), tuple(arguments), names, files=True)


def board_told(work: Path) -> dict[str, int]:
    """Instructions of the last inference and the deepest stack in bytes, as the board said."""
    told = dict(line.split() for line in (work / "told.txt").read_text().splitlines())
    return {
        "instructions": int(told["ticks"]) * NANOSECONDS_PER_TICK,
        "stack_bytes": int(told["stack"]),
    }


PIECE = re.compile(r"^ \.(\w+)\S*\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (\S+)$")


def sizes(map_file: Path) -> dict[str, int]:
    """What the model takes, from the linker's map: code, constants, library and static RAM.

    In bytes: ``code``, ``weights`` (constants of the model), ``library`` (the mathematical
    functions that it pulls in) and ``static_ram``.
    """
    found = {"code": 0, "weights": 0, "library": 0, "static_ram": 0}
    text = re.sub(r"^( \.\S+)\n\s+", r"\1 ", map_file.read_text(), flags=re.MULTILINE)
    text = text[text.index("Linker script and memory map") :]
    for line in text.splitlines():
        piece = PIECE.match(line)
        if piece is None:
            continue
        section, size, source = piece[1], int(piece[2], 16), piece[3]
        if "libm.a" in source and section in ("text", "rodata"):
            found["library"] += size
        elif source.endswith("model.o"):
            kind = {"text": "code", "rodata": "weights", "data": "static_ram", "bss": "static_ram"}
            if section in kind:
                found[kind[section]] += size
    return found
