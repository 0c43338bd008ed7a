"""The target ``embedded``: C99, proven on this machine and on emulated Arm processors."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx

from automl.core.errors import ExportError, MissingExtra
from automl.export import parity, quantise
from automl.export.embedded import codegen, devices, harness
from automl.export.latency import processor
from automl.export.static import fixed, fixed_lengths
from automl.export.subject import Runtime, Subject
from automl.export.targets import GOOD, Canonical, ExportSettings, Target, Variant

BATCHES = (1, 2, 3, 7, 16)  # examples that are run one by one
EMULATED_BATCHES = (1, 3)  # instructions are counted one by one there
TIMED = 100
CORTEX_MHZ = 100  # of the record's clock: at one instruction a cycle
USAGE = """`model.c` needs no heap and no library but the C mathematics; `model.h` declares

    {prototype}

for sizes {lengths}. `make` builds the example.
{parts}
"""
MAKEFILE = """CFLAGS += -std=c11 -O2
example: example.c model.c model.h
\t$(CC) $(CFLAGS) example.c model.c -lm -o $@
"""


class EmbeddedTarget(Target):
    """C for microcontrollers and small computers."""

    name = "embedded"
    precisions = ("auto", "fp32", "int8")

    def check(self, settings: ExportSettings) -> None:
        """Also refuse where there is no generator or compiler."""
        super().check(settings)
        if importlib.util.find_spec("emx_onnx_cgen") is None:
            raise MissingExtra(
                'exporting to C needs emx-onnx-cgen: pip install "automl-papers[embedded]"'
            )
        if shutil.which("gcc") is None:
            raise MissingExtra("exporting to C needs gcc to prove it: apt-get install gcc")

    def prepare(
        self, subject: Subject, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Sequence[Variant]:
        """A folder of C per precision, for one example of the plugin's own size."""
        model = fixed(canonical.path, fixed_lengths(subject.exportable))
        name = canonical.metadata.get("automl.plugin", "model")
        variants = []
        if settings.precision != "int8":
            write(model, folder / "fp32", name)
            variants.append(Variant("fp32", "fp32/model.c"))
        if settings.precision != "fp32":
            variants.append(eight_bit(subject, model, folder / "int8", name))
        return variants

    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """Parity here, on a Cortex-M4F and on AArch64; flash and RAM against what there is."""
        source = (folder / variant.file).parent
        limit = parity.rule(variant.precision, subject.exportable.tolerance, settings.max_drop)
        with tempfile.TemporaryDirectory() as work:
            host = devices.on_host(source, Path(work), *interface(subject, source))
            found = judged(subject, host, limit)
            variant = replace(variant, parity=found)
            if not found["ok"]:  # wrong here already: building it for the others takes minutes
                status = "refused" if limit.rounds else "parity_fail"
                return variant.found(status, disagreement(found))
            # what rounds is judged above; the same C must then decide elsewhere as it does here
            reference = host if limit.rounds else subject.eager()
            ran = dict(emulated(subject, source, limit, reference))
        facts = {**variant.facts, "emulated": ran}
        variant = replace(variant, facts=facts)
        for device, about in facts["emulated"].items():
            if about["status"] == "parity_fail":
                return variant.found("parity_fail", f"{device}: {about['message']}")
        return fitting(variant, source, settings)

    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Latency here; instructions of the emulated microcontroller as an estimate."""
        source = (folder / variant.file).parent
        lengths = fixed_lengths(subject.exportable)
        about = {"batch": 1, "sizes": lengths}
        with tempfile.TemporaryDirectory() as work:
            host = devices.on_host(source, Path(work), *interface(subject, source))
            host(parity.inputs_of(subject.exportable, lengths | {"batch": TIMED}, seed=1))
            times = devices.host_times(Path(work))
        records = [
            {"runtime": "C, gcc -O2", "device": processor(), "memory": None, **about, **times}
        ]
        board = variant.facts["emulated"].get("cortex-m4f", {})
        if "instructions" in board:
            micros = board["instructions"] / CORTEX_MHZ
            records.append({
                "runtime": "C, gcc -O2", "device": "Cortex-M4F at 100 MHz, emulated by QEMU",
                "device_kind": "emulated", "estimated": True, "repeats": 1,
                "instructions": board["instructions"], "memory": variant.facts["ram_bytes"],
                **about, **dict.fromkeys(("p50_us", "p95_us", "min_us", "mean_us"), micros),
            })  # fmt: skip
        return records

    def choose(self, variants: Sequence[Variant]) -> Variant:
        """The good one with the least flash and RAM together."""
        good = [variant for variant in variants if variant.status in GOOD]
        return min(good, key=lambda variant: sum(footprint(variant))) if good else variants[0]

    def card(self, subject: Subject, variants: Sequence[Variant]) -> str:
        """The prototype, and what it takes."""
        best = self.choose(variants)
        lines = [
            f"- {v.precision} in {v.file}: {v.status}, {told(v)}"
            if v.facts
            else f"- {v.precision}: {v.status}, {v.message}"
            for v in variants
        ]
        return USAGE.format(
            prototype=best.facts.get("prototype", "void model(...)"),
            lengths=fixed_lengths(subject.exportable),
            parts="\n".join(lines),
        )


def write(model: Any, folder: Path, name: str) -> None:
    """Generated C with its header, example and Makefile."""
    folder.mkdir()
    arguments = codegen.generate(model, folder, name)
    (folder / "example.c").write_text(harness.example(arguments))
    (folder / "Makefile").write_text(MAKEFILE)


def eight_bit(subject: Subject, model: Any, folder: Path, name: str) -> Variant:
    """C of the graph quantised on the validation split; refused with the reason if that fails."""
    variant = Variant("int8-static", "int8/model.c")
    lengths = fixed_lengths(subject.exportable)
    try:
        with tempfile.TemporaryDirectory() as work:
            plain, small = Path(work) / "plain.onnx", Path(work) / "small.onnx"
            onnx.save(model, plain)
            with quantise.prepared(plain) as ready:
                quantise.static(ready, small, list(single_examples(subject, lengths)))
            write(onnx.load(small), folder, name)
    except ExportError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return variant.found("refused", str(error))
    return variant


def single_examples(subject: Subject, lengths: dict[str, int]) -> Iterator[dict[str, Any]]:
    """Inputs of one example each, from the validation split where its sizes are those of the C."""
    wanted = {
        name: tuple(value.shape)
        for name, value in parity.inputs_of(subject.exportable, lengths, seed=0).items()
    }
    found = 0
    for batch in subject.calibration():
        for row in range(len(next(iter(batch.values())))):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            if (
                found < TIMED
                and {name: tuple(value.shape) for name, value in one.items()} == wanted
            ):
                found += 1
                yield one
    if not found:  # no example of this size: random ones of the plugin's kind
        for seed in range(TIMED):
            yield parity.inputs_of(subject.exportable, lengths, seed)


def interface(subject: Subject, source: Path) -> tuple[list[codegen.Argument], dict[str, str]]:
    """The arguments of the C in a folder, and their names by those in PyTorch (same order)."""
    arguments = codegen.arguments((source / "model.c").read_text())
    names = [*subject.exportable.inputs, *subject.exportable.outputs]
    return arguments, dict(zip(names, (one.name for one in arguments), strict=True))


def judged(subject: Subject, program: devices.Program, limit: parity.Rule) -> dict[str, Any]:
    """A program's answers against PyTorch's, example by example, and the task metric.

    The metric only where the validation split has the C's own sizes and no other.
    """
    comparison = parity.Comparison(subject.exportable, limit)
    comparison.over_sizes(program, subject.eager(), own_sizes(subject, BATCHES))
    try:
        comparison.by_metric(subject, program)
    except ExportError as error:
        why = f"{subject.metric} is not measured: {error}"
        return {**comparison.report(), "unmeasured": why}
    return comparison.report()


def own_sizes(subject: Subject, batches: Sequence[int]) -> Iterator[dict[str, int]]:
    """The lengths that the C is for, with so many examples."""
    lengths = fixed_lengths(subject.exportable)
    return (lengths | {"batch": batch} for batch in batches)


def disagreement(found: dict[str, Any]) -> str:
    """Where the C and PyTorch differ, in a sentence."""
    if "metric" in found:
        return parity.disagreement(found)
    return (
        f"the C disagrees with PyTorch: largest difference {found['max_abs']:.2g}, "
        f"{found['agreement']:.1%} of {found['decisions']} decisions equal"
    )


def emulated(
    subject: Subject, source: Path, limit: parity.Rule, reference: Runtime
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What became of the C on each emulated processor, beside the reference."""
    for name, build in (("cortex-m4f", devices.on_cortex), ("aarch64", devices.on_aarch64)):
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            try:
                program = build(source, work, *interface(subject, source))
                comparison = parity.Comparison(subject.exportable, limit)
                sizes = own_sizes(subject, EMULATED_BATCHES)
                comparison.over_sizes(program, reference, sizes)
                found = comparison.report()
                about = {"status": "ok" if found["ok"] else "parity_fail", **measures(name, work)}
                about |= {"max_abs": found["max_abs"], "agreement": found["agreement"]}
                about["message"] = "" if found["ok"] else disagreement(found)
            except ExportError as error:
                about = {"status": "prepared", "message": str(error), **measures(name, work)}
        yield name, about


