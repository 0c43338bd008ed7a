"""What only operators on function spaces can break: layers on grids, flows, resolutions."""

import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from automl.core.api import ConfigError, DataError, Run, Split
from automl.core.discovery import catalogue
from automl.core.problems import operator_learning, relative_h1, relative_l2
from automl.core.trial import seed_everything
from automl.export import graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model
from automl.plugins.neural_operator import claims, data
from automl.plugins.neural_operator.config import ARCHITECTURES, DEFAULTS, FULL, Config
from automl.plugins.neural_operator.layers import (
    Attention,
    DifferentialConv,
    InterpolatedConv,
    KernelIntegral,
    LocalConv,
    Pointwise,
    SpectralConv,
    fourier_resized,
    hat_basis,
    resized,
)
from automl.plugins.neural_operator.model import radius_of
from automl.plugins.neural_operator.plugin import NeuralOperators
from automl.plugins.neural_operator.probe import Resolution

PLUGIN = NeuralOperators()
POISSON = "poisson-periodic:finest=64,resolution=16,test_size=8,train_size=64,valid_size=16"
SIDE = 2 * math.pi
TINY = {"modes": 4, "width": 8, "n_layers": 2, "hidden": 4, "depth": 2, "kernel": 3, "basis": 8}


def waves(size: int) -> torch.Tensor:
    """A band-limited function (1, 1, size, size) of a torus."""
    place = torch.arange(size) / size * SIDE
    return (torch.sin(2 * place)[:, None] * torch.cos(place)[None] + torch.cos(3 * place))[
        None, None
    ]


# ---------------------------------------------------------------- layers


@pytest.mark.parametrize("size", [(8, 8), (12, 16), (9, 11)])
def test_a_spectral_convolution_equals_ffts(size) -> None:
    layer, m = SpectralConv(3, 5, 4), 4
    x = torch.randn(2, 3, *size)
    spectrum = torch.fft.rfft2(x, norm="forward")
    out = torch.zeros(2, 5, size[0], size[1] // 2 + 1, dtype=torch.cfloat)
    rows = [*range(m), *range(-m, 0)]
    weight = torch.complex(*layer.weight.detach())
    out[:, :, rows, :m] = torch.einsum("bixy,yxio->boxy", spectrum[:, :, rows, :m], weight)
    expected = torch.fft.irfft2(out, s=size, norm="forward")
    torch.testing.assert_close(layer(x).detach(), expected, atol=3e-6, rtol=1e-5)


def test_pointwise_equals_a_convolution_of_one_tap() -> None:
    layer, conv = Pointwise(3, 5), nn.Conv2d(3, 5, 1)
    conv.load_state_dict({"weight": layer.weight[:, :, None, None], "bias": layer.bias})
    x = torch.randn(2, 3, 4, 6)
    torch.testing.assert_close(layer(x), conv(x))


def test_hats_are_those_of_the_field() -> None:
    # [3]: the middle of the disc has the first hat alone, half the radius the second
    at = torch.tensor([0.0, 0.25, 0.5])
    found = hat_basis("3", 1.0, torch.zeros(3), at)
    torch.testing.assert_close(found, torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]))
    # [2,4]: one ring at a third of the radius, four angles; at angle 0 the third is 1
    found = hat_basis("2,4", 1.0, torch.zeros(1), torch.tensor([1 / 3]))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.0, 0.0, 1.0, 0.0]), atol=1e-6, rtol=0)
    assert len(hat_basis("3,4", 1.0, torch.zeros(1), torch.zeros(1))) == 5
    beyond = hat_basis("3,4", 1.0, torch.zeros(1), torch.tensor([1.01]))
    assert float(beyond.abs().max()) == 0


@pytest.mark.parametrize("shape", ["2,4", "3,4", "3"])
def test_a_local_convolution_averages_constants_and_knows_its_radius(shape) -> None:
    layer = LocalConv(1, SIDE / 8, shape, (SIDE, SIDE), True)
    for size in (16, 32):
        answer = layer(torch.ones(1, 1, size, size)) - layer.bias
        torch.testing.assert_close(answer, layer.weight.sum() * torch.ones_like(answer))
    assert layer.taps(64, 64, torch.device("cpu")).shape[-1] == 17
    with pytest.raises(DataError, match="no support at this resolution: radius 0.785 < cell 1.57"):
        layer(torch.ones(1, 1, 4, 4))


