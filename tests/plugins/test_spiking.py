"""What only spiking networks can break: spikes, codes, conversion, spike times, STDP, counts."""

import contextlib
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from automl.core.api import ConfigError, DataError, Run, Split
from automl.core.discovery import catalogue
from automl.core.problems import balanced
from automl.core.run import Stop
from automl.core.trial import seed_everything
from automl.export import graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model, eager_part
from automl.plugins.spiking import claims
from automl.plugins.spiking.config import DEFAULTS, SURROGATES, Config
from automl.plugins.spiking.data import MoonsLatency, Strokes, xor_times
from automl.plugins.spiking.events import NEVER, SpikeProp, first_spikes
from automl.plugins.spiking.network import ann_macs, convert, fold_norms
from automl.plugins.spiking.neurons import (
    Neuron,
    latency_code,
    rate_code,
    surrogate_derivative,
)
from automl.plugins.spiking.plugin import Spiking
from automl.plugins.spiking.probe import SpikeEnergy
from automl.plugins.spiking.stdp import Competition

PLUGIN = Spiking()
SYSTEMS = {  # one hidden layer where another system has shown two of its kind
    "latency": {"time_steps": 4},
    "analog": {"encoding": "analog", "time_steps": 4, "hidden": "64"},
    "poisson": {"encoding": "poisson", "time_steps": 4, "hidden": "64"},
    "srm": {
        "neuron": "srm",
        "refractory": 1,
        "learn_neuron": True,
        "time_steps": 4,
        "hidden": "64",
    },
    "hard": {"reset": "hard", "neuron": "if", "time_steps": 4, "hidden": "64"},
    "conversion": {"mode": "conversion", "encoding": "analog", "time_steps": 20},
    "norms": {
        "mode": "conversion",
        "encoding": "analog",
        "batch_norm": True,
        "dropout": 0.1,
        "per_channel": True,
        "hidden": "64",
    },
    "conv": {"hidden": "8c5-p2-16c5-p2", "encoding": "analog"},
    "max": {"mode": "conversion", "hidden": "8c5-p2-16c5-p2", "pool": "max", "encoding": "analog"},
    "ann": {"mode": "ann"},
    "ttfs": {"mode": "ttfs_exact", "hidden": "64", "lr": 1e-3},
    "spikeprop": {"mode": "spikeprop", "hidden": "64"},
}


def fitted(dataset: str = "digits", **settings):
    """A model after a few steps."""
    data = catalogue().dataset(dataset)
    config = replace(DEFAULTS, **{"steps": 60, "eval_every": 30, **settings})
    seed_everything(0)
    model = PLUGIN.build(config, data.info)
    run = Run(data, 0)
    PLUGIN.fit(model, config, run)
    return model.eval(), config, run


# ---------------------------------------------------------------- neurons and codes


def test_codes() -> None:
    x = torch.tensor([[0.0, 0.1, 0.5, 1.0]])
    spikes = latency_code(x, 8)
    assert spikes.shape == (8, 1, 4)
    assert spikes.sum(0).tolist() == [[0, 0, 1, 1]]
    assert spikes[0, 0, 3] == 1
    assert spikes[round(0.5 * 7), 0, 2] == 1
    uniform = torch.rand(4000, 1, 4, generator=torch.Generator().manual_seed(0))
    rate = rate_code(x, uniform, 0.5).mean(0)
    torch.testing.assert_close(rate, 0.5 * x, atol=0.02, rtol=0)


