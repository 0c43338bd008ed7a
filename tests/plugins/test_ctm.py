"""What only Continuous Thought Machines can break: ticks, synchronisation, losses, tasks."""

import math
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from automl.core.api import ConfigError, DataError, Run, Split
from automl.core.discovery import catalogue
from automl.core.problems import balanced
from automl.core.trial import seed_everything
from automl.export import graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model, eager_part
from automl.plugins.ctm.config import DEFAULTS
from automl.plugins.ctm.data import Maze, Parity, dig, parity, routes, transformed
from automl.plugins.ctm.model import Neurons, Synchronisation, UNet, at_tick, certainty
from automl.plugins.ctm.plugin import ContinuousThought, choose_ticks, tick_losses
from automl.plugins.ctm.probe import ThoughtTrace, calibration_error, trace_scores
from automl.plugins.ctm.problems import decode

PLUGIN = ContinuousThought()
SMALL = {"d_model": 24, "d_input": 16, "iterations": 6, "memory_length": 4, "n_synch_out": 6,
         "n_synch_action": 6, "nlm_hidden": 4}  # fmt: skip
TASKS = {
    "digits": "digits",
    "table": "uci-suite",
    "parity": "cumulative-parity:n=6,train_size=200",
    "sort": "sort-numbers:n=4,train_size=200",
    "maze": "maze:cells=3,moves=6,train_size=100",
    "questions": "digit-questions:digits=2,operations=1,train_size=100",
}


def built(task: str = "digits", **settings):
    """An untrained model, its config and dataset."""
    data = catalogue().dataset(TASKS[task])
    config = replace(DEFAULTS, **{**SMALL, **settings})
    seed_everything(0)
    return PLUGIN.build(config, data.info).eval(), config, data


# ---------------------------------------------------------------- the machine


def test_sizes_are_those_of_the_official_layers() -> None:
    info = catalogue().dataset("digits").info
    counts = {
        arch: sum(p.numel() for p in PLUGIN.build(replace(DEFAULTS, arch=arch), info).parameters())
        for arch in ("ctm", "lstm")
    }
    assert counts == {"ctm": 57_932, "lstm": 69_610}


def test_private_models_are_one_map_per_neuron() -> None:
    layer = Neurons(5, 4, 3)
    layer.temperature.data.fill_(2.0)
    layer.bias.data.normal_()
    x = torch.randn(7, 5, 4)
    official = torch.einsum("bdm,mhd->bdh", x, layer.weight.permute(1, 2, 0))
    wanted = (official + layer.bias[:, 0]) / 2
    torch.testing.assert_close(layer(x.transpose(0, 1)).transpose(0, 1), wanted)


def test_synchronisation_is_the_decayed_sum_over_all_ticks() -> None:
    config = replace(DEFAULTS, **SMALL)
    seed_everything(0)
    sync = Synchronisation(config, 6, last=False)
    sync.rho.data.uniform_(-1, 2)
    z = torch.randn(9, 3, 24)
    alpha, beta = sync.start(z[0])
    for now in z[1:]:
        alpha, beta = sync.advance(now, alpha, beta)
    r = torch.exp(-sync.rho.clamp(0, 15))
    weights = torch.stack([r ** (8 - t) for t in range(9)])
    products = z[:, :, sync.left] * z[:, :, sync.right]
    wanted = (weights[:, None] * products).sum(0) / weights.sum(0).sqrt()
    torch.testing.assert_close(alpha / beta.sqrt(), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("select", "count"), [("random", 21), ("first-last", 21), ("random-pairing", 6)]
)
def test_pairs_are_chosen_as_told(select, count) -> None:
    extra = {"n_self": 2} if select == "random-pairing" else {}
    model, _, _ = built(neuron_select=select, **extra)
    assert len(model.out.rho) == len(model.action.rho) == count
    if select == "first-last":
        assert set(model.out.left.tolist()) == set(range(6))
        assert set(model.action.right.tolist()) == set(range(18, 24))
    if select == "random-pairing":
        assert torch.equal(model.out.left[:2], model.out.right[:2])


