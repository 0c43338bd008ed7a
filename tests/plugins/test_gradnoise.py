"""What only gradient noise can break: its size, order and stream; networks, stories, products."""

import contextlib
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from automl.core.api import ConfigError, DataError, Run, Split
from automl.core.discovery import catalogue
from automl.core.record import RunResult
from automl.core.run import Stop
from automl.core.trial import seed_everything
from automl.export import graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model
from automl.plugins.gradnoise import claims
from automl.plugins.gradnoise.config import DEFAULTS, INITS
from automl.plugins.gradnoise.data import ID, WORDS, Products, Stories, fold, written
from automl.plugins.gradnoise.model import (
    DeepNetwork,
    GatedUnit,
    MemoryNetwork,
    NeuralGpu,
    initialise,
    position_encoding,
)
from automl.plugins.gradnoise.noise import GradientNoise, Halving, NoiseSettings, deviation
from automl.plugins.gradnoise.plugin import NoisyNetworks, lesson, prepare
from automl.plugins.gradnoise.probe import DoubleLength

PLUGIN = NoisyNetworks()
SMALL = {"steps": 20, "eval_every": 10, "depth": 3}


def fitted(dataset: str = "digits", seed: int = 0, enough=math.inf, **settings):
    """A network after a few steps, its settings and its run; it may end at ``enough`` accuracy."""
    data = catalogue().dataset(dataset)
    config = replace(DEFAULTS, **{**SMALL, **settings})
    seed_everything(seed)
    model = PLUGIN.build(config, data.info)

    def answer(report):
        return "stop" if report.scores.get("accuracy", 0) >= enough else "continue"

    run = Run(data, seed, on_report=answer)
    with contextlib.suppress(Stop):
        PLUGIN.fit(model, config, run)
    return model.eval(), config, run


# ---------------------------------------------------------------- the noise


def test_the_deviation_is_the_papers() -> None:
    usual = NoiseSettings(eta=0.3, gamma=0.55)
    assert deviation(usual, 0) == pytest.approx(0.3**0.5)
    assert deviation(usual, 99) == pytest.approx((0.3 / 100**0.55) ** 0.5)
    assert deviation(usual, 99) == pytest.approx(0.154369, abs=1e-6)
    constant = replace(usual, schedule="constant")
    assert deviation(constant, 99) == deviation(usual, 0)
    assert deviation(replace(usual, schedule="none"), 0) == 0


def started(settings: NoiseSettings, size: int = 400_000) -> tuple[nn.Module, GradientNoise]:
    model = nn.Linear(size // 2, 2, bias=False)
    technique = GradientNoise(settings, 7)
    technique.started(model, torch.optim.SGD(model.parameters(), lr=1.0))
    model.weight.grad = torch.full_like(model.weight, 2.0)
    return model, technique


@pytest.mark.parametrize("step", [1, 50])
def test_noise_has_the_deviation_of_its_step_and_mean_zero(step) -> None:
    model, technique = started(NoiseSettings(eta=1.0))
    technique.raw_gradients(model, step)
    assert bool((model.weight.grad == 2).all()), "noise must not be clipped"
    technique.gradients(model, step)
    wanted = step**-0.275
    noise = model.weight.grad - 2
    assert float(noise.std()) == pytest.approx(wanted, rel=0.01)
    assert float(noise.mean()) == pytest.approx(0, abs=0.01 * wanted)
    before = model.weight.grad.clone()
    technique.gradients(model, step)
    assert not torch.equal(model.weight.grad - before, noise), "the same noise twice"


def test_noise_before_clipping_is_clipped() -> None:
    seed_everything(0)
    layer, sizes = nn.Linear(50, 50), {}
    for order in ("after_clip", "before_clip"):
        technique = GradientNoise(NoiseSettings(eta=1.0, order=order), 0)
        technique.started(layer, torch.optim.SGD(layer.parameters(), lr=1.0))
        for parameter in layer.parameters():
            parameter.grad = torch.zeros_like(parameter)
        technique.raw_gradients(layer, 1)
        nn.utils.clip_grad_norm_(layer.parameters(), 10.0)
        technique.gradients(layer, 1)
        sizes[order] = float(torch.cat([p.grad.flatten() for p in layer.parameters()]).norm())
    assert sizes["before_clip"] == pytest.approx(10.0, rel=1e-4)
    assert sizes["after_clip"] == pytest.approx(2550**0.5, rel=0.05)


def test_frozen_and_unused_parameters_stay_as_they_are() -> None:
    model = nn.ModuleList([nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)])
    model[1].requires_grad_(False)
    technique = GradientNoise(NoiseSettings(), 0)
    technique.started(model, torch.optim.SGD(model[0].parameters(), lr=1.0))
    model[0](torch.ones(3)).sum().backward()
    technique.gradients(model, 1)
    assert model[1].weight.grad is None
    assert model[2].weight.grad is None
    assert not bool((model[0].weight.grad == 1).any())
    assert not bool((model[0].bias.grad == 1).any()), "biases get noise too"