def test_a_leaky_neuron_by_hand() -> None:
    neuron = Neuron("lif", beta=0.5).eval()
    currents = torch.tensor([0.8, 0.8, 0.0, 1.7, 0.1])[:, None]
    # v: 0.8 | 1.2 -> spike, 0.2 | 0.1 | 1.75 -> spike, 0.75 | 0.475
    assert neuron(currents)[:, 0].tolist() == [0, 1, 0, 1, 0]
    hard = Neuron("lif", beta=0.5, hard=True).eval()
    assert hard(torch.tensor([2.5, 0.4, 0.4, 0.9])[:, None])[:, 0].tolist() == [1, 0, 0, 1]
    silent = Neuron("if", refractory=2).eval()
    assert silent(torch.ones(7, 1))[:, 0].tolist() == [1, 0, 0, 1, 0, 0, 1]
    srm = Neuron("srm", beta=0.5).eval()
    # i: .6 .3 .15; v: .6 .6 .45: no spike although a current of .6 would have been kept
    assert srm(torch.tensor([0.6, 0.0, 0.0])[:, None]).sum() == 0
    assert srm(torch.tensor([0.9, 0.2, 0.0])[:, None])[:, 0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("kind", SURROGATES)
@pytest.mark.parametrize("hard", [False, True])
def test_the_fast_scan_has_the_gradients_of_the_plain_loop(kind, hard) -> None:
    neuron = Neuron("lif", 0.9, 1.2, hard=hard, surrogate=kind, slope=5.0)
    currents = 0.6 * torch.randn(9, 4, 5) + 0.3
    weight = torch.randn(9, 4, 5)
    one = currents.clone().requires_grad_()
    two = currents.clone().requires_grad_()
    fast, plain = neuron.train()(one), neuron.eval()(two)
    assert torch.equal(fast, plain)
    assert 0 < float(fast.detach().mean()) < 1
    (fast * weight).sum().backward()
    (plain * weight).sum().backward()
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(neuron.as_scan(currents), plain.detach())


def test_surrogates_are_the_formulas() -> None:
    u = torch.tensor([-0.5, 0.0, 0.25])
    expected = {
        "fast_sigmoid": [1 / 36, 1, 1 / 3.5**2],
        "triangular": [0.5, 1, 0.75],
        "atan": [1 / (1 + (math.pi * 2.5) ** 2), 1, 1 / (1 + (math.pi * 1.25) ** 2)],
        "sigmoid": [10 * math.exp(-5) / (1 + math.exp(-5)) ** 2, 2.5,
                    10 * math.exp(-2.5) / (1 + math.exp(-2.5)) ** 2],
    }  # fmt: skip
    for kind, values in expected.items():
        found = surrogate_derivative(kind, u, 10.0)
        torch.testing.assert_close(found, torch.tensor(values), rtol=1e-5, atol=1e-7)


def test_beta_and_theta_are_learnt_and_stay_in_range() -> None:
    model, config, _ = fitted(learn_neuron=True, beta=1.0, lr=0.01)
    for neuron in model.neurons:
        assert 0 < float(neuron.beta.detach()) < 1
        assert float(neuron.theta.detach()) > 0
        assert abs(float(neuron.theta.detach()) - config.theta) > 1e-4


@pytest.mark.parametrize("hard", [False, True])
def test_membranes_equal_snntorch(hard) -> None:
    snn = pytest.importorskip("snntorch")
    theirs = snn.Leaky(
        beta=0.9, threshold=1.0, reset_mechanism="zero" if hard else "subtract", reset_delay=False
    )
    currents = 0.4 * torch.rand(30, 8)
    membrane, spikes = theirs.init_leaky(), []
    for current in currents:
        fired, membrane = theirs(current, membrane)
        spikes.append(fired)
    ours = Neuron("lif", 0.9, hard=hard).eval()
    assert torch.equal(ours(currents), torch.stack(spikes).detach())


# ---------------------------------------------------------------- conversion


def small_ann(*extra: nn.Module) -> nn.Sequential:
    seed_everything(1)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 20), nn.ReLU(), nn.Dropout(0.2), *extra, nn.Linear(20, 3),
    )  # fmt: skip


def test_a_long_simulation_approaches_the_ann() -> None:
    ann = small_ann()
    for module in ann:
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 2)
    x = torch.rand(50, 1, 8, 8)
    wanted = ann.eval()(x).detach()
    config = Config(mode="conversion", encoding="analog", percentile=100.0)
    errors = []
    for steps in (16, 512):
        snn = convert(ann, x, replace(config, time_steps=steps))
        with torch.no_grad():
            errors.append(float((snn(x)["logits"] - wanted).abs().max()))
    assert errors[1] < 0.02 * float(wanted.abs().max()) < errors[0]


