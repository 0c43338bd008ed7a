"""An ensemble as a model like any other: built, evaluated, saved, exported by the same contract."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

import optuna
import torch
from torch import Tensor, nn

from automl.core import checkpoint
from automl.core.data import Averaging, Batch, DataInfo, ExampleScores, Outputs, Scores, Split
from automl.core.discovery import catalogue
from automl.core.errors import CheckpointError, ConfigError, ExportError
from automl.core.offers import ENSEMBLE
from automl.core.places import artifact_root
from automl.core.plugin import Exportable, Plugin
from automl.core.run import Run
from automl.core.settings import Settings, setting
from automl.core.train import mean_scores


@dataclass(frozen=True)
class Members(Settings):
    """The models of an ensemble. JSON texts, since a configuration is scalars."""

    models: str = setting("[]", doc="[{trial, plugin, config, weights, sha256}, ...]")
    order: str = setting("[]", doc="indices of models in the order of their addition")

    @property
    def each(self) -> list[dict[str, Any]]:
        """What is known of each model; ``weights`` is relative to the artifact folder."""
        found: list[dict[str, Any]] = json.loads(self.models)
        return found

    @property
    def additions(self) -> list[int]:
        """Indices of models; one that is there twice counts twice."""
        found: list[int] = json.loads(self.order)
        return found


class Ensemble(nn.Module):
    """Models of ``x`` whose predictions are averaged with ``shares`` (models,), summing to one."""

    shares: Tensor

    def __init__(self, models: list[nn.Module], shares: Tensor, averaging: Averaging) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.register_buffer("shares", shares)
        self.averaging = averaging

    def forward(self, x: Tensor) -> Outputs:
        """The answer to ``x`` (batch, ...)."""
        return averaged([model(x=x) for model in self.models], self.shares, self.averaging)


class Together(nn.Module):
    """The same of what the members export, called by position."""

    def __init__(self, ensemble: Ensemble, parts: list[Exportable]) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.modules_ = nn.ModuleList(part.module for part in parts)
        self.names = [part.outputs for part in parts]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """The averaged answer, alone."""
        found = [
            dict(zip(names, module(x), strict=True))
            for names, module in zip(self.names, self.modules_, strict=True)
        ]
        mixed = averaged(found, self.ensemble.shares, self.ensemble.averaging)
        return tuple(mixed.values())


def averaged(answers: list[Outputs], shares: Tensor, averaging: Averaging) -> Outputs:
    """One answer of several."""
    mean = sum(
        share * averaging.prediction(answer) for share, answer in zip(shares, answers, strict=True)
    )
    assert isinstance(mean, Tensor)
    return averaging.outputs(mean)


class EnsemblePlugin(Plugin[Members, Ensemble]):
    """Ensemble selection (Caruana et al. 2004): its fit puts models of a study together.

    It is never searched: ``assemble`` chooses the members and records a study of one trial, whose
    steps are the additions.
    """

    card = ENSEMBLE
    defaults = Members()
    full = Members()

    def space(self, trial: optuna.trial.BaseTrial, base: Members, data: DataInfo) -> Members:
        """Refuse: nothing of it is searched.

        Raises:
            ConfigError: saying how an ensemble is made.
        """
        raise ConfigError("an ensemble is not searched: make one with `automl ensemble STUDY`")

    def build(self, config: Members, data: DataInfo) -> Ensemble:
        """The members, untrained, with their shares.

        Raises:
            ConfigError: if the problem's answers cannot be averaged, or there are no members.
        """
        if data.problem.averaging is None:
            raise ConfigError(f"the answers of models of {data.problem.name!r} cannot be averaged")
        if not config.additions:
            raise ConfigError("an ensemble has members: make one with `automl ensemble STUDY`")
        counts = Counter(config.additions)
        models, shares = [], []
        for index, member in enumerate(config.each):
            plugin = catalogue().plugin(member["plugin"])
            settings = type(plugin.defaults).from_dict(member["config"])
            models.append(plugin.build(settings, data))
            shares.append(counts[index] / len(config.additions))
        return Ensemble(models, torch.tensor(shares), data.problem.averaging)

    def fit(self, model: Ensemble, config: Members, run: Run) -> None:
        """Load the members' weights and report the ensemble after each addition."""
        for member, part in zip(config.each, model.models, strict=True):
            path = artifact_root() / member["weights"]
            checkpoint.load_weights(path, part)
            if hashlib.sha256(path.read_bytes()).hexdigest() != member["sha256"]:
                raise CheckpointError(
                    f"{path} is not what trial {member['trial']} was recorded with"
                )
        model.eval()
        valid = run.split("valid")
        whole = model.shares.clone()
        for count in range(1, len(config.additions) + 1):
            shares = Counter(config.additions[:count])
            model.shares.copy_(torch.tensor([shares[i] / count for i in range(len(whole))]))
            run.report(count, self.evaluate(model, config, valid))
        model.shares.copy_(whole)

    def evaluate(self, model: Ensemble, config: Members, split: Split) -> Scores:
        """Mean of the problem's scores over the split."""

        def score(batch: Batch) -> ExampleScores:
            assert split.info.problem.score is not None
            return split.info.problem.score(model(x=batch["x"]), batch)

        with torch.no_grad():
            return mean_scores(model, score, split)

    def example(self, config: Members, data: DataInfo) -> dict[str, Tensor]:
        """The first member's."""
        member = config.each[0]
        plugin = catalogue().plugin(member["plugin"])
        found = plugin.example(type(plugin.defaults).from_dict(member["config"]), data)
        return {"x": found["x"]}

    def steps(self, config: Members) -> int:
        """The additions."""
        return max(1, len(config.additions))

    def export(self, model: Ensemble, config: Members, data: DataInfo) -> Exportable:
        """The members' own graphs with the average behind them, as one.

        Raises:
            ExportError: if a member takes more than ``x``.
        """
        parts = []
        for member, part in zip(config.each, model.models, strict=True):
            plugin = catalogue().plugin(member["plugin"])
            settings = type(plugin.defaults).from_dict(member["config"])
            made = plugin.export(part, settings, data)
            if list(made.inputs) != ["x"]:
                raise ExportError(
                    f"trial {member['trial']} of plugin {plugin.name!r} takes "
                    f"{', '.join(made.inputs)}; a member of an exported ensemble takes x alone"
                )
            parts.append(made)
        first = parts[0]
        with torch.no_grad():
            outputs = model.eval()(first.inputs["x"])
        return Exportable(Together(model, parts), first.inputs, tuple(outputs), first.axes)