def test_noise_has_a_stream_of_its_own() -> None:
    quiet, _, _ = fitted(noise="none", dropout=0.2)
    silent, _, _ = fitted(noise="constant", eta=0.0, dropout=0.2)
    for one, two in zip(quiet.state_dict().values(), silent.state_dict().values(), strict=True):
        assert torch.equal(one, two), "noise of variance 0 changes batches or dropout"
    noisy, _, _ = fitted(dropout=0.2)
    assert not torch.equal(noisy.layers[0].weight, quiet.layers[0].weight)


def test_the_technique_is_the_plugins_noise_and_helps_other_plugins(tmp_path) -> None:
    data = catalogue().dataset("spirals:train_size=200")
    other = catalogue().plugin("selu")
    config = replace(other.defaults, steps=20, eval_every=10, depth=2, width=16)

    def weights(techniques, path=None, interrupt=False):
        def answer(report):
            return "interrupt" if interrupt else "continue"

        seed_everything(0)
        model = other.build(config, data.info)
        run = Run(data, 0, techniques=techniques, checkpoint_path=path, on_report=answer)
        try:
            other.fit(model, config, run)
        except Stop:
            assert interrupt
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    def noise():
        return (GradientNoise(NoiseSettings(eta=0.1), 3),)

    plain, noisy = weights(()), weights(noise())
    assert not torch.equal(plain, noisy)
    assert torch.equal(noisy, weights(noise()))
    path = tmp_path / "checkpoint.safetensors"
    weights(noise(), path, interrupt=True)
    assert torch.equal(noisy, weights(noise(), path)), "resumed noise is other noise"
    info = data.info
    assert GradientNoise.refusal(other, info) == ""
    assert "among its settings" in GradientNoise.refusal(PLUGIN, info)


def test_a_search_proposes_the_defaults_first() -> None:
    import optuna

    params = {f"gradnoise.{k}": v for k, v in NoiseSettings().to_dict().items()}
    trial = optuna.trial.FixedTrial(params)
    assert GradientNoise.space(trial, NoiseSettings()) == NoiseSettings()
    assert set(trial.params) == {"gradnoise.eta", "gradnoise.gamma"}


def test_rates_are_halved_by_epochs() -> None:
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.8)
    technique = Halving(25)
    technique.started(layer, optimizer)
    for epoch in range(1, 76):
        technique.epoch_ended(layer, epoch)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1)


# ---------------------------------------------------------------- the deep network


def test_weights_start_as_named() -> None:
    wanted = {
        "zero": 0.0,
        "simple": 0.1,
        "he": math.sqrt(2 / 300),
        "sussillo_abbott": math.sqrt(2 / 300) * math.exp(1.2 / (200 - 2.4)),
        "orthogonal": math.sqrt(2 / 300),
    }
    assert set(wanted) == set(INITS)
    seed_everything(0)
    for kind, spread in wanted.items():
        weight = torch.empty(200, 300)
        initialise(weight, kind)
        assert float(weight.std()) == pytest.approx(spread, rel=0.02)
    product = weight @ weight.T
    torch.testing.assert_close(product, 2 * torch.eye(200), atol=1e-4, rtol=0)