def test_weights_are_normalised_as_in_the_papers() -> None:
    ann = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 7), nn.ReLU(), nn.Linear(7, 3))
    x = torch.rand(200, 5)
    config = Config(mode="conversion", encoding="analog", time_steps=12, percentile=99.0)
    snn = convert(ann, x, config)
    first = torch.relu(ann[0](x)).detach()
    assert float(snn.scale(0)) == pytest.approx(float(np.percentile(first.numpy(), 99)), rel=1e-4)
    scales = [1.0, float(snn.scale(0)), float(snn.scale(1))]
    inputs, traces = x.expand(12, -1, -1), []
    for layer in (0, 1):
        weight = ann[2 * layer].weight * scales[layer] / scales[layer + 1]
        bias = ann[2 * layer].bias / scales[layer + 1]
        v, spikes = torch.full((200, len(bias)), 0.5), []
        for current in inputs:
            v = v + current @ weight.T + bias
            fired = (v >= 1).float()
            v = v - fired
            spikes.append(fired)
        inputs = torch.stack(spikes)
        traces.append(inputs)
    found = snn.simulate(snn.encode(x)).spikes
    for ours, plain in zip(found, traces, strict=True):
        assert float((ours - plain).abs().mean()) < 1e-3  # ties apart
    assert convert(ann, x, replace(config, balance="threshold")).scale(0) > 0


def test_norms_fold_exactly() -> None:
    ann = small_ann().eval()
    ann[1].running_mean.uniform_(-1, 1)
    x = torch.rand(4, 1, 8, 8)
    torch.testing.assert_close(fold_norms(ann)(x), ann(x), rtol=1e-4, atol=1e-6)


def test_what_cannot_be_converted_is_named() -> None:
    x = torch.rand(4, 1, 8, 8)
    for layer in (nn.Sigmoid(), nn.Tanh(), nn.LayerNorm(20)):
        with pytest.raises(DataError, match=f"'8' is {type(layer).__name__}.*supported are Linear"):
            convert(small_ann(layer), x, Config(mode="conversion"))
    dead = small_ann()
    nn.init.constant_(dead[5].bias, -100)
    with pytest.raises(DataError, match="hidden layer 2 has no activation above 0"):
        convert(dead, x, Config(mode="conversion"))


# ---------------------------------------------------------------- spike times


def test_exact_spike_times_solve_the_membrane_equation() -> None:
    generator = torch.Generator().manual_seed(0)
    times = 2 * torch.rand(6, 9, generator=generator)
    weight = 0.6 * torch.rand(9, 4, generator=generator) - 0.1
    z, waited = first_spikes(times.exp(), weight)
    clock = torch.linspace(0, 12, 48_001)
    kernel = (1 - torch.exp(-(clock - times[..., None]))).clamp(min=0)  # V of a unit weight
    v = torch.einsum("bit,ij->bjt", kernel, weight)
    crossed = v >= 1
    fires = crossed.any(-1)
    first = clock[crossed.to(torch.int64).argmax(-1)]
    assert torch.equal(fires, z < NEVER)
    torch.testing.assert_close(z.log()[fires], first[fires], atol=1e-3, rtol=0)
    heard = (times[:, :, None] <= z.log()[:, None]).sum(1)
    assert torch.equal(waited[fires], heard[fires])
    assert (waited[~fires] == 9).all()


def test_exact_spike_times_by_hand_and_their_gradient() -> None:
    z = torch.tensor([[1.0, 2.0, NEVER]], requires_grad=True)
    weight = torch.tensor([[0.8], [0.9], [5.0]], requires_grad=True)
    found, waited = first_spikes(z, weight)
    assert float(found) == pytest.approx((0.8 * 1 + 0.9 * 2) / 0.7)
    assert int(waited) == 2
    found.sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[0.8, 0.9, 0.0]]) / 0.7)
    z_out = float(found)
    expected = torch.tensor([[(1 - z_out) / 0.7], [(2 - z_out) / 0.7], [0.0]])
    torch.testing.assert_close(weight.grad, expected)
    silent, waited = first_spikes(z, torch.full((3, 1), 0.3))
    assert float(silent) == NEVER
    assert int(waited) == 2