def test_a_differential_convolution_becomes_a_derivative() -> None:
    layer = DifferentialConv(1, (SIDE, SIDE), True)
    with torch.no_grad():
        layer.conv.weight.zero_()
        layer.conv.weight[0, 0, 2, 1], layer.conv.weight[0, 0, 0, 1] = 0.5, -0.5
    errors = []
    for size in (32, 64):
        place = torch.arange(size) / size * SIDE
        x = torch.sin(place)[None, None, :, None].expand(1, 1, size, size)
        errors.append(float((layer(x) - torch.cos(place)[:, None]).detach().abs().max()))
    assert errors[0] < 0.01
    assert errors[1] < errors[0] / 3.5


@pytest.mark.parametrize(("periodic", "radius"), [(True, 1.0), (False, 1.0), (True, 0.0)])
def test_a_kernel_integral_equals_the_sum_over_all_pairs(periodic, radius) -> None:
    layer, size = KernelIntegral(2, 3, radius, (SIDE, SIDE), periodic), 6
    x = torch.randn(1, 2, size, size)
    place = torch.arange(size) / size
    points = torch.cartesian_prod(place, place)
    apart = points[None] - points[:, None]  # from y to x
    if periodic:
        apart = torch.remainder(apart + 0.5, 1) - 0.5
    near = (apart * SIDE).norm(dim=-1) < (radius or 100)
    inputs = torch.cat([apart, points[:, None].expand_as(apart)], -1)
    terms = nn.functional.gelu(layer.values(x.flatten(2).transpose(1, 2))[0] + layer.places(inputs))
    area = math.pi * radius**2 if radius else SIDE**2
    total = (terms * near[..., None]).sum(1) * (SIDE / size) ** 2 / area
    torch.testing.assert_close(layer(x)[0].flatten(1).T, layer.out(total), atol=1e-5, rtol=1e-5)
    with torch.no_grad():  # the way that saves memory
        torch.testing.assert_close(layer(x)[0].flatten(1).T, layer.out(total), atol=1e-5, rtol=1e-5)


def test_attention_counts_a_point_by_its_cell() -> None:
    """One point of double weight is as good as the point twice."""
    for softmax in (True, False):
        layer = Attention(4, 2, 8, softmax=softmax, rope=True)
        x, place = torch.randn(1, 3, 4), torch.rand(3, 2)
        twice = torch.tensor([0, 1, 2, 2])
        once = layer(x, place, torch.tensor([0.25, 0.25, 0.5]))
        more = layer(x[:, twice], place[twice], torch.full((4,), 0.25))
        torch.testing.assert_close(once, more[:, :3], atol=1e-5, rtol=1e-4)


def test_interpolated_kernels() -> None:
    layer = InterpolatedConv(1, 1, 5)
    nn.init.constant_(layer.conv.weight, 0.2)
    x = torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(layer(x, 2.0), layer(x))  # 9 taps, divided by the ratio of taps
    layer.norm = "quadrature"
    expected = 0.2 * 81 / 4 + layer.conv.bias
    torch.testing.assert_close(layer(x, 2.0)[0, 0, 0, 0], expected[0])


def test_interpolation_between_grids() -> None:
    torch.testing.assert_close(fourier_resized(waves(16), (64, 64)), waves(64), atol=1e-5, rtol=0)
    torch.testing.assert_close(fourier_resized(waves(64), (16, 16)), waves(16), atol=1e-5, rtol=0)
    fine = resized(waves(64), (128, 128), "bilinear", True)
    torch.testing.assert_close(fine[..., ::2, ::2], waves(64))
    assert float((fine - waves(128)).abs().max()) < 0.02


@pytest.mark.slow
def test_layers_converge_and_a_plain_convolution_does_not() -> None:
    for name, check in claims.CONVERGENCE.checks.items():
        found = check(0)
        assert found["largest"] < 1e-5 if name == "spectral convolution" else found["fall"] > 2
    found = claims.converges(lambda: InterpolatedConv(4, 4, 3))(0)
    assert found["fall"] < 2.2, "a convolution of three taps becomes one point, ever more slowly"
    assert found["largest"] > 0.01


# ---------------------------------------------------------------- data


def test_forcing_has_the_spectrum_asked_for() -> None:
    fields = data.gaussian_field(400, 32, 27.0, 4, 9, torch.Generator().manual_seed(0))
    spectrum = torch.fft.fft2(fields.double(), norm="forward")
    assert float(fields.mean().abs()) < 1e-6
    for k, p in ((1, 0), (2, 1), (0, 3)):
        variance = float(spectrum[:, k, p].abs().square().mean())
        assert variance == pytest.approx(27 * (k**2 + p**2 + 9) ** -4 / SIDE**2, rel=0.15)