def test_zero_weights_move_by_noise_only() -> None:
    with pytest.warns(UserWarning, match="no hidden weight can receive gradient"):
        stuck, _, run = fitted(init="zero", noise="none")
    assert not any(bool(layer.weight.any()) for layer in stuck.layers if hasattr(layer, "weight"))
    assert run.history[-1].scores["accuracy"] < 0.15
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        moved, _, _ = fitted(init="zero")
    first = moved.layers[0].weight.detach()
    # 20 steps at rate 0.05: a random walk of deviation lr sqrt(sum of variances)
    walk = 0.05 * math.sqrt(sum(0.3 / (1 + t) ** 0.55 for t in range(20)))
    assert float(first.std()) == pytest.approx(walk, rel=0.05)


def test_the_default_network_is_the_papers() -> None:
    model = DeepNetwork(DEFAULTS, 784, 10, numeric=False)
    layers = [layer for layer in model.layers if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in layers] == [50] * 20 + [10]
    assert not any(bool(layer.bias.any()) for layer in layers)


@pytest.mark.slow
def test_noise_rescues_zero_weights() -> None:
    _, _, run = fitted("digits", enough=0.85, **{**claims.ZERO.to_dict(), "eval_every": 250})
    assert run.history[-1].scores["accuracy"] >= 0.85


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
def test_general_problems_are_learnt(optimizer) -> None:
    lr = 0.003 if optimizer == "adam" else 0.05
    settings = {"steps": 300, "eval_every": 300, "eta": 1e-4, "init": "he", "lr": lr}
    _, _, run = fitted("digits", optimizer=optimizer, **settings)
    assert run.history[-1].scores["accuracy"] > 0.8
    _, _, run = fitted("uci-suite", optimizer=optimizer, **settings)
    assert run.history[-1].scores["accuracy"] > 0.8
    _, _, run = fitted("uci-regression", optimizer=optimizer, standardise=True, **settings)
    variance = float(run.split("valid").examples["target"].var(correction=0))
    assert run.history[-1].scores["mse"] < 0.9 * variance


# ---------------------------------------------------------------- the memory network


def memory(**settings) -> MemoryNetwork:
    seed_everything(0)
    return MemoryNetwork(9, 4, 3, replace(DEFAULTS, **{"hops": 2, "d_mem": 5, **settings})).eval()


def test_a_memory_network_computes_the_written_equations() -> None:
    model = memory()
    story = torch.tensor([[[0, 0, 0], [1, 2, 3], [4, 5, 0], [1, 6, 7]]])
    question = torch.tensor([[8, 2, 0]])
    weights = [e.detach() for e in model.embeddings]
    times = [t.detach() for t in model.times]
    encoding = position_encoding(3, 5)
    assert float(encoding[0, 0]) == pytest.approx((1 - 1 / 3) - (1 / 5) * (1 - 2 / 3))

    def vector(words, table):
        parts = [encoding[j] * table[w] for j, w in enumerate(words) if w]
        return torch.stack(parts).sum(0) if parts else torch.zeros(5)

    for linear in (False, True):
        model.linear.fill_(linear)
        u = vector([8, 2, 0], weights[0])
        for k in range(2):
            rows = [1, 2, 3]  # the first sentence is not there
            memories = torch.stack([vector(story[0, i].tolist(), weights[k]) + times[k][i]
                                    for i in rows])  # fmt: skip
            outputs = torch.stack([vector(story[0, i].tolist(), weights[k + 1]) + times[k + 1][i]
                                   for i in rows])  # fmt: skip
            match = memories @ u
            u = u + (match if linear else match.softmax(0)) @ outputs
        found = model(story, question)["logits"][0]
        torch.testing.assert_close(found.detach(), weights[2] @ u, rtol=1e-4, atol=1e-5)