def test_spikeprop_times_and_gradients_are_the_equations() -> None:
    seed_everything(3)
    config = Config(mode="spikeprop", delays=3, inhibitory=0.2)
    model = SpikeProp(config, (2,), 1, hidden=5, grid=0.02)
    times = torch.tensor([[0.0, 2.0, 4.5]])
    weight = 0.9 * torch.rand(3, 3, 2)
    v = model.potential(times, weight)[0]
    tau = model.config.tau
    for g in (0, 225, 750):
        t = float(model.clock[g])
        for j in range(2):
            total = 0.0
            for i in range(3):
                for k in range(3):
                    s = (t - float(times[0, i]) - (k + 1)) / tau
                    total += float(weight[i, k, j]) * (s * math.exp(1 - s) if s > 0 else 0.0)
            assert float(v[g, j]) == pytest.approx(total, abs=1e-5)
    weight.requires_grad_()
    spike = model.spike_times(times, weight)
    (gradient,) = torch.autograd.grad(spike[0, 0], weight)
    change = 1e-2 * torch.rand_like(weight)
    with torch.no_grad():
        moved = model.spike_times(times, weight + change) - model.spike_times(
            times, weight - change
        )
    assert float((gradient * change)[..., 0].sum()) == pytest.approx(
        float(moved[0, 0]) / 2, rel=0.05
    )
    assert (model.sign < 0).sum() == 1


def test_spikeprop_learns_xor() -> None:
    x, wanted = xor_times()
    assert x.shape == (4, 2)
    assert wanted.flatten().tolist() == [16, 10, 10, 16]
    found = claims.xor_cycles(0)
    assert found["solved"] == 1
    assert found["worst_error_ms"] <= 1


# ---------------------------------------------------------------- STDP


def competition(**settings) -> Competition:
    seed_everything(0)
    return Competition(Config(mode="stdp", time_steps=40, **settings), (1, 8, 8), 10)


@pytest.mark.parametrize("settings", [{}, {"rule": "pair"}, {"receptive": 5}])
def test_learning_keeps_the_sums_and_moves_towards_the_input(settings) -> None:
    model = competition(neurons=10, **settings)
    x = torch.zeros(1, 1, 8, 8)
    x[..., 2:6] = 1
    before = model.weight.clone()
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        model.learn(x, generator)
    assert float(model.weight.min()) >= 0
    moved = (model.weight - before).abs().sum(0) > 1e-3
    assert moved.any()
    if settings.get("rule") != "pair":
        torch.testing.assert_close(model.weight.sum(0), torch.full((10,), model.sum))
    if not settings:
        bright = x.flatten() > 0
        assert float(model.weight[bright][:, moved].sum(0).median()) > 0.9 * model.sum
    assert (model.raised[moved] > 0).all()


def test_one_neuron_at_most_spikes_at_a_step() -> None:
    model = competition(neurons=10)
    model.weight.mul_(3)
    counts = model.respond(torch.rand(20, 1, 8, 8))
    assert counts.sum(1).max() <= 40
    assert counts.sum() > 0
    spread = competition(receptive=5, neurons=10)
    spread.weight.mul_(3)
    assert spread.respond(torch.rand(20, 1, 8, 8)).sum(1).max() <= 16  # each place once


def test_the_rule_by_hand() -> None:
    model = competition(neurons=2)
    model.weight.fill_(0.125)
    trace = torch.zeros(64)
    trace[:32] = 1.0
    model.potentiate(1, trace)
    up = 0.125 + 0.02 * 0.7 * 0.875
    down = 0.125 - 0.02 * 0.3 * 0.125
    scale = 8 / (32 * up + 32 * down)
    assert float(model.weight[0, 1]) == pytest.approx(up * scale, rel=1e-5)
    assert float(model.weight[63, 1]) == pytest.approx(down * scale, rel=1e-5)
    assert float(model.raised[1]) == pytest.approx(0.05)
    assert float(model.weight[0, 0]) == 0.125