def measures(name: str, work: Path) -> dict[str, int]:
    """Flash, RAM, stack and instructions, as far as the build and the run came."""
    found: dict[str, int] = {}
    if name == "cortex-m4f" and (work / "model.map").exists():
        found |= devices.sizes(work / "model.map")
    if name == "cortex-m4f" and (work / "told.txt").exists():
        found |= devices.board_told(work)
    return found


def fitting(variant: Variant, source: Path, settings: ExportSettings) -> Variant:
    """The verified variant with its footprint, refused if it exceeds what there is."""
    arguments = codegen.arguments((source / "model.c").read_text())
    board = variant.facts["emulated"]["cortex-m4f"]
    buffers = sum(devices.bytes_of(one) for one in arguments)
    flash = sum(board[part] for part in ("code", "weights", "library") if part in board)
    ram = board.get("static_ram", 0) + board.get("stack_bytes", 0) + buffers
    declared = ", ".join(one.declaration for one in arguments)
    facts = {
        **variant.facts,
        "prototype": f"void model({declared});",
        "flash_bytes": flash,
        "ram_bytes": ram,
        "sizes_from": "linker map of the Cortex-M4F build, stack as painted under QEMU",
    }
    variant = replace(variant, facts=facts)
    limited = settings.flash_kb or settings.ram_kb
    if limited and not (flash and board.get("stack_bytes")):
        return variant.found("prepared", f"its size is not known: {board['message']}")
    for what, needs, has in (("flash", flash, settings.flash_kb), ("RAM", ram, settings.ram_kb)):
        if has and needs > has * 1000:
            return variant.found(
                "too_big", f"needs {needs / 1000:.1f} kB of {what}, of which there are {has:g} kB"
            )
    return variant.found("ok", told(variant))


def footprint(variant: Variant) -> tuple[int, int]:
    """Flash and RAM in bytes."""
    return variant.facts.get("flash_bytes", 0), variant.facts.get("ram_bytes", 0)


def told(variant: Variant) -> str:
    """A variant's footprint, where it ran, and why not elsewhere."""
    flash, ram = footprint(variant)
    emulators = variant.facts["emulated"]
    ran = [f"{name} in QEMU" for name, about in emulators.items() if about["status"] == "ok"]
    parts = [f"flash {flash / 1000:.1f} kB, RAM {ram / 1000:.1f} kB"] if flash else []
    parts += [f"run on {', '.join(['this machine', *ran])}"]
    parts += [
        f"{name} not verified: {about['message']}"
        for name, about in emulators.items()
        if about["status"] == "prepared"
    ]
    return "; ".join(parts)
