"""The training loop: precision, compilation, schedules, checkpoints, techniques."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from automl.core import checkpoint
from automl.core.discovery import catalogue
from automl.core.errors import CheckpointError, DataError, TrialError
from automl.core.plugin import Supervised
from automl.core.run import Run, Stop
from automl.core.settings import Settings
from automl.core.technique import Technique
from automl.core.train import Training, schedule, sgd
from automl.core.trial import seed_everything

CONFIG = Training(steps=120, batch_size=64, lr=1e-2, eval_every=40, clip_norm=1.0)
SPIRALS = "spirals:train_size=500"


def fit(config: Training = CONFIG, **run_options) -> tuple[nn.Module, Run]:
    """Train a small perceptron with dropout on the spirals."""
    dataset = catalogue().dataset(SPIRALS)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Dropout(0.1), nn.Linear(32, 2))
    run = Run(dataset, seed=0, **run_options)
    valid = dataset.split("valid").examples

    @torch.no_grad()
    def validate() -> dict[str, float]:
        model.eval()
        logits = model(valid["x"]).float()
        right = (logits.argmax(-1) == valid["target"]).double().mean()
        nll = nn.functional.cross_entropy(logits, valid["target"])
        return {"accuracy": float(right), "nll": float(nll)}

    sgd(
        model,
        loss=lambda batch: nn.functional.cross_entropy(model(batch["x"]), batch["target"]),
        train=dataset.split("train"),
        optimizer=torch.optim.Adam(model.parameters(), lr=config.lr),
        config=config,
        run=run,
        validate=validate,
    )
    return model, run


def test_it_learns_and_reports_on_the_way_and_at_the_end() -> None:
    _, run = fit(replace(CONFIG, steps=100))
    assert [report.step for report in run.history] == [40, 80, 100]
    assert run.history[-1].scores["nll"] < 0.69
    assert run.history[-1].train["loss"] < run.history[0].train["loss"]


def test_a_fit_without_steps_still_reports() -> None:
    _, run = fit(replace(CONFIG, steps=0))
    assert [report.step for report in run.history] == [0]


@pytest.mark.parametrize("options", [{"amp": "bf16"}, {"amp": "fp16"}])
def test_mixed_precision_learns_too(options) -> None:
    _, run = fit(**options)
    assert run.history[-1].train["loss"] < run.history[0].train["loss"]


@pytest.mark.slow
def test_a_compiled_fit_learns_too() -> None:
    _, run = fit(compile=True)
    assert run.history[-1].train["loss"] < run.history[0].train["loss"]


@pytest.mark.parametrize("decay", ["none", "linear", "cosine", "exp"])
@pytest.mark.parametrize("at", [40, 80])
def test_a_continued_fit_equals_an_uninterrupted_one(tmp_path, decay, at) -> None:
    config = replace(CONFIG, lr_decay=decay, batch_size=60)
    whole, run = fit(config)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        fit(
            config,
            checkpoint_path=path,
            on_report=lambda report: "interrupt" if report.step == at else "continue",
        )
    rest, again = fit(config, checkpoint_path=path)
    assert again.history == [report for report in run.history if report.step > at]
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_technique_is_part_of_the_fit_and_of_its_checkpoint(tmp_path) -> None:
    class Shrink(Technique):
        name = "shrink"
        defaults = Settings()

        def __init__(self, settings, seed) -> None:
            super().__init__(settings, seed)
            self.seen = 0

        def gradients(self, model, step) -> None:
            self.seen += 1
            noise = torch.rand(1, generator=self.generator)
            for parameter in model.parameters():
                parameter.grad.mul_(noise)

        def state(self):
            return {**super().state(), "seen": self.seen}

        def load_state(self, state) -> None:
            super().load_state(state)
            self.seen = state["seen"]

    whole, _ = fit(techniques=(Shrink(Settings(), 1),))
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        fit(
            techniques=(Shrink(Settings(), 1),),
            checkpoint_path=path,
            on_report=lambda report: "interrupt" if report.step == 80 else "continue",
        )
    technique = Shrink(Settings(), 1)
    rest, _ = fit(techniques=(technique,), checkpoint_path=path)
    assert technique.seen == CONFIG.steps
    for a, b in zip(whole.parameters(), rest.parameters(), strict=True):
        assert torch.equal(a, b)


def test_schedules_start_at_one_and_decay_as_named() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    assert schedule(optimizer, CONFIG, 5) is None
    expected = {"linear": 0.5, "cosine": 0.5, "exp": 0.96**2}
    for name, half_way in expected.items():
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
        made = schedule(optimizer, replace(CONFIG, steps=20, lr_decay=name), 5)
        rates = []
        for _ in range(20):
            rates.append(made.get_last_lr()[0])
            optimizer.step()
            made.step()
        assert rates[0] == 1.0
        assert rates[10] == pytest.approx(half_way)


def test_a_fit_may_not_see_the_test_split() -> None:
    with pytest.raises(DataError, match="may not see the test split"):
        Run(catalogue().dataset(SPIRALS), seed=0).split("test")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_refused(value: float) -> None:
    run = Run(catalogue().dataset(SPIRALS), seed=0)
    with pytest.raises(TrialError, match="the fit diverged"):
        run.report(1, {"accuracy": value})
    with pytest.raises(TrialError, match="loss is"):
        run.report(1, {"accuracy": 0.0}, train={"loss": value})


STATE = {
    "tensor": torch.arange(6).reshape(2, 3),
    "nested": {3: [1, 2.5, None, (True, "x")], "empty": {}},
    "bits": torch.Generator().get_state(),
}


def test_a_checkpoint_holds_nested_state_without_pickle(tmp_path) -> None:
    path = tmp_path / "deep" / "state.safetensors"
    checkpoint.save(path, STATE)
    found = checkpoint.load(path)
    assert torch.equal(found["tensor"], STATE["tensor"])
    assert torch.equal(found["bits"], STATE["bits"])
    assert found["nested"] == STATE["nested"]
    assert b"pickle" not in path.read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["state.safetensors"]


@pytest.mark.parametrize("damage", [b"", b"\x00" * 64, None])
def test_a_damaged_checkpoint_says_what_to_do(tmp_path, damage) -> None:
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, STATE)
    path.write_bytes(path.read_bytes()[:40] if damage is None else damage)
    with pytest.raises(CheckpointError, match="delete the file to start over"):
        checkpoint.load(path)


def test_the_checkpoint_of_another_trial_is_refused(tmp_path) -> None:
    path = tmp_path / "state.safetensors"
    Run(catalogue().dataset(SPIRALS), seed=1, checkpoint_path=path).checkpoint({"step": 1})
    with pytest.raises(CheckpointError, match="belongs to another trial"):
        Run(catalogue().dataset(SPIRALS), seed=2, checkpoint_path=path).restore()


class Scaled(Supervised):
    """Divides by the largest input that it was trained on, and fits for two epochs."""

    card = defaults = full = None

    def space(self, trial, base, data):
        return base

    def build(self, config, data):
        model = nn.Module()
        model.register_buffer("largest", torch.ones(()))
        model.layer = nn.Linear(2, 2)
        model.forward = lambda x: {"logits": model.layer(x / model.largest)}
        return model

    def prepare(self, model, config, train):
        model.largest.copy_(train.examples["x"].abs().max())
        return replace(config, steps=2 * (len(train) // config.batch_size))


def test_a_model_is_prepared_by_the_training_data_before_it_descends() -> None:
    plugin, dataset = Scaled(), catalogue().dataset(SPIRALS)
    model, run = plugin.build(CONFIG, dataset.info), Run(dataset, seed=0)
    plugin.fit(model, CONFIG, run)
    assert model.largest == dataset.split("train").examples["x"].abs().max()
    assert run.history[-1].step == 2 * (500 // 64)


def test_seeds_are_those_that_torch_would_set() -> None:
    torch.manual_seed(7)
    drawn = torch.rand(3)
    seed_everything(7)
    assert torch.equal(torch.rand(3), drawn)