def test_stdp_resumes_where_it_stopped(tmp_path: Path) -> None:
    data = catalogue().dataset("digits:valid=0.5,test=0.5")
    config = Config(mode="stdp", time_steps=10, neurons=10, stdp_epochs=1)

    def fit(decision, reports: int, path=None):
        seed_everything(0)
        model, seen = PLUGIN.build(config, data.info), []

        def on_report(report):
            seen.append(report)
            return decision if len(seen) == reports else "continue"

        with contextlib.suppress(Stop):
            PLUGIN.fit(model, config, Run(data, 0, on_report=on_report, checkpoint_path=path))
        return seen

    whole = fit("continue", 0)
    path = tmp_path / "checkpoint.safetensors"
    fit("interrupt", 1, path)
    assert path.exists()
    assert fit("continue", 0, path) == whole[1:]


# ---------------------------------------------------------------- counts


def test_operations_are_counted_by_spike_and_synapse() -> None:
    model, _, run = fitted(hidden="8c5-p2-16c5-p2", steps=2)
    x = run.split("valid").examples["x"][:3]
    trace = model.simulate(model.encode(x), count=True)
    codes = model.encode(x).sum(0)
    conv = model.layers[0]
    reach = nn.functional.conv2d(torch.ones(1, 1, 8, 8), torch.ones(1, 1, 5, 5), padding=2)[0]
    torch.testing.assert_close(trace.operations[0], (codes * reach).sum((1, 2, 3)) * 8)
    pooled = trace.spikes[0].sum(0).reshape(3, 8, 4, 2, 4, 2).sum((3, 5))
    reach = nn.functional.conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 5, 5), padding=2)[0]
    torch.testing.assert_close(trace.operations[1], (pooled * reach).sum((1, 2, 3)) * 16)
    assert trace.operations[2].tolist() == (trace.spikes[1].sum((0, 2, 3, 4)) * 10).tolist()
    macs = ann_macs(model.layers, x[:1])
    assert macs[0] == float((reach_of(8) * 8).sum())
    assert macs[2] == 64 * 10
    assert conv.weight.shape == (8, 1, 5, 5)


def reach_of(size: int) -> torch.Tensor:
    ones = torch.ones(1, 1, size, size)
    return nn.functional.conv2d(ones, torch.ones(1, 1, 5, 5), padding=2)


def test_the_probe_adds_up_and_refuses_other_systems() -> None:
    model, config, run = fitted()
    found = SpikeEnergy().measure(PLUGIN, model, config, run.data)
    assert found["macs"] == 64 * 128 + 128 * 128 + 128 * 10
    assert found["synops"] == pytest.approx(sum(found[f"synops.{i}"] for i in (1, 2, 3)))
    assert found["input_macs"] == 0
    assert found["ops_ratio"] == pytest.approx(found["synops"] / found["macs"])
    assert found["energy_ratio"] == pytest.approx(4.6 * found["macs"] / (0.9 * found["synops"]))
    x = run.data.split("test").examples["x"]
    with torch.no_grad():
        decisions = model.simulate(model.encode(x)).logits.argmax(-1).T.tolist()
    first = [row.index(row[-1]) + 1 for row in decisions]
    assert found["latency"] == pytest.approx(sum(first) / len(first))
    codes = latency_code(x, 8).sum() / 450
    assert found["synops.1"] == pytest.approx(float(codes) * 128, rel=1e-4)
    model, config, run = fitted(encoding="analog", steps=2)
    found = SpikeEnergy().measure(PLUGIN, model, config, run.data)
    assert found["input_macs"] == 64 * 128
    assert found["ops_ratio_uncached"] > found["ops_ratio"]
    model, config, run = fitted(**SYSTEMS["ttfs"])
    found = SpikeEnergy().measure(PLUGIN, model, config, run.data)
    assert 0 < found["ops_ratio"] < 1
    with pytest.raises(DataError, match=r"this is a Linear"):
        SpikeEnergy().measure(PLUGIN, nn.Linear(2, 2), config, run.data)


