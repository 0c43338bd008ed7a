"""What a kind of runtime is: files to write, how to prove them and how to measure them."""

from __future__ import annotations

import abc
import copy
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from torch import nn

from automl.core.data import Dataset
from automl.core.errors import ConfigError, ExportError
from automl.core.plugin import Plugin
from automl.export import graph
from automl.export.graph import Graph
from automl.export.subject import Subject

Precision = Literal["auto", "fp32", "fp16", "int8"]
PRECISIONS = ("auto", "fp32", "fp16", "int8")
GOOD = ("ok", "prepared")  # verified; written, but not to be verified on this machine


class Unsupported(ExportError):
    """A model cannot run on a kind of runtime; the message names operator and node."""


@dataclass(frozen=True)
class ExportSettings:
    """What the user asks of an export.

    ``max_drop`` bounds what a lower precision may lose: points of a share such as accuracy
    (0.01 is one point), else a share of the metric. ``flash_kb`` and ``ram_kb`` bound what a
    microcontroller has; 0: unbounded.

    Raises:
        ConfigError: naming the field that is out of range.
    """

    precision: Precision = "auto"
    max_drop: float = 0.01
    flash_kb: float = 0.0
    ram_kb: float = 0.0

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ConfigError(
                f"there is no precision {self.precision!r}: choose one of {', '.join(PRECISIONS)}"
            )
        for name in ("max_drop", "flash_kb", "ram_kb"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"{name} must be 0 or more, not {getattr(self, name)}")


@dataclass(frozen=True)
class Canonical:
    """The single-precision ONNX that every target starts from: ``model.onnx`` and its parts."""

    path: Path
    graph: Graph
    parts: dict[str, Path] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @classmethod
    def write(cls, subject: Subject, folder: Path, metadata: dict[str, str]) -> Canonical:
        """The canonical graph of a model and its parts, written into ``folder``.

        Raises:
            ExportError: if the model cannot be exported.
        """
        if subject.deployment is not None:
            metadata = {**metadata, "automl.data": json.dumps(subject.deployment.facts)}
        path = folder / "model.onnx"
        whole = graph.write(subject.exportable, path, metadata)
        parts = {}
        for name, part in subject.exportable.parts.items():
            parts[name] = folder / f"{name}.onnx"
            graph.write(part, parts[name], {**metadata, "automl.part": name})
        return cls(path, whole, parts, metadata)


