"""The plugin: streams in, one network that has seen all tasks out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from automl.core.api import (
    Axis,
    Batch,
    DataError,
    DataInfo,
    ExampleScores,
    Exportable,
    Outputs,
    Plugin,
    Run,
    Scores,
    Split,
    Trial,
    mean_scores,
)
from automl.plugins.continual import CARD
from automl.plugins.continual import config as settings
from automl.plugins.continual.claims import CLAIMS
from automl.plugins.continual.config import Config
from automl.plugins.continual.experts import ExpertLearner
from automl.plugins.continual.learner import REPORTS, Learner
from automl.plugins.continual.model import Experts, Network, Sequence


class Continual(Plugin[Config, Sequence]):
    """Tasks one after another: eighteen ways not to forget the earlier ones."""

    card = CARD
    defaults = settings.DEFAULTS
    full = settings.FULL
    claims = CLAIMS
    waivers: ClassVar[Mapping[str, str]] = {}
    no_techniques = (
        "its methods are what a technique would add: --set method=mas, ewc, gss_greedy, ..."
    )

    def check_data(self, data: DataInfo) -> None:
        """Only streams can be forgotten."""
        if "tasks" not in data.facts:
            raise DataError(
                f"dataset {data.name!r} has no tasks that come one after another; a stream has a "
                "column 'task', e.g. digit-stream"
            )

    def space(self, trial: Trial, base: Config, data: DataInfo) -> Config:
        """The methods that go with the setting, each with its own strengths."""
        methods: tuple[str, ...] = settings.ONLINE_METHODS
        if base.boundaries == "known":
            methods = (*settings.TASK_METHODS, *settings.REPLAY_METHODS)
        method = trial.suggest_categorical("method", methods)
        found = replace(
            base,
            method=method,
            hidden=trial.suggest_categorical("hidden", (32, 64, 100, 256)),
            layers=trial.suggest_int("layers", 1, 3),
            lr=trial.suggest_float("lr", 1e-3, 0.3, log=True),
            momentum=trial.suggest_categorical("momentum", (0.0, 0.9)),
            batch_size=trial.suggest_categorical("batch_size", (10, 32, 200)),
        )
        if base.boundaries == "hidden":
            found = replace(found, iterations=trial.suggest_int("iterations", 1, 10))
        else:
            found = replace(found, epochs=trial.suggest_int("epochs", 1, 30))
        return self.method_space(trial, found)

    def method_space(self, trial: Trial, config: Config) -> Config:
        """What the chosen method alone asks for."""
        method = config.method
        if method in settings.WEIGHT_METHODS:
            config = replace(config, lam=trial.suggest_float("lam", 1e-2, 1e4, log=True))
        if method == "slnid":
            lam_ssl = trial.suggest_float("lam_ssl", 1e-5, 1e-2, log=True)
            scale = trial.suggest_categorical("scale", (3.0, 6.0, 12.0))
            config = replace(config, lam_ssl=lam_ssl, scale=scale)
        if method in (*settings.DISTILLING, "expert_gate"):
            warm = trial.suggest_categorical("temperature", (1.0, 2.0, 4.0))
            config = replace(config, temperature=warm)
        if method == "ebll":
            config = replace(config, alpha=trial.suggest_float("alpha", 1e-4, 0.1, log=True))
        if method == "expert_gate":
            soft = trial.suggest_categorical("gate_temperature", (1.0, 2.0, 4.0))
            config = replace(config, gate_temperature=soft)
        if method in settings.REPLAY_METHODS:
            memory = trial.suggest_categorical("memory", (50, 100, 300, 500))
            config = replace(config, memory=memory)
        if method == "gss_greedy":
            vectors = trial.suggest_categorical("vectors", (5, 10, 20))
            threshold = trial.suggest_float("threshold", -0.5, 0.5)
            config = replace(config, vectors=vectors, threshold=threshold)
        if method == "task_free":
            mean = trial.suggest_float("plateau_mean", 0.05, 0.5)
            deviation = trial.suggest_float("plateau_std", 0.01, 0.2)
            config = replace(config, plateau_mean=mean, plateau_std=deviation)
        return config

    def build(self, config: Config, data: DataInfo) -> Sequence:
        """The network, with room for its weights after every task."""
        (features,) = data.shapes["x"]
        classes = data.facts["task_classes"]
        assert features is not None
        assert data.classes is not None
        model: Sequence
        if config.method == "expert_gate":
            model = Experts(features, classes, data.classes, config)
        else:
            multi = config.heads == "multi"
            model = Network(features, classes, data.classes, config, multi)
        model.remember_for(len(classes))
        return model

    def fit(self, model: Sequence, config: Config, run: Run) -> None:
        """Learn the stream in its order."""
        valid = run.split("valid")
        model.train()
        learner: Learner | ExpertLearner
        if isinstance(model, Experts):
            learner = ExpertLearner(model, config, run)
        else:
            assert isinstance(model, Network)
            learner = Learner(model, config, run)
        learner.learn(lambda: self.evaluate(model, config, valid))

    def steps(self, config: Config) -> int:
        """A report's worth of batches is a step."""
        return REPORTS

    def predict(self, model: Sequence, batch: Batch) -> Outputs:
        """The network's answer; experts are not told the task."""
        found: Outputs
        if isinstance(model, Experts):
            found = model(batch["x"])
        else:
            found = model(batch["x"], batch["task"])
        return found

    def evaluate(self, model: Sequence, config: Config, split: Split) -> Scores:
        """Accuracy and likelihood over the examples of all tasks."""

        def score(batch: Batch) -> ExampleScores:
            assert split.info.problem.score is not None
            return split.info.problem.score(self.predict(model, batch), batch)

        return mean_scores(model, score, split)

    def example(self, config: Config, data: DataInfo) -> dict[str, Tensor]:
        """Two inputs; the task is asked for where heads differ."""
        (features,) = data.shapes["x"]
        x = {"x": torch.rand(2, features or 1)}
        if config.method == "expert_gate":
            return x
        return {**x, "task": torch.zeros(2, dtype=torch.int64)}

    def export(self, model: Sequence, config: Config, data: DataInfo) -> Exportable:
        """One graph: all experts behind the gate, or the network with its heads."""
        inputs = self.example(config, data)
        outputs: tuple[str, ...] = ("logits",)
        discrete: tuple[str, ...] = ()
        if isinstance(model, Experts):
            outputs, discrete = ("logits", "task_pred"), ("task_pred",)
        elif config.heads == "single":
            inputs = {"x": inputs["x"]}
        axes = {name: {0: Axis("batch")} for name in inputs}
        module = Deployed(model, outputs).eval()
        samples = {"x": inputs["x"]}
        if "task" in inputs:
            samples = {"x": torch.rand(64, inputs["x"].shape[1])}
            samples["task"] = torch.arange(64) % len(data.facts["task_classes"])
            return Exportable(module, inputs, outputs, axes, discrete, samples=samples)
        return Exportable(module, inputs, outputs, axes, discrete)


class Deployed(nn.Module):
    """A model without its past: snapshots stay behind."""

    def __init__(self, model: Sequence, outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.outputs = model, outputs

    def forward(self, x: Tensor, task: Tensor | None = None) -> tuple[Tensor, ...]:
        """Named outputs by position; of one head the task is not asked."""
        found = self.model(x) if task is None else self.model(x, task)
        return tuple(found[name] for name in self.outputs)