# ---------------------------------------------------------------- the plugin


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_learns_and_exports(name, tmp_path: Path) -> None:
    settings = {**SYSTEMS[name]}
    model, config, run = fitted(**settings)
    floor = 0.3 if name == "spikeprop" else 0.6
    assert max(report.scores["accuracy"] for report in run.history) > floor
    exportable = PLUGIN.export(model, config, run.data.info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    found = compare(exportable, Session(tmp_path / "model.onnx"), eager_model(model, exportable))
    assert found["ok"], found
    for part, inner in exportable.parts.items():
        path = tmp_path / f"{part}.onnx"
        graph.write(inner, path, {})
        assert compare(inner, Session(path), eager_part(inner))["ok"], part


@pytest.mark.slow
def test_stdp_learns_and_exports(tmp_path: Path) -> None:
    settings = {"mode": "stdp", "neurons": 40, "stdp_epochs": 1, "time_steps": 20}
    model, config, run = fitted(**settings)
    assert run.history[-1].scores["accuracy"] > 0.5
    model.uniform = model.uniform[:8]  # each step is written out: the first show it as well
    assert PLUGIN.evaluate(model, config, run.split("valid"))["accuracy"] > 0.5
    exportable = PLUGIN.export(model, config, run.data.info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    found = compare(exportable, Session(tmp_path / "model.onnx"), eager_model(model, exportable))
    assert found["ok"], found


def test_the_step_graph_is_the_simulation() -> None:
    model, config, run = fitted(encoding="analog", steps=10)
    part = PLUGIN.export(model, config, run.data.info).parts["step"].module
    x = run.split("valid").examples["x"][:5]
    with torch.no_grad():
        states, total = part.initial(x), 0.0
        for _ in range(config.time_steps):
            currents, *states = part(x, *states)
            total = total + currents
        wanted = model(x)["logits"]
    found = total / config.time_steps * config.logit_scale
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", ["surrogate", "conversion", "ttfs_exact", "spikeprop"])
def test_tables_of_any_range_are_learnt(mode) -> None:
    steps = 60 if mode == "spikeprop" else 150  # it learns in fewer, which take longer
    settings = {"hidden": "64", "steps": steps, "eval_every": steps // 3}
    if mode in ("surrogate", "conversion"):
        settings["encoding"] = "analog"
    _, _, run = fitted("uci-suite", mode=mode, **settings)
    assert max(report.scores["accuracy"] for report in run.history) > 0.7
    _, _, run = fitted("moons-latency", mode=mode, **settings)
    assert max(report.scores["accuracy"] for report in run.history) > 0.8


def test_rectangular_colour_images_and_balanced_classes_are_taken() -> None:
    info = catalogue().dataset("digits").info
    odd = replace(info, shapes={"x": (3, 12, 9), "target": ()}, classes=4,
                  problem=balanced(info.problem))  # fmt: skip
    draw = torch.Generator().manual_seed(0)
    examples = {
        "x": torch.rand(20, 3, 12, 9, generator=draw),
        "target": torch.randint(0, 4, (20,), generator=draw),
        "weight": torch.ones(20),
    }
    split = Split("train", odd, examples)
    for name, settings in {**SYSTEMS, "stdp": {"mode": "stdp", "receptive": 4}}.items():
        config = replace(DEFAULTS, **settings)
        model = PLUGIN.build(config, odd)
        assert "balanced_accuracy" in PLUGIN.evaluate(model, config, split), name
        if name != "stdp":
            assert PLUGIN.loss(model, config, examples, odd).isfinite()


def test_the_activity_penalty_waits_and_then_lowers_the_spikes() -> None:
    model, config, run = fitted(activity=0.0, steps=120)
    busy = SpikeEnergy().measure(PLUGIN, model, config, run.data)["spikes_per_neuron"]
    model, config, run = fitted(activity=10.0, steps=120, activity_warmup=2)
    calm = SpikeEnergy().measure(PLUGIN, model, config, run.data)["spikes_per_neuron"]
    assert calm < 0.9 * busy


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"time_steps": 1}, "time_steps=1 must be at least 2"),
        ({"theta": 0.0}, "theta=0.0 must be at least"),
        ({"beta": 0.0}, "beta=0.0 must be at least"),
        ({"beta": 1.1}, "beta=1.1 must be at most 1"),
        ({"mode": "ttfs_exact", "hidden": "8c5-p2-16c5-p2"}, "dense layers only"),
        ({"mode": "stdp", "learn_neuron": True}, "only mode='surrogate' has gradients"),
        ({"batch_norm": True}, "only mode='conversion' and 'ann' fold it"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DEFAULTS, **settings)


def test_bad_data_is_refused() -> None:
    data = catalogue().dataset("digits")
    train = data.split("train")
    wide = Split("train", train.info, {**train.examples, "x": 3 * train.examples["x"] - 1})
    config = replace(DEFAULTS, scaling="none")
    model = PLUGIN.build(config, data.info)
    with pytest.raises(DataError, match=r"range from -1 to 2, but spike codes want \[0, 1\]"):
        PLUGIN.evaluate(model, config, wide)
    with pytest.raises(DataError, match="0 classes|None classes"):
        PLUGIN.check_data(replace(data.info, classes=None))
    with pytest.raises(DataError, match="wants images, not inputs of shape"):
        PLUGIN.build(replace(DEFAULTS, hidden="8c5-p2-16c5-p2"), MoonsLatency().info)
    with pytest.raises(DataError, match="receptive=9 wants images of at least that size"):
        PLUGIN.build(replace(DEFAULTS, mode="stdp", receptive=9), data.info)
    with pytest.raises(DataError, match="lower theta, or raise delays or tau"):
        fitted(mode="spikeprop", hidden="64", theta=1.0, delays=1, tau=1000.0)


def test_a_silent_layer_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="0 spikes in layer 1: the network guesses"):
        fitted(theta=1e5, steps=1)


