"""The settings of a LEMUR model, and what each may be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from automl.core.api import ConfigError, Settings, setting
from automl.plugins.lemur.source import OWN, Source, read
from automl.plugins.lemur.transform import NAMES

PREFIX = "prm."


@dataclass(frozen=True)
class Config(Settings):
    """What LEMUR calls ``prm``, where the model comes from, and what its code may use.

    ``prm`` holds the hyperparameters that only this model declares, as JSON; elsewhere they are
    settings of their own: ``prm.NAME``, each between 0 and 1.
    """

    model: str = setting("", doc="FILE.py, WHEEL.whl!NAME or code; empty: a small network")
    sha256: str = setting("", doc="of the model's text; filled in, and then compared")
    epoch: int = setting(5, low=1, high=100, unit="epochs", doc="calls of learn")
    batch: int = setting(32, low=1, high=4096, unit="examples", doc="examples per step")
    transform: str = setting("norm_32", choices=NAMES, doc="what is done to an image")
    lr: float = setting(0.01, low=0, high=1, doc="learning rate")
    momentum: float = setting(0.9, low=0, high=1, doc="momentum")
    dropout: float = setting(0.2, low=0, high=1, doc="dropout")
    pretrained: int = setting(0, low=0, high=1, doc="weights from elsewhere; only 0 here")
    prm: str = setting("{}", doc="further hyperparameters, a JSON object of numbers")
    seconds: float = setting(300.0, low=1, unit="s", doc="wall-clock of one epoch, inside")
    cpu_seconds: float = setting(3600.0, low=1, unit="s", doc="CPU time of a fit, inside")
    memory_mb: int = setting(4096, low=256, unit="MB", doc="memory of the model's process")
    allow_unsafe: bool = setting(False, doc="skip the static policy; the sandbox stays")

    def check(self) -> None:
        """Refuse a model that cannot be read and hyperparameters that it does not have."""
        if self.pretrained:
            raise ConfigError(
                "pretrained=1 needs weights from the network, which a sandbox does not have: use 0"
            )
        source = self.source
        if self.sha256 not in ("", source.sha256):
            raise ConfigError(
                f"sha256={self.sha256!r}, but {source.place} has {source.sha256!r}: "
                "the model's code has changed since"
            )
        object.__setattr__(self, "sha256", source.sha256)
        given = self.further
        unknown = sorted(given.keys() - source.further.keys())
        if unknown:
            names = ", ".join(sorted(source.declared)) or "none"
            raise ConfigError(
                f"{PREFIX}{unknown[0]} is no hyperparameter of {source.name}, which declares: "
                f"{names}"
            )
        for name, value in given.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(f"{PREFIX}{name}={value!r} must be a number")
            if not 0 <= value <= 1:
                bound = "at least 0" if value < 0 else "at most 1"
                raise ConfigError(f"{PREFIX}{name}={value!r} must be {bound}")
        object.__setattr__(self, "prm", json.dumps({**source.further, **given}, sort_keys=True))

    @property
    def source(self) -> Source:
        """The model's text and what it declares."""
        return read(self.model, self.allow_unsafe)

    def texts(self) -> dict[str, str]:
        """The model's text, unless it is the one of this package."""
        return {f"models/{self.source.name}.py": self.source.code} if self.model else {}

    @property
    def further(self) -> dict[str, Any]:
        """The hyperparameters in ``prm``.

        Raises:
            ConfigError: if it is no JSON object.
        """
        try:
            found = json.loads(self.prm)
        except json.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise ConfigError(f"prm={self.prm!r} must be a JSON object of numbers")
        return found

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """What the model is given as ``prm``; a value of 0 is a value."""
        return {**{name: getattr(self, name) for name in OWN}, **self.further}

    def to_dict(self) -> dict[str, Any]:
        """Every setting, those of this model alone as ``prm.NAME``."""
        values = super().to_dict()
        del values["prm"]
        return values | {f"{PREFIX}{name}": value for name, value in self.further.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The opposite of ``to_dict``; raises as that of ``Settings``."""
        plain = {name: value for name, value in values.items() if not name.startswith(PREFIX)}
        further = {
            name.removeprefix(PREFIX): value
            for name, value in values.items()
            if name.startswith(PREFIX)
        }
        if further:
            plain["prm"] = json.dumps(further)
        return super().from_dict(plain)

    def updated(self, assignments: Any) -> Self:
        """As that of ``Settings``; another model starts with its own hyperparameters."""
        texts = list(assignments)
        names = {text.partition("=")[0].strip() for text in texts}
        base = self
        if "model" in names:
            new = next(t.partition("=")[2].strip() for t in texts if t.startswith("model"))
            unsafe = any(text.replace(" ", "").lower() == "allow_unsafe=true" for text in texts)
            base = replace(self, model=new, sha256="", prm="{}", allow_unsafe=unsafe)
        return super(Config, base).updated(texts)

    @classmethod
    def parse(cls, name: str, text: str) -> Any:
        """Turn the text of a setting into its type."""
        if name.startswith(PREFIX):
            try:
                return json.loads(text)
            except json.JSONDecodeError:
                return text
        return super().parse(name, text)


DEFAULTS = Config()
FULL = replace(DEFAULTS, epoch=50)


def with_model(reference: str, **settings: Any) -> Config:
    """The defaults for another model."""
    return replace(DEFAULTS, model=reference, sha256="", prm="{}", **settings)