def test_a_single_wave_only_decays_and_is_forced() -> None:
    """A shear flow does not transport itself: w' = f - nu k^2 w has a closed form."""
    place = torch.arange(32) / 32 * SIDE
    force = torch.sin(2 * place)[None, :, None].expand(1, 32, 32)
    found = data.vorticity(force, 0.1, 2.0, 0.01)
    expected = force * (1 - math.exp(-0.1 * 4 * 2)) / (0.1 * 4)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_flows_agree_with_plain_transport_and_between_grids() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = data.gaussian_field(2, 64, 675, 4, 9, generator)
    fine = fourier_resized(coarse[:, None], (128, 128))[:, 0]
    one = data.vorticity(coarse, 1 / 500, 1.0, 0.025)
    two = data.vorticity(fine, 1 / 500, 1.0, 0.0125)[:, ::2, ::2]
    # the coarse grid drops the forcing beyond two thirds of its frequencies
    assert float((one - two).norm() / two.norm()) < 2e-3
    # one short step against u grad w written out
    w, dt = one.double(), 1e-3
    k1, k2 = data.wave_numbers(64)
    spectrum = torch.fft.rfft2(w)
    square = (k1**2 + k2**2).clamp(min=1)

    def field(factor):
        return torch.fft.irfft2(factor * spectrum, s=(64, 64))

    transport = field(1j * k2 / square) * field(1j * k1) - field(1j * k1 / square) * field(1j * k2)
    first = data.vorticity(coarse, 1 / 500, 1.0, dt).double()
    second = data.vorticity(coarse, 1 / 500, 1.0 + dt, dt).double()
    laplacian = field(-(k1**2 + k2**2))
    expected = coarse.double() + laplacian / 500 - transport
    assert float(((second - first) / dt - expected).norm() / expected.norm()) < 0.02
    with pytest.raises(DataError, match=r"the flow blew up: dt=5 is too long for 64 points"):
        data.vorticity(1e6 * coarse, 1e-6, 500.0, 5.0)