# ---------------------------------------------------------------- data and claims


def test_generated_sets_are_what_they_say() -> None:
    strokes = Strokes(train_size=200)
    batch = strokes.load("train")
    assert batch["x"].shape == (200, 1, 16, 16)
    assert 0 <= float(batch["x"].min()) <= float(batch["x"].max()) <= 1
    assert sorted(set(batch["target"].tolist())) == list(range(10))
    assert (batch["x"].amax((1, 2, 3)) > 0.5).all()
    still = Strokes(jitter=0.0, train_size=100).load("train")
    for label in range(10):
        of = still["x"][still["target"] == label]
        assert torch.equal(of[0], of[-1])
    moons = MoonsLatency().load("valid")
    assert moons["x"].shape == (300, 16)
    assert 0 <= float(moons["x"].min()) <= float(moons["x"].max()) <= 1


def test_summaries_compare_split_by_split() -> None:
    from automl.core.record import RunResult

    rows = []
    for i, seed in enumerate(claims.SPLITS):
        on = f"digits:seed={seed},test=0.3"
        rows.append(RunResult("ReLU network", on, {"accuracy": 0.9 + i / 100}, {}, 1))
        rows.append(RunResult("other", on, {"accuracy": 0.8 + 2 * i / 100}, {}, 1))
    found = claims.over_splits("ReLU network")(rows)["other, all splits"]
    assert found["gap"] == pytest.approx(-0.09)
    assert found["lowest"] == pytest.approx(0.8)
    assert found["distance"] == pytest.approx(0.09)
    assert "other, all splits" not in claims.over_splits("ReLU network")(rows[:-1])


def test_controls_of_the_competition() -> None:
    assert 0.2 < claims.untrained(0)["accuracy"] < 0.95
    assert claims.k_means(0)["accuracy"] > 0.9


@pytest.mark.parametrize("dataset", ["digits", "uci-suite"])
def test_a_study_may_ask_the_space_again_and_again(dataset) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    info = catalogue().dataset(dataset).info
    study, modes = optuna.create_study(sampler=optuna.samplers.RandomSampler(0)), set()
    for _ in range(40):
        trial = study.ask()
        modes.add(PLUGIN.space(trial, DEFAULTS, info).mode)
        study.tell(trial, 0.0)
    assert len(modes) == 5