def test_a_tick_is_the_papers_equations_written_plainly() -> None:
    model, config, _ = built()
    x = torch.rand(3, 1, 8, 8)
    tokens = model.features(x)
    mha = nn.MultiheadAttention(16, 4, batch_first=True)
    attention = model.attention
    mha.in_proj_weight.data = torch.cat([attention.query.weight, attention.key_value.weight])
    mha.in_proj_bias.data = torch.cat([attention.query.bias, attention.key_value.bias])
    mha.out_proj = attention.output
    z = model.start_state.expand(3, -1)
    history = model.start_history.expand(3, -1, -1)
    out_a, action_a = model.out.pairs(z), None
    out_b, action_b = torch.ones_like(out_a), None
    found = model.think(x)
    for tick in range(config.iterations):
        if action_a is None:
            action_a = model.action.pairs(z)
            action_b = torch.ones_like(action_a)
        else:
            action_a = action_a + model.action.pairs(z)
            action_b = action_b + 1
        query = model.query(action_a / action_b.sqrt())
        o = mha(query[:, None], tokens, tokens)[0][:, 0]
        a = model.synapses(torch.cat([o, z], 1))
        history = torch.cat([history[:, :, 1:], a[:, :, None]], 2)
        z = model.neurons(history.transpose(0, 1))[..., 0].T
        out_a, out_b = out_a + model.out.pairs(z), out_b + 1
        reading = model.reader(out_a / out_b.sqrt())
        torch.testing.assert_close(found[:, tick, 0], reading, rtol=1e-4, atol=1e-5)


def test_the_written_lstm_is_torchs() -> None:
    model, _, _ = built(arch="lstm")
    x, h, c = torch.randn(4, 16), torch.randn(4, 24), torch.randn(4, 24)
    for one, two in zip(model.step(x, h, c), model.cell(x, (h, c)), strict=True):
        torch.testing.assert_close(one, two)


def test_the_u_net_narrows_to_sixteen() -> None:
    net = UNet(50, 64, 4, 0.0)
    assert [block[1].out_features for block in net.down] == [48, 32, 16]
    assert [block[1].out_features for block in net.up] == [32, 48, 64]
    assert net(torch.randn(2, 50)).shape == (2, 64)


# ---------------------------------------------------------------- certainty and losses


def test_certainty_is_one_minus_normalised_entropy() -> None:
    logits = torch.tensor([[[[0.0, 0.0], [100.0, 0.0]]]])
    assert float(certainty(logits)) == pytest.approx(0.5)


def test_the_loss_takes_the_best_and_the_most_certain_tick_of_each_example() -> None:
    p = torch.tensor([0.5, 0.2, 0.95])  # of class 0 at three ticks; the last is most certain
    predictions = torch.stack([p.log(), (1 - p).log()], -1)[None, :, None]
    each = tick_losses(predictions, torch.tensor([1]), DEFAULTS, maze=False)
    wanted = -torch.log(1 - p)
    torch.testing.assert_close(each[0], wanted)
    assert float(choose_ticks(each, predictions, "min+certain")) == pytest.approx(
        float(0.5 * (wanted[1] + wanted[2]))
    )
    assert float(choose_ticks(each, predictions, "last")) == pytest.approx(float(wanted[2]))
    assert float(choose_ticks(each, predictions, "mean")) == pytest.approx(float(wanted.mean()))
    torch.testing.assert_close(at_tick(predictions, torch.tensor([1]))[0, 0], predictions[0, 1, 0])


def test_mazes_are_trained_a_little_beyond_the_right_beginning() -> None:
    target = torch.tensor([[0, 1, 2, 3, 4]])
    predictions = torch.zeros(1, 1, 5, 5)
    predictions[0, 0, 0, 0] = predictions[0, 0, 1, 1] = 9.0
    predictions[0, 0, 2, 0] = 9.0
    config = replace(DEFAULTS, lookahead=1)
    each = -predictions.log_softmax(-1)[0, 0, torch.arange(5), target[0]]
    found = tick_losses(predictions, target, config, maze=True)
    assert float(found) == pytest.approx(float(each[:3].mean()))