def test_a_linear_start_ends_when_validation_stalls() -> None:
    model = memory(linear_start=True)
    for loss in (2.0, 1.5, 1.4):
        model.stalled(loss)
        assert bool(model.linear)
    model.stalled(1.45)
    assert not bool(model.linear)
    model.stalled(1.0)
    assert not bool(model.linear)


def test_memory_networks_learn_stories_and_export(tmp_path) -> None:
    settings = {"lr": 0.3, "clip_norm": 1.25, "batch_size": 32, "steps": 300, "eval_every": 100}
    model, config, run = fitted("babi-like", **settings, eta=1e-5)
    assert run.history[-1].scores["accuracy"] > 0.5  # a guess among the six places: 1/6
    exportable = PLUGIN.export(model, config, run.data.info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    session = Session(tmp_path / "model.onnx")
    assert compare(exportable, session, eager_model(model, exportable))["ok"]


@pytest.mark.parametrize("dataset", ["babi-like", "binmul:kmax=2,train_size=200,test_size=50"])
def test_recipes_resume_where_they_were_interrupted(dataset, tmp_path) -> None:
    data = catalogue().dataset(dataset)
    config = replace(DEFAULTS, steps=12, eval_every=4, batch_size=100, linear_start=True,
                     halve_every=1, gpu_maps=4, copies=2, lr=0.3)  # fmt: skip

    def reports(path=None, interrupt_at=None) -> list:
        seen = []

        def answer(report):
            seen.append(report)
            return "interrupt" if len(seen) == interrupt_at else "continue"

        seed_everything(0)
        model = PLUGIN.build(config, data.info)
        run = Run(data, 0, on_report=answer, checkpoint_path=path)
        try:
            PLUGIN.fit(model, config, run)
        except Stop:
            assert interrupt_at
        return seen

    whole, path = reports(), tmp_path / "checkpoint.safetensors"
    assert reports(path, interrupt_at=1) == whole[:1]
    assert reports(path) == whole[1:]


# ---------------------------------------------------------------- the neural GPU


def test_a_gated_unit_computes_the_written_equations() -> None:
    seed_everything(0)
    unit, state = GatedUnit(3), torch.randn(2, 3, 5, 4)
    gates = torch.sigmoid(unit.gates(state))
    u, r = gates[:, :3], gates[:, 3:]
    wanted = u * state + (1 - u) * torch.tanh(unit.candidate(r * state))
    torch.testing.assert_close(unit(state), wanted)


def test_copies_take_turns_and_are_pulled_together() -> None:
    seed_everything(0)
    model = NeuralGpu(4, replace(DEFAULTS, gpu_maps=3, gpu_width=2, copies=2)).eval()
    tokens = torch.randint(0, 4, (2, 5))
    state = torch.zeros(2, 3, 5, 2)
    state[..., 0] = torch.tanh(model.embedding(tokens)).transpose(1, 2)
    for step in range(5):
        state = model.copies[step % 2](state)
    wanted = model.output(state[..., 0].transpose(1, 2))
    torch.testing.assert_close(model(tokens)["logits"], wanted)
    one, two = (torch.cat([p.flatten() for p in copy.parameters()]) for copy in model.copies)
    torch.testing.assert_close(model.distance(), ((one - two) ** 2).sum() / 2)


def test_the_curriculum_lets_longer_products_in_later() -> None:
    model = NeuralGpu(4, replace(DEFAULTS, gpu_maps=2))
    config = replace(DEFAULTS, curriculum=0.5)
    batch = written(np.array([1, 5]), np.array([1, 3]), np.array([1, 4]), 9)

    def lengths(progress: float) -> list[int]:
        model.progress.fill_(progress)
        return (lesson(model, config, batch)["target"] >= 0).sum(1).tolist()

    assert lengths(0.0) == [2, 0]
    assert lengths(0.5) == [2, 8]
    late = {key: column[1:] for key, column in batch.items()}
    model.progress.fill_(0.0)
    assert int((lesson(model, config, late)["target"] >= 0).sum()) == 8, "nothing to learn from"


def test_neural_gpus_learn_export_and_are_asked_for_more(tmp_path) -> None:
    settings = {"optimizer": "adam", "lr": 0.01, "batch_size": 64, "steps": 60, "eval_every": 30,
                "eta": 1e-6, "gpu_maps": 8, "gpu_width": 2, "copies": 1}  # fmt: skip
    model, config, run = fitted("binmul:kmax=2,train_size=500,test_size=60", **settings)
    first, last = (report.train["loss"] for report in run.history)
    assert last < first
    exportable = PLUGIN.export(model, config, run.data.info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    session = Session(tmp_path / "model.onnx")
    assert compare(exportable, session, eager_model(model, exportable))["ok"]
    found = DoubleLength().measure(PLUGIN, model, config, run.data)
    assert set(found) == {"sequence_accuracy", "symbol_accuracy", "nll"}
    with pytest.raises(DataError, match="double_length wants a neural GPU"):
        DoubleLength().measure(PLUGIN, nn.Linear(2, 2), config, run.data)
    with pytest.raises(DataError, match="products of 32 bits overflow"):
        DoubleLength().measure(PLUGIN, model, config, Products(kmax=16))


# ---------------------------------------------------------------- data


def replayed(story: torch.Tensor) -> tuple[dict, dict, dict]:
    """Actors' places, objects' places and where objects were before, after a story."""
    place, holder, where, before = {}, {}, {}, {}
    for sentence in story.tolist():
        words = [WORDS[word] for word in sentence if word]
        if not words:
            assert not place, "an empty sentence in the middle of a story"
            continue
        actor, verb, last = words[0], words[1], words[-1]
        if verb == "went":
            assert place.get(actor) != last, "a walk to where the actor is"
            place[actor] = last
            for thing in [thing for thing, hand in holder.items() if hand == actor]:
                before[thing], where[thing] = where[thing], last
        elif verb == "grabbed":
            assert last not in holder
            assert where.get(last, place[actor]) == place[actor]
            holder[last], where[last] = actor, place[actor]
        else:
            assert holder.pop(last) == actor
    return place, where, before


@pytest.mark.parametrize("task", [1, 2, 3])
def test_answers_follow_from_their_stories(task) -> None:
    data = Stories(task=task, train_size=300, valid_size=20, test_size=100, seed=3)
    batches = [data.load(name) for name in ("train", "valid", "test")]
    assert [len(batch["target"]) for batch in batches] == [300, 20, 100]
    seen = set()
    for batch in batches:
        assert batch["story"].shape[1:] == data.info.shapes["story"]
        for story, question, target in zip(*batch.values(), strict=True):
            place, where, before = replayed(story)
            words = [WORDS[word] for word in question.tolist() if word]
            answer = WORDS[int(target)]
            if task == 1:
                assert place[words[-1]] == answer
            elif task == 2:
                assert where[words[-1]] == answer
            else:
                assert before[words[3]] == answer
                assert where[words[3]] == words[-1] != answer
            seen.add(story.numpy().tobytes() + question.numpy().tobytes())
    assert len(seen) == 420
    answers = torch.cat([batch["target"] for batch in batches])
    assert answers.unique().tolist() == [ID["bathroom"] + i for i in range(6)]


def test_products_are_right_and_belong_to_one_split() -> None:
    example = written(np.array([5]), np.array([6]), np.array([3]), 9)
    assert example["tokens"][0].tolist() == [2, 1, 2, 3, 1, 2, 2, 0, 0]  # 101 x 011, lowest first
    assert example["target"][0].tolist() == [1, 2, 2, 2, 2, 1, -1, -1, -1]  # 30 = 011110
    data = Products(kmax=5, train_size=500, test_size=200)
    seen: dict[bytes, str] = {}
    for name in ("train", "valid", "test"):
        batch = data.load(name)
        assert len(batch["tokens"]) == data.info.sizes[name]
        for tokens, target in zip(*batch.values(), strict=True):
            k = int((tokens == 3).nonzero()[0, 0])
            a, b = (sum((int(t) - 1) << i for i, t in enumerate(part.tolist()))
                    for part in (tokens[:k], tokens[k + 1 : 2 * k + 1]))  # fmt: skip
            found = sum((int(t) - 1) << i for i, t in enumerate(target.tolist()) if t >= 0)
            assert found == a * b
            assert seen.setdefault(tokens.numpy().tobytes(), name) == name
    numbers = np.arange(100_000)
    shares = np.bincount(fold(numbers, numbers[::-1].copy(), 17 + 0 * numbers), minlength=10)
    assert shares.min() > 8000


def test_scores_of_products_count_symbols_and_sequences() -> None:
    problem = Products().problem
    target = torch.tensor([[1, 2, -1], [1, 1, 2]])
    logits = functional.one_hot(torch.tensor([[1, 2, 0], [1, 2, 2]]), 4).float() * 10
    scores = problem.score({"logits": logits}, {"target": target})
    assert scores["sequence_accuracy"].tolist() == [1, 0]
    assert scores["symbol_accuracy"].tolist() == pytest.approx([1, 2 / 3])
    wanted = functional.cross_entropy(logits[target >= 0], target[target >= 0])
    torch.testing.assert_close(problem.loss({"logits": logits}, {"target": target}), wanted)


# ---------------------------------------------------------------- bad input and claims


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"eta": -0.1}, "eta=-0.1 must be at least 0"),
        ({"eta": None}, "eta=None must be a number"),
        ({"gamma": -1.0}, "gamma=-1.0 must be at least 0"),
        ({"depth": 0}, "depth=0 must be at least 1"),
        ({"noise": "pink"}, "noise='pink' must be one of annealed"),
        ({"noise_order": "before_clip", "clip_norm": 0.0}, "nothing is clipped"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DEFAULTS, **settings)