def test_fields_on_several_grids_are_the_same_functions(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    small = {"made": 32, "finest": 32, "train_size": 2, "valid_size": 1, "test_size": 2, "dt": 0.1}
    for kind in (data.ForcedFlow, data.Poisson):
        given = {key: value for key, value in small.items() if key in kind().to_dict()}
        fine, coarse = (kind(resolution=n, **given).load("test") for n in (32, 16))
        torch.testing.assert_close(fine["x"][..., ::2, ::2], coarse["x"])
        torch.testing.assert_close(fine["target"][..., ::2, ::2], coarse["target"])
    files = list((tmp_path / "automl").iterdir())
    assert len(files) == 1, "one file for both grids"
    before = os.stat(files[0]).st_mtime_ns
    data.ForcedFlow(resolution=8, **small).load("test")
    assert os.stat(files[0]).st_mtime_ns == before
    with pytest.raises(ConfigError, match="resolution=24 must divide made=64"):
        data.ForcedFlow(resolution=24)
    with pytest.raises(ConfigError, match="resolution=24 must divide finest=128"):
        data.Poisson(resolution=24)


def test_poisson_is_solved() -> None:
    batch = data.Poisson(resolution=128, test_size=2).load("test")
    spectrum = torch.fft.rfft2(batch["target"].double())
    k1, k2 = data.wave_numbers(128)
    f = torch.fft.irfft2(spectrum * (k1**2 + k2**2), s=(128, 128))
    torch.testing.assert_close(f.float(), batch["x"], atol=1e-4, rtol=1e-3)


def test_darcy_flow_in_even_ground_is_known() -> None:
    found = data.pressure(np.full((64, 64), 2.0))
    # u at the middle of the unit square for -Laplacian u = 1 is 0.0736713, here halved
    assert found[31:33, 31:33].mean() == pytest.approx(0.0736713 / 2, rel=2e-3)
    batch = data.Darcy(test_size=2).load("test")
    assert set(batch["x"].unique().tolist()) == {3.0, 12.0}
    finer = data.Darcy(test_size=2, resolution=64).load("test")["target"]
    means = nn.functional.avg_pool2d(finer, 2)
    assert float((means - batch["target"]).norm() / means.norm()) < 0.05


def test_the_wheel_is_missed_by_name(tmp_path) -> None:
    missing = data.BundledDarcy(path=str(tmp_path / "none.whl"))
    with pytest.raises(DataError, match=r"pip download --no-deps neuraloperator==0.3.0"):
        missing.load("train")
    with pytest.raises(DataError, match="training pairs at resolution=16 only"):
        data.BundledDarcy(resolution=32).load("train")


def test_a_wheel_is_read(tmp_path) -> None:
    import io
    import zipfile

    path, buffer = tmp_path / "old.whl", io.BytesIO()
    torch.save({"x": torch.ones(1000, 16, 16).bool(), "y": torch.rand(1000, 16, 16)}, buffer)
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr("neuralop/datasets/data/darcy_train_16.pt", buffer.getvalue())
    batch = data.BundledDarcy(path=str(path)).load("valid")
    assert batch["x"].shape == batch["target"].shape == (100, 1, 16, 16)
    with pytest.raises(DataError, match="only version 0.3.0 has data"):
        data.BundledDarcy(path=str(path)).load("test")


# ---------------------------------------------------------------- the problem


def test_relative_errors_by_hand() -> None:
    target, value = torch.ones(1, 1, 2, 2), torch.tensor([[[[2.0, 1], [1, 1]]]])
    assert float(relative_l2(value, target)) == pytest.approx(0.5)
    place = torch.arange(256) / 256 * SIDE
    wave = torch.sin(3 * place)[None, None, :, None].expand(1, 1, 256, 4)
    other = wave + torch.sin(5 * place)[:, None]
    found = float(relative_h1(other, wave, (SIDE, 1.0), periodic=True))
    assert found == pytest.approx(math.sqrt(26 / 10), rel=1e-3)
    assert float(relative_h1(target, target)) == pytest.approx(0, abs=1e-6)
    assert [m.name for m in operator_learning().metrics] == ["rel_l2", "rel_h1"]


# ---------------------------------------------------------------- networks


def learnt(arch: str, **smaller: int):
    """A small network after a few steps, its config, and its error before and after."""
    fields = catalogue().dataset(POISSON)
    config = replace(DEFAULTS, arch=arch, steps=12, eval_every=12, **{**TINY, **smaller})
    seed_everything(0)
    model = PLUGIN.build(config, fields.info)
    before = PLUGIN.evaluate(model, config, fields.split("train"))["rel_l2"]
    PLUGIN.fit(model, config, Run(fields, 0))
    after = PLUGIN.evaluate(model, config, fields.split("train"))["rel_l2"]
    return model, config, before, after


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_learns(arch) -> None:
    *_, before, after = learnt(arch)
    assert after < before


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_exports(arch, tmp_path: Path) -> None:
    model, config, _, _ = learnt(arch, n_layers=1, depth=1)
    exportable = PLUGIN.export(model, config, catalogue().dataset(POISSON).info)
    graph.write(exportable, tmp_path / "model.onnx", {})
    session = Session(tmp_path / "model.onnx")
    found = compare(exportable, session, eager_model(model, exportable))
    assert found["ok"], found
    assert set(exportable.axes["x"]) == ({0, 2, 3} if arch in ("fno", "oformer") else {0})


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_architecture_sees_images_of_any_shape(arch) -> None:
    info = catalogue().dataset("digits").info
    shape = (3, 8, 8) if arch in ("vit", "unet_io") else (3, 4, 8)
    wide = replace(info, shapes={**info.shapes, "x": shape})
    model = PLUGIN.build(replace(DEFAULTS, arch=arch, **TINY), wide)
    assert model(torch.rand(2, *shape))["logits"].shape == (2, 10)


@pytest.mark.slow
def test_digits_are_learnt() -> None:
    digits = catalogue().dataset("digits")
    config = replace(DEFAULTS, steps=150, eval_every=150, n_layers=2, batch_size=64)
    seed_everything(0)
    model = PLUGIN.build(config, digits.info)
    run = Run(digits, 0)
    PLUGIN.fit(model, config, run)
    assert run.history[-1].scores["accuracy"] > 0.5


def test_sizes_of_the_networks() -> None:
    info = catalogue().dataset(POISSON).info
    count = sum(p.numel() for p in PLUGIN.build(DEFAULTS, info).parameters())
    assert count == 265_649  # four times 16 x 16 x 128 complex numbers, and 3,505 others


def test_several_grids_and_losses() -> None:
    fields = catalogue().dataset(POISSON)
    config = replace(DEFAULTS, train_res="8,16", shrink_batch=True, batch_size=8, **TINY)
    model = PLUGIN.build(config, fields.info)
    batch = fields.split("train").take(slice(8))
    torch.manual_seed(0)
    sizes = {tuple(PLUGIN.on_a_grid(config, batch, model)["x"].shape) for _ in range(20)}
    assert sizes == {(8, 1, 8, 8), (4, 1, 16, 16)}
    own = replace(config, train_res="")
    value = PLUGIN.predict(model, batch)["value"]
    error = (value - batch["target"]).flatten(1).norm(dim=1)
    absolute = PLUGIN.loss(model, replace(own, loss="abs_l2"), batch, fields.info)
    torch.testing.assert_close(absolute, (error * SIDE / 16).sum() ** 2)
    h1 = PLUGIN.loss(model, replace(own, loss="h1"), batch, fields.info)
    expected = relative_h1(value, batch["target"], (SIDE, SIDE), True).mean()
    torch.testing.assert_close(h1, expected)
    domain = PLUGIN.build(replace(own, arch="local_no", train_res="16"), fields.info).domain
    assert radius_of(replace(own, radius_cells=2), domain) == pytest.approx(SIDE / 8)


def test_the_official_schedule_halves() -> None:
    assert FULL.rate(0, 625) == 1
    assert FULL.rate(33 * 625, 625) == 0.5
    assert DEFAULTS.rate(DEFAULTS.steps, 40) == pytest.approx(0)


def test_the_probe_measures_other_grids_and_remedies() -> None:
    fields = catalogue().dataset(POISSON)
    fno = replace(DEFAULTS, **TINY)
    found = Resolution().measure(PLUGIN, PLUGIN.build(fno, fields.info), fno, fields)
    assert {f"rel_l2@{n}" for n in (8, 16, 32, 64)} <= set(found)
    assert found["resolution_gap"] < 1.05
    unet = replace(fno, arch="unet")
    found = Resolution().measure(PLUGIN, PLUGIN.build(unet, fields.info), unet, fields)
    assert found["unet_io@16"] == pytest.approx(found["rel_l2@16"])
    assert found["unet_ki@16"] == pytest.approx(found["rel_l2@16"])
    assert found["discr_error@32"] > 0
    with pytest.raises(DataError, match="'digits' has one grid only"):
        digits = catalogue().dataset("digits")
        Resolution().measure(PLUGIN, PLUGIN.build(fno, digits.info), fno, digits)


# ---------------------------------------------------------------- what is refused


def test_bad_settings_are_refused() -> None:
    for change, sentence in (
        ({"train_res": "a"}, "train_res='a' must be heights"),
        ({"kernel": 4}, "kernel=4 must be odd"),
        ({"head_dim": 6}, "head_dim=6 must be a multiple of 4"),
        ({"arch": "local_no", "radius_cells": 0}, "without a local kernel"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            Config(**change)
    info = catalogue().dataset(POISSON).info
    with pytest.raises(ConfigError, match="5 does not divide the grid of"):
        PLUGIN.build(replace(DEFAULTS, train_res="5"), info)


def test_bad_fields_are_refused() -> None:
    fields = catalogue().dataset(POISSON)

    def ask(arch: str, *size: int) -> None:
        config = replace(DEFAULTS, arch=arch, **{**TINY, "modes": 8})
        PLUGIN.build(config, fields.info)(torch.rand(1, 1, *size))

    with pytest.raises(DataError, match=r"grid 12x12 too coarse for 8 modes \(need >= 16\)"):
        ask("fno", 12, 12)
    with pytest.raises(DataError, match="wants square grids, not 16x32"):
        ask("vit", 16, 32)
    with pytest.raises(DataError, match="wants square grids, not 16x32"):
        ask("unet_io", 16, 32)
    with pytest.raises(DataError, match="grid 18x18 is not divisible by 4, wanted by patches"):
        ask("vit", 18, 18)
    with pytest.raises(DataError, match="grid 17x17 is not divisible by 2, wanted by 2 levels"):
        ask("unet", 17, 17)
    with pytest.raises(DataError, match="mlp has weights for a grid of 16x16, not of 32x32"):
        ask("mlp", 32, 32)
    split = fields.split("train")
    bad = {**split.examples, "target": split.examples["target"] * torch.nan}
    with pytest.raises(DataError, match="hold NaN or infinity"):
        PLUGIN.prepare(
            PLUGIN.build(DEFAULTS, fields.info), DEFAULTS, Split("train", fields.info, bad)
        )
    flat = replace(fields.info, shapes={"x": (5,), "target": (5,)})
    with pytest.raises(DataError, match=r"inputs of shape \(5,\)"):
        PLUGIN.check_data(flat)