def test_orders_are_read_by_collapsing_repeats() -> None:
    path = torch.tensor([[3, 2, 2, 3, 2, 0, 1, 1]])
    logits = torch.nn.functional.one_hot(path, 4).float()
    assert decode(logits).tolist() == [[2, 2, 0, 1, -1, -1, -1, -1]]


def test_rates_rise_and_fall() -> None:
    config = replace(DEFAULTS, lr=1e-2, warmup=10, steps=110)
    factors = [config.rate(step, 1) for step in (0, 9, 60, 110)]
    assert factors == pytest.approx([0.1, 1, 0.5, 1e-5], rel=1e-3)
    stairs = replace(config, lr_decay="multistep")
    assert [stairs.rate(s, 1) for s in (50, 75, 95)] == pytest.approx([1, 0.1, 0.01])
    assert replace(config, lr_decay="constant").rate(110, 1) == 1


def test_early_exit_and_calibration_by_hand() -> None:
    confident = torch.tensor([[2.0, 0.0], [0.0, 0.0], [0.0, 8.0]])
    unsure = torch.tensor([[0.0, 0.1], [0.3, 0.0], [0.0, 0.2]])
    predictions = torch.stack([confident, unsure])[:, :, None]
    found = trace_scores(predictions, torch.tensor([1, 0]))
    assert found["accuracy.3"] == 0.5
    assert found["accuracy.2"] == 0.5
    assert found["late_tick_accuracy"] == 0.5
    assert found["accuracy_most_certain"] == 1.0
    assert found["mean_ticks@0.8"] == 3.0
    assert found["accuracy@0.8"] == 1.0
    assert found["ticks_rise"] == 1.0
    proba = torch.tensor([[[0.9, 0.1]], [[0.9, 0.1]]])
    assert calibration_error(proba, torch.tensor([[0], [1]])) == pytest.approx(0.4)


# ---------------------------------------------------------------- tasks


def test_parity_counts_minus_ones() -> None:
    x = torch.tensor([[1.0, -1, -1, 1, -1]])
    assert parity(x).tolist() == [[0, 1, 0, 0, 1]]
    dealt = [Parity(n=6, distinct=True).load(split)["x"] for split in ("train", "valid", "test")]
    assert len(torch.cat(dealt).unique(dim=0)) == 64 == sum(map(len, dealt))


def walk(image: np.ndarray) -> list[int]:
    """The shortest route by breadth-first search, as moves."""
    red, green, blue = image > 0.5
    start, goal = np.argwhere(red & ~green)[0], np.argwhere(green & ~red)[0]
    queue, seen = deque([(tuple(start), [])]), {tuple(start)}
    while queue:
        here, moves = queue.popleft()
        if here == tuple(goal):
            return moves
        for number, move in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
            there = (here[0] + move[0], here[1] + move[1])
            if there not in seen and (red | green | blue)[there]:
                seen.add(there)
                queue.append((there, [*moves, number]))
    return []


def test_mazes_are_perfect_and_routes_the_shortest() -> None:
    draw = np.random.default_rng(0)
    images = dig(30, 5, draw)
    ways = images.max(1) > 0.5
    assert (ways.sum((1, 2)) == 2 * 25 - 1).all()  # a tree: cells and the walls between them
    for image, found in zip(images, routes(images, 40), strict=True):
        moves = walk(image)[:40]
        assert found.tolist() == moves + [4] * (40 - len(moves))
    turned, target = transformed(images, routes(images, 12), draw)
    assert (turned != images).any()
    assert np.array_equal(routes(turned, 12), target)