@dataclass(frozen=True)
class Variant:
    """One precision of an export: a file to load, and what was found of it.

    ``status``: ``ok`` (verified here), ``prepared`` (cannot run here; ``message`` says what is
    missing), ``parity_fail``, ``refused`` (loses too much), ``too_big``, ``load_fail``, ``crash``,
    ``timeout``. ``facts`` hold what a target knows: sizes, operators, where it ran.
    """

    precision: str  # fp32, fp16, int8-dynamic, int8-static
    file: str  # relative to the target's folder
    status: str = ""
    message: str = ""
    parity: dict[str, Any] = field(default_factory=dict)
    benchmarks: tuple[dict[str, Any], ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    def found(self, status: str, message: str = "", **changes: Any) -> Variant:
        """A copy with a verdict."""
        return replace(self, status=status, message=message, **changes)


@dataclass(frozen=True)
class ExportReport:
    """What became of an export to one target. ``folder`` is empty unless files were written.

    ``status`` and ``parity`` are those of the ``precision`` that the target recommends; beside a
    variant's statuses ``export_fail`` and ``unsupported`` say that there is nothing to load.
    """

    target: str
    status: str
    precision: str = ""
    file: str = ""
    folder: str = ""
    files: tuple[dict[str, Any], ...] = ()
    graph: dict[str, Any] = field(default_factory=dict)
    parity: dict[str, Any] = field(default_factory=dict)
    benchmarks: tuple[dict[str, Any], ...] = ()
    variants: tuple[dict[str, Any], ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    message: str = ""

    @property
    def good(self) -> bool:
        """Whether there is something to use."""
        return self.status in GOOD

    def to_dict(self) -> dict[str, Any]:
        """JSON-able copy."""
        return asdict(self)


class Target(abc.ABC):
    """A kind of runtime. It holds no state: parent and child process each make their own.

    ``prepare`` runs in the caller's process; ``verify`` and ``benchmark`` in a child, because a
    runtime may crash.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ("auto", "fp32")

    def check(self, settings: ExportSettings) -> None:
        """Refuse what cannot be done before anything is trained, loaded or written.

        Raises:
            ConfigError: if the target does not offer the precision.
            MissingExtra: saying which extra or program to install.
        """
        if settings.precision not in self.precisions:
            raise ConfigError(
                f"target {self.name} does not offer {settings.precision}: "
                f"choose {', '.join(self.precisions)}"
            )

    @abc.abstractmethod
    def prepare(
        self, subject: Subject, canonical: Canonical, folder: Path, settings: ExportSettings
    ) -> Sequence[Variant]:
        """Write the runtime's files into ``folder``; the variants, the preferred one first.

        Raises:
            Unsupported: if the model cannot run there, naming the operator and its node.
            ExportError: if the model cannot be made ready for this runtime.
        """

    @abc.abstractmethod
    def verify(
        self, subject: Subject, folder: Path, variant: Variant, settings: ExportSettings
    ) -> Variant:
        """The variant with its status and parity against PyTorch."""

    @abc.abstractmethod
    def benchmark(self, subject: Subject, folder: Path, variant: Variant) -> list[dict[str, Any]]:
        """Measurements of a verified variant.

        Each has ``runtime``, ``device``, ``batch``, ``sizes``, ``p50_us``, ``p95_us``, ``min_us``,
        ``mean_us``, ``repeats``, ``memory`` (bytes or None); anything else is a fact.
        """

    def latency_us(self, subject: Subject, folder: Path, variant: Variant) -> float | None:
        """The median time of one example in microseconds; ``None`` where nothing can be timed."""
        return None

    def check_costs(self) -> None:
        """Refuse a search that needs this target's costs if it cannot measure any here.

        Raises:
            ConfigError: naming the targets that can.
            MissingExtra: saying which extra or program to install.
        """
        if type(self).latency_us is Target.latency_us:
            raise ConfigError(
                f"target {self.name} cannot be measured within a search: use --target cpu or web"
                + ("; --max-flash-kb bounds its flash" if self.name == "embedded" else "")
            )
        self.check(ExportSettings(precision="fp32"))

    def costs(
        self, plugin: Plugin[Any, Any], model: nn.Module, config: Any, dataset: Dataset
    ) -> dict[str, float]:
        """``bytes`` and ``latency_ms`` of a model in a search: single precision, one example.

        Raises:
            ExportError: if it cannot be exported or timed.
        """
        subject = Subject.of(plugin, copy.deepcopy(model).cpu().eval(), config, dataset)
        with tempfile.TemporaryDirectory(prefix="automl-costs-") as folder:
            place = Path(folder) / self.name
            place.mkdir()
            canonical = Canonical.write(subject, Path(folder), {})
            first = self.prepare(subject, canonical, place, ExportSettings(precision="fp32"))[0]
            micros = self.latency_us(subject, place, first)
            if micros is None:
                raise ExportError(f"target {self.name} could not be timed on this machine")
            size = (place / first.file).stat().st_size
        return {"bytes": float(size), "latency_ms": micros / 1000}

    def choose(self, variants: Sequence[Variant]) -> Variant:
        """The variant to recommend: the first good one, else the first."""
        return next((variant for variant in variants if variant.status in GOOD), variants[0])

    def card(self, subject: Subject, variants: Sequence[Variant]) -> str:
        """Markdown that says how to run the files, for the README beside them."""
        return ""