def test_bad_data_are_refused() -> None:
    split = catalogue().dataset("digits").split("train")
    model = PLUGIN.build(replace(DEFAULTS, depth=1), split.info)

    def changed(**parts: torch.Tensor) -> Split:
        return Split("train", split.info, {**split.examples, **parts})

    x = split.examples["x"].clone()
    with pytest.raises(DataError, match="has 60 features, the network takes 64"):
        prepare(model, DEFAULTS, changed(x=x.flatten(1)[:, :60]))
    with pytest.raises(DataError, match="classes must be 0 to 9; 'digits' has 1 to 10"):
        prepare(model, DEFAULTS, changed(target=split.examples["target"] + 1))
    x[3, 0, 1, 1] = torch.inf
    with pytest.raises(DataError, match="features \\[9\\] of 'digits' hold NaN or infinity"):
        prepare(model, DEFAULTS, changed(x=x))
    with pytest.raises(ConfigError, match="arch='memn2n' cannot learn 'image-classification'"):
        PLUGIN.build(replace(DEFAULTS, arch="memn2n"), split.info)
    with pytest.raises(DataError, match="has 1 class"):
        PLUGIN.check_data(replace(split.info, classes=1))
    with pytest.raises(ConfigError, match="kmin=5 is above kmax=4"):
        Products(kmin=5)


def test_models_are_counted_by_their_errors() -> None:
    def row(label: str, accuracy: float | None) -> RunResult:
        scores = {} if accuracy is None else {"sequence_accuracy": accuracy}
        return RunResult(label, "binmul", scores, {}, 1)

    rows = [row("noise, 0", 0.995), row("noise, 1", 0.975), row("noise, 2", None),
            row("no noise, 0", 0.96), row("no noise, 1", 0.2)]  # fmt: skip
    found = claims.count_models(rows)
    counts = {kind: list(scores.values()) for kind, scores in found.items()}
    assert counts == {"noise": [1, 1, 2, 2], "no noise": [0, 0, 0, 1]}


def test_claims_compare_equal_settings() -> None:
    for claim in claims.CLAIMS:
        labels = {run.label: run for run in claim.runs}
        assert len(labels) == len(claim.runs)
        for label, run in labels.items():
            other = labels.get(label.replace("no noise", "noise"))
            if label.startswith("no noise") and other is not None:
                assert replace(other.config, noise="none") == run.config
                assert run.seeds == other.seeds