def test_bad_mazes_are_refused() -> None:
    image = dig(1, 3, np.random.default_rng(0))
    closed = image.copy()
    (row, column), *_ = np.argwhere((image[0, 0] > 0.5) & (image[0, 1] < 0.5))
    for move in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        closed[0, :, row + move[0], column + move[1]] = 0
    with pytest.raises(DataError, match="no path|give one"):
        routes(closed, 4)
    twice = image.copy()
    twice[0, :, 0, 0] = (1, 0, 0)
    with pytest.raises(DataError, match=r"maze 0 has 2 pixels of the start \(red\)"):
        routes(twice, 4)


def test_questions_are_answered_modulo_ten() -> None:
    data = catalogue().dataset("digit-questions:train_size=100")
    batch = data.load("valid")
    digits = catalogue().dataset("digits").split("valid").examples
    parts = batch["x"][:, 192:].long()
    for row in range(20):
        values = []
        for place in range(3):
            image = batch["x"][row, 64 * place : 64 * place + 64]
            same = (digits["x"].flatten(1) == image).all(1)
            values.append(int(digits["target"][same][0]))
        total = values[parts[row, 0]]
        for operator, place in zip(
            parts[row, 1::2].tolist(), parts[row, 2::2].tolist(), strict=True
        ):
            total += -values[place] if operator else values[place]
        assert int(batch["target"][row]) == total % 10


def test_noise_is_drawn_anew_for_each_copy() -> None:
    data = catalogue().dataset("digits-noisy:draws=2")
    x = data.load("train")["x"]
    half = len(x) // 2
    clean = data.clean.load("train")["x"]
    assert float((x[:half] - clean).std()) == pytest.approx(0.35, rel=0.02)
    assert not torch.equal(x[:half], x[half:])


# ---------------------------------------------------------------- the plugin


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("arch", ["ctm", "lstm"])
def test_every_task_trains(task, arch) -> None:
    model, config, data = built(task, arch=arch, steps=3, eval_every=3, synapse_depth=2)
    run = Run(data, 0)
    PLUGIN.fit(model, config, run)
    names = {metric.name for metric in data.problem.metrics}
    assert run.history[-1].scores.keys() == names
    assert all(math.isfinite(value) for value in run.history[-1].scores.values())


def test_sorting_and_tables_are_learnt() -> None:
    for task, metric, floor in (("table", "accuracy", 0.8),):
        model, config, data = built(task, steps=80, eval_every=80, lr=5e-3)
        run = Run(data, 0)
        PLUGIN.fit(model, config, run)
        assert run.history[-1].scores[metric] > floor


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "arch"),  # what a task shows a network is the same for both
    [*((task, "ctm") for task in TASKS), ("digits", "lstm"), ("sort", "lstm")],
)
def test_every_task_exports(task, arch, tmp_path: Path) -> None:
    many = 4 if task == "sort" else 2  # each is written out; each sorts one number
    ticks = {"iterations": many, "memory_length": 2, "answer_ticks": 2}
    model, config, data = built(task, arch=arch, tau=0.02, **ticks)
    with (
        torch.no_grad()
    ):  # ticks of an untrained model are as certain as each other: rounding picks
        model.reader.weight *= 30
    exportable = PLUGIN.export(model, config, data.info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    found = compare(exportable, Session(tmp_path / "model.onnx"), eager_model(model, exportable))
    assert found["ok"], found
    for part, inner in exportable.parts.items():
        if part == "step" and task not in ("digits", "sort"):
            continue  # a tick is the same whatever is attended to, and another where nothing is
        path = tmp_path / f"{part}.onnx"
        graph.write(inner, path, {})
        assert compare(inner, Session(path), eager_part(inner))["ok"], part


def test_encoder_and_step_think_like_the_whole() -> None:
    model, config, data = built("parity")
    x = data.split("valid").examples["x"][:7]
    parts = PLUGIN.export(model, config, data.info).parts
    with torch.no_grad():
        keys, values, *state = parts["encoder"].module(x)
        readings = []
        for _ in range(config.iterations):
            reading, *state = parts["step"].module(keys, values, *state)
            readings.append(reading)
        wanted = model(x)["predictions"]
    torch.testing.assert_close(torch.stack(readings, 2), wanted, rtol=1e-4, atol=1e-5)


def test_images_of_any_shape_and_balanced_classes_are_taken() -> None:
    info = catalogue().dataset("digits").info
    odd = replace(info, shapes={"x": (3, 50, 31), "target": ()}, classes=4,
                  problem=balanced(info.problem))  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    examples = {
        "x": torch.rand(6, 3, 50, 31, generator=draw),
        "target": torch.randint(0, 4, (6,), generator=draw),
        "weight": torch.ones(6),
    }
    for arch in ("ctm", "lstm", "ff"):
        config = replace(DEFAULTS, **SMALL, arch=arch)
        model = PLUGIN.build(config, odd)
        assert PLUGIN.loss(model, config, examples, odd).isfinite()
        scores = PLUGIN.evaluate(model, config, Split("valid", odd, examples))
        assert "balanced_accuracy" in scores


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"heads": 5}, "heads=5 must divide d_input=32"),
        ({"neuron_select": "first-last", "d_model": 20}, "wants n_synch_out .* = 32 neurons"),
        ({"neuron_select": "random-pairing", "n_self": 17}, "n_self=17 pairs must be at most"),
        ({"n_self": 2}, "only random-pairing has such pairs"),
        ({"memory_length": 0}, "memory_length=0 must be at least 1"),
        ({"iterations": 0}, "iterations=0 must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DEFAULTS, **settings)


def changed(task: str, change) -> tuple:
    """A model and a split whose inputs are changed."""
    model, config, data = built(task)
    split = data.split("valid").first(4)
    return model, config, Split("valid", split.info, {**split.examples, "x": change(split)})


@pytest.mark.parametrize(
    ("task", "change", "message"),
    [
        ("parity", lambda s: 0.5 * s.examples["x"], "must be -1 or 1, not"),
        (
            "parity",
            lambda s: s.examples["x"].repeat(1, 2),
            "n=12, but this model was built for n=6",
        ),
        ("sort", lambda s: torch.ones_like(s.examples["x"]), "has equal numbers in a row"),
        ("sort", lambda s: s.examples["x"] * math.nan, "hold NaN or infinity"),
    ],
)
def test_bad_inputs_are_refused(task, change, message) -> None:
    model, config, split = changed(task, change)
    with pytest.raises(DataError, match=message):
        PLUGIN.evaluate(model, config, split)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigError, match="iterations=3 must be at least n=4"):
        built("sort", iterations=3)
    with pytest.raises(ConfigError, match="arch='ff' has one tick"):
        built("questions", arch="ff")
    with pytest.raises(DataError, match="wants n of 20 at most"):
        Parity(n=21, distinct=True).dealt("train")


def test_the_probe_refuses_what_has_no_ticks() -> None:
    model, config, data = built("sort")
    with pytest.raises(DataError, match="one answer is read off all ticks"):
        ThoughtTrace().measure(PLUGIN, model, config, data)
    with pytest.raises(DataError, match="looks at the ticks of plugin 'ctm'"):
        ThoughtTrace().measure(PLUGIN, nn.Linear(1, 1), config, data)
    model, config, data = built("maze")
    found = ThoughtTrace().measure(PLUGIN, model, config, data)
    assert {"accuracy.6", "ece", "mean_ticks@0.95", "ticks_rise"} <= found.keys()


def test_maze_info_and_sizes() -> None:
    data = Maze(cells=4, moves=9, train_size=20)
    batch = data.load("train")
    assert batch["x"].shape == (20, 3, 9, 9)
    assert batch["target"].shape == (20, 9)
    assert batch["target"].dtype == torch.int64


def test_a_study_may_ask_the_space_again_and_again() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    info = catalogue().dataset("digits").info
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(40):
        trial = study.ask()
        PLUGIN.build(PLUGIN.space(trial, DEFAULTS, info), info)
        study.tell(trial, 0.0)
