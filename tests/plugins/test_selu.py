"""What only self-normalizing networks can break: moments, alpha dropout, variants, tables."""

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from automl.core.api import ConfigError, DataError, Run, Split
from automl.core.discovery import catalogue
from automl.core.record import RunResult
from automl.core.trial import seed_everything
from automl.export import graph
from automl.export.parity import compare
from automl.export.session import Session
from automl.export.subject import eager_model, eager_part
from automl.plugins.selu import archive, claims, moments
from automl.plugins.selu.config import DEFAULTS, VARIANTS
from automl.plugins.selu.data import Assays, Suite
from automl.plugins.selu.model import AlphaDropout, Network, Selu, widths
from automl.plugins.selu.plugin import SelfNormalizing, portable
from automl.plugins.selu.probe import RocAuc, SelfNormalisation
from automl.plugins.selu.tables import TABLES

PLUGIN = SelfNormalizing()
WINE = "uci-suite"


def fitted(dataset: str = WINE, seed: int = 0, **settings) -> tuple[Network, Run]:
    """A network after a few steps."""
    data = catalogue().dataset(dataset)
    config = replace(DEFAULTS, **{"steps": 60, "eval_every": 30, "width": 32, **settings})
    seed_everything(seed)
    model = PLUGIN.build(config, data.info)
    run = Run(data, seed)
    PLUGIN.fit(model, config, run)
    return model.eval(), run


# ---------------------------------------------------------------- moments


def test_the_usual_constants_have_their_fixed_point_at_0_and_1() -> None:
    mean, variance = moments.next_moments(0.0, 1.0)
    assert abs(mean) < 1e-12
    assert variance == pytest.approx(1, abs=1e-12)
    found = moments.jacobian()
    np.testing.assert_allclose(found, [[0, 0.088835], [0, 0.782648]], atol=1e-5)
    assert np.linalg.norm(found, 2) == pytest.approx(0.787673, abs=1e-5)
    assert moments.selu_params() == pytest.approx((moments.ALPHA, moments.SCALE), abs=1e-12)


@pytest.mark.parametrize(
    ("mean", "variance", "omega", "tau"),
    [(0.1, 1.5, 0.1, 1.1), (-0.1, 0.8, -0.1, 0.95), (1, 9, 0, 1)],
)
def test_the_map_of_moments_agrees_with_sampling(mean, variance, omega, tau) -> None:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(2_000_000, generator=generator, dtype=torch.float64)
    out = nn.functional.selu(mean * omega + (variance * tau) ** 0.5 * z)
    new_mean, new_variance = moments.next_moments(mean, variance, omega, tau)
    assert float(new_mean) == pytest.approx(float(out.mean()), abs=0.01)
    assert float(new_variance) == pytest.approx(float(out.var()), rel=0.01)


def test_any_solvable_fixed_point_is_one() -> None:
    for mean in (-0.2, 0.0, 0.2):
        for variance in (0.5, 1.0, 2.0):
            alpha, scale = moments.selu_params(mean, variance)
            found = moments.next_moments(mean, variance, 0.0, 1.0, alpha, scale)
            np.testing.assert_allclose(found, (mean, variance), atol=1e-12)
    with pytest.raises(ConfigError, match="target_mean=3, target_variance=1: no SELU has"):
        moments.selu_params(3.0, 1.0)


def test_theorem_1_fails_for_relu_weights_and_is_noticed() -> None:
    scores = claims.domains(0)
    assert scores == {"theorem_1": 0, "theorem_2": 0, "theorem_3": 0}
    _, variance = moments.next_moments(0.0, 1.0, 0.0, 2.0)  # He: tau 2 leaves the domain
    assert variance > 1.5
    assert claims.sampled(32, "relu_msra")(0)["mean"] > 0.1


# ---------------------------------------------------------------- layers


def test_selu_equals_torch_and_the_written_formula_for_other_constants() -> None:
    x = torch.linspace(-6, 6, 2001)
    assert (Selu()(x) - nn.SELU()(x)).abs().max() < 1e-6
    found = Selu(1.5, 1.1)(x)
    wanted = torch.where(x > 0, 1.1 * x, 1.1 * 1.5 * torch.expm1(x))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("rate", "a", "b"), [(0.05, 0.954844, 0.083936), (0.1, 0.921285, 0.161971)]
)
def test_alpha_dropout_keeps_the_moments_as_torchs_does(rate, a, b) -> None:
    layer = AlphaDropout(rate)
    assert (layer.a, layer.b) == pytest.approx((a, b), abs=1e-6)
    seed_everything(0)
    x = torch.randn(1_000_000)
    for dropout in (layer, nn.AlphaDropout(rate)):
        y = dropout.train()(x)
        assert float(y.mean()) == pytest.approx(0, abs=0.005)
        assert float(y.var()) == pytest.approx(1, abs=0.005)
    assert torch.equal(layer.eval()(x), x)


def test_alpha_dropout_keeps_other_fixed_points() -> None:
    seed_everything(0)
    alpha, scale = moments.selu_params(0.2, 2.0)
    layer = AlphaDropout(0.1, -alpha * scale, 0.2, 2.0)
    y = layer(0.2 + 2.0**0.5 * torch.randn(1_000_000))
    assert (float(y.mean()), float(y.var())) == pytest.approx((0.2, 2.0), abs=0.02)


def test_weights_start_with_the_papers_variance() -> None:
    for variant, variance in (("snn", 1 / 400), ("relu_msra", 2 / 400)):
        seed_everything(1)
        config = replace(DEFAULTS, variant=variant, width=400, depth=2)
        layer = Network(config, (400,), 3, "classes").blocks[1][0]
        assert float(layer.weight.detach().var()) == pytest.approx(variance, rel=0.02)
        assert not layer.bias.any()


def test_shapes_of_networks() -> None:
    assert widths(replace(DEFAULTS, depth=3, width=64), 1) == [64, 64, 64]
    assert widths(replace(DEFAULTS, depth=3, width=64, shape="conic"), 1) == [64, 16, 4]
    for depth, blocks in ((1, 1), (2, 2), (3, 2), (8, 5)):
        model = Network(replace(DEFAULTS, variant="resnet", depth=depth), (5,), 2, "classes")
        assert len(model.blocks) == blocks  # the first linear layer, then pairs
        weights = [p for b in model.blocks for p in b.parameters() if p.ndim == 2]
        assert len(weights) == depth


def test_a_closed_highway_layer_carries_its_input() -> None:
    model = Network(replace(DEFAULTS, variant="highway", width=6, depth=2), (6,), 2, "classes")
    for block in model.blocks:
        nn.init.constant_(block[0].gate.bias, -100)
    x = torch.randn(4, 6)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x)["logits"], model.output(x))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_learns_wine_and_exports(variant, tmp_path: Path) -> None:
    model, run = fitted(variant=variant, depth=3, steps=120, lr=0.05)
    assert max(report.scores["accuracy"] for report in run.history) > 0.8
    x = torch.randn(5, 13)
    with torch.no_grad():
        before = model(x)["logits"]
        torch.testing.assert_close(portable(model)(x)["logits"], before, rtol=1e-4, atol=1e-5)
        assert torch.equal(model(x)["logits"], before), "exporting changes the model"


@pytest.mark.parametrize("target", [(0.0, 1.0), (0.1, 1.5)])
def test_selu_stays_one_operator_and_half_precision_agrees(target, tmp_path: Path) -> None:
    settings = {"target_mean": target[0], "target_variance": target[1], "depth": 4}
    model, run = fitted(**settings)
    exportable = PLUGIN.export(model, replace(DEFAULTS, **settings), run.data.info)
    written = graph.write(exportable, tmp_path / "model.onnx", {})
    assert written.operators["Selu"] == 4
    assert "Elu" not in written.operators
    session = Session(tmp_path / "model.onnx")
    assert compare(exportable, session, eager_model(model, exportable))["max_abs"] < 1e-5
    half = exportable.parts["float16"]
    graph.write(half, tmp_path / "half.onnx", {})
    session = Session(tmp_path / "half.onnx")
    assert compare(half, session, eager_part(half))["ok"]


# ---------------------------------------------------------------- problems and settings


def test_inputs_are_standardised_by_training_data_and_epochs_are_counted() -> None:
    data = catalogue().dataset("spirals:train_size=200")
    train = data.split("train")
    moved = Split("train", train.info, {**train.examples, "x": 5 + 3 * train.examples["x"]})
    model = PLUGIN.build(DEFAULTS, data.info)
    config = PLUGIN.prepare(model, replace(DEFAULTS, epochs=4, batch_size=64), moved)
    assert (config.steps, config.eval_every) == (12, 3)
    torch.testing.assert_close(model.mean, moved.examples["x"].mean(0))
    torch.testing.assert_close(model.scale, moved.examples["x"].std(0, correction=0))


def test_regression_labels_and_images_are_learnt() -> None:
    _, run = fitted("uci-regression", steps=200, lr=0.02)
    assert run.history[-1].scores["mse"] < float(
        run.split("valid").examples["target"].var(correction=0)
    )
    _, run = fitted("assays", steps=200, lr=0.1)
    assert run.history[-1].scores["auc"] > 0.65
    _, run = fitted("digits", convolutions=1, channels=8, steps=120, depth=2, lr=0.05)
    assert run.history[-1].scores["accuracy"] > 0.8


def test_auc_is_a_mean_over_labels_that_have_both_answers() -> None:
    data = Assays(size=200)
    split = data.split("valid")
    assert bool(split.examples["target"].isnan().any())
    model = PLUGIN.build(DEFAULTS, data.info)
    target = split.examples["target"].nan_to_num(0)
    model.forward = lambda x: {"logits": 2 * target - 1}  # what was measured, as it is
    scores = PLUGIN.evaluate(model, DEFAULTS, split)
    assert scores["auc"] == 1
    assert scores["nll"] == pytest.approx(np.log1p(np.exp(-1)), rel=1e-6)
    model.forward = lambda x: {"logits": torch.zeros_like(target)}
    assert PLUGIN.evaluate(model, DEFAULTS, split)["auc"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout_kind": "plain"}, "breaks self-normalisation; use alpha dropout"),
        ({"norm": "batch"}, "breaks self-normalisation"),
        ({"variant": "highway", "norm": "layer"}, "cannot be added to variant='highway'"),
        ({"depth": 0}, "depth=0 must be at least 1"),
        ({"width": 0}, "width=0 must be at least 1"),
        ({"dropout": 1.0}, "dropout=1.0 must be at most"),
        ({"variant": "resnet", "convolutions": 1}, "only snn has them"),
        ({"variant": "batchnorm", "batch_size": 1}, "batch_size=1 leaves batch normalisation"),
    ],
)
def test_bad_settings_are_refused(settings, message) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(DEFAULTS, **settings)


def test_what_breaks_self_normalisation_can_be_forced() -> None:
    config = replace(DEFAULTS, norm="batch", dropout_kind="plain", force=True, depth=2, width=8)
    kinds = {type(module) for module in Network(config, (3,), 2, "classes").modules()}
    assert {nn.BatchNorm1d, nn.Dropout} <= kinds


def spoilt(column: int, value: float) -> Split:
    split = catalogue().dataset(WINE).split("train")
    x = split.examples["x"].clone()
    x[:, column] = value
    return Split("train", split.info, {**split.examples, "x": x})


def test_bad_data_is_refused_and_odd_data_warned_of() -> None:
    info = catalogue().dataset(WINE).info
    model = PLUGIN.build(DEFAULTS, info)
    with pytest.raises(DataError, match="features 3 hold NaN or infinity"):
        PLUGIN.prepare(model, DEFAULTS, spoilt(3, float("nan")))
    with pytest.warns(UserWarning, match="features 4 are constant"):
        PLUGIN.prepare(model, DEFAULTS, spoilt(4, 2.5))
    assert float(model.scale[4]) == 1
    with pytest.warns(UserWarning, match="beyond what the theorems speak of"):
        PLUGIN.prepare(model, replace(DEFAULTS, standardise=False), spoilt(0, 100.0))
    split = catalogue().dataset(WINE).split("train")
    wrong = {**split.examples, "target": split.examples["target"] + 1}
    with pytest.raises(DataError, match="classes must be 0 to 2; 'uci-suite' has 1 to 3"):
        PLUGIN.prepare(model, DEFAULTS, Split("train", info, wrong))
    with pytest.raises(DataError, match="has 1 class"):
        PLUGIN.check_data(replace(info, classes=1))
    with pytest.raises(ConfigError, match="convolutions=1 want images"):
        PLUGIN.build(replace(DEFAULTS, convolutions=1), info)
    with pytest.raises(ConfigError, match="has a layer without units"):
        PLUGIN.build(replace(DEFAULTS, shape="conic", width=1, depth=8), replace(info, classes=0))


# ---------------------------------------------------------------- probes and claims


def test_the_probe_measures_each_layer_and_refuses_other_models() -> None:
    model, run = fitted(depth=3)
    found = SelfNormalisation().measure(PLUGIN, model, DEFAULTS, run.data)
    x = run.data.split("test").examples["x"]
    with torch.no_grad():
        h = model.blocks[0]((x - model.mean) / model.scale)
    assert found["mean.1"] == pytest.approx(float(h.mean()), abs=1e-6)
    assert found["variance.1"] == pytest.approx(float(h.var()), abs=1e-5)
    assert {"mean.3", "variance.3", "inside", "gradient_ratio"} <= found.keys()
    assert "mean.4" not in found
    with pytest.raises(DataError, match="looks into the layers of plugin 'selu'"):
        SelfNormalisation().measure(PLUGIN, nn.Linear(2, 2), DEFAULTS, run.data)
    assert 0.5 < RocAuc().measure(PLUGIN, model, DEFAULTS, run.data)["auc"] <= 1


def test_ranks_average_folds_first_and_share_ties() -> None:
    def row(name: str, on: str, accuracy: float | None) -> RunResult:
        return RunResult(name, on, {} if accuracy is None else {"accuracy": accuracy}, {}, 1)

    rows = []
    for position, name in enumerate(claims.SEVEN):
        rows += [row(name, "t:table=a", 1 - 0.1 * position), row(name, "t:fold=1,table=a", 0.5)]
        rows.append(row(name, "t:table=b", None if name == "resnet" else 0.5))
    rows.append(row("random forest", "t:table=a", 1.0))
    found = claims.ranks(rows)
    assert found["snn"]["average_rank"] == pytest.approx((1 + 3.5) / 2)
    assert found["relu_msra"]["average_rank"] == pytest.approx((2 + 3.5) / 2)
    assert found["resnet"]["average_rank"] == 7
    assert found["resnet"]["failures"] == 1
    assert found["snn"]["rank_difference"] == pytest.approx(2.25 - 4)
    assert found["snn"]["mean_accuracy"] == pytest.approx((0.75 + 0.5) / 2)


def test_a_better_network_has_a_small_p() -> None:
    accuracy = np.full((30, 7), 0.5)
    accuracy[:, 0] += np.linspace(0.01, 0.2, 30)
    found = claims.compare(accuracy)
    assert found["relu_msra"]["wilcoxon_p"] < 1e-6
    assert found["snn"]["wilcoxon_p"] == 1


def test_claims_name_datasets_that_exist() -> None:
    for claim in claims.CLAIMS:
        for name in {run.dataset for run in claim.runs}:
            if name.startswith("uci-suite"):
                assert catalogue().dataset(name).info.name == name
    assert len({run.dataset for run in claims.UCI_CLAIM.runs}) == 121 * 4


# ---------------------------------------------------------------- tables


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_what_its_info_says(table) -> None:
    data = Suite(table=table)
    splits = [data.load(name) for name in ("train", "valid", "test")]
    rows, features, classes = data.usual()
    assert sum(len(split["x"]) for split in splits) == rows
    assert [len(split["x"]) for split in splits] == list(data.info.sizes.values())
    for split in splits:
        assert split["x"].shape[1] == features
        assert sorted(set(split["target"].tolist())) == list(range(classes))
    train = splits[0]["x"]
    assert train.mean(0).abs().max() < 1e-4
    spread = train.std(0, correction=0)
    assert bool(((spread - 1).abs() < 1e-3).logical_or(spread < 1e-6).all())


def test_tables_can_be_made_harder() -> None:
    usual = Suite(table="hastie")
    hard = Suite(table="hastie", irrelevant=20, size=200)
    assert hard.info.shapes["x"] == (30,)
    assert sum(hard.info.sizes.values()) == len(hard.whole()[1]) == 200
    same = (Suite(table="hastie", flip=0.1).whole()[1] == usual.whole()[1]).mean()
    assert same == pytest.approx(0.95, abs=0.02)  # half of what is drawn anew is right by chance
    assert not torch.equal(usual.load("test")["x"], Suite(table="hastie", fold=1).load("test")["x"])
    with pytest.raises(ConfigError, match="table='wine' has 178 rows only"):
        Suite(size=200)
    with pytest.raises(ConfigError, match="size=30 must be at least 60"):
        Suite(size=30)


def write(path: Path, array: np.ndarray, delimiter: str = ",") -> None:
    np.savetxt(path, array, delimiter=delimiter, fmt="%g")


def authors_layout(root: Path) -> Path:
    folder = root / "data" / "wine"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    write(folder / "wine_py.dat", random.normal(size=(12, 3)))
    write(folder / "labels_py.dat", np.tile([5, 7, 9], 4)[:, None])
    fold = np.zeros((12, 4))
    for k in range(4):
        fold[3 * k : 3 * k + 3, k] = 1
    write(folder / "folds_py.dat", fold)
    write(folder / "validation_folds_py.dat", np.roll(fold, 3, 0))
    return folder


def test_the_authors_archive_is_read_by_its_folds(tmp_path: Path) -> None:
    folder = authors_layout(tmp_path)
    data = catalogue().dataset(f"uci121:root={tmp_path},fold=1")
    assert data.info.sizes == {"train": 6, "valid": 3, "test": 3}
    assert (data.info.classes, data.info.facts["class_names"]) == (3, ["5.0", "7.0", "9.0"])
    found = archive.read(str(tmp_path), "wine", 1)
    assert found.rows["test"].tolist() == [3, 4, 5]
    assert found.rows["valid"].tolist() == [6, 7, 8]
    assert data.load("test")["target"].tolist() == [0, 1, 2]
    (folder / "folds_py.dat").unlink()
    with pytest.raises(DataError, match="files are missing: .*folds_py.dat"):
        archive.read(str(tmp_path), "wine", 2)


def test_the_original_archive_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "iris"
    folder.mkdir()
    lines = ["f1 f2 clase", *(f"{i} {i / 10} {i % 3} {i % 2}" for i in range(40))]
    (folder / "iris_R.dat").write_text("\n".join(lines))
    rows = [" ".join(map(str, part)) for part in (range(30), range(30, 40))]
    (folder / "conxuntos_kfold.dat").write_text("\n".join(rows * 4))
    found = archive.read(str(tmp_path), "iris", 3)
    assert found.x.shape == (40, 2)
    assert found.rows["test"].tolist() == list(range(30, 40))
    assert len(found.rows["valid"]) == 5
    assert not set(found.rows["train"]) & set(found.rows["valid"])
    (folder / "iris_R.dat").rename(folder / "iris_train_R.dat")
    with pytest.raises(DataError, match="files are missing: .*iris_test_R.dat"):
        archive.read(str(tmp_path), "iris", 0)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("wine_py.dat", lambda t: t.replace("\n", "\nx,1,2\n", 1), "columns 0 hold text"),
        ("wine_py.dat", lambda t: t.replace("\n", "\nnan,1,inf\n", 1), "13 rows|12 rows"),
        ("labels_py.dat", lambda t: t + "1\n", "labels_py.dat has 13 rows, wine_py.dat has 12"),
        ("labels_py.dat", lambda t: "1\n" * 12, "all rows are of class 1.0"),
        ("wine_py.dat", lambda t: "1,nan,2\n" * 12, "columns 1 hold NaN"),
        ("wine_py.dat", lambda t: t + "1,2\n", "rows have different numbers of columns"),
    ],
)
def test_a_damaged_archive_is_refused(tmp_path: Path, file, change, message) -> None:
    path = authors_layout(tmp_path) / file
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError, match=message):
        archive.read(str(tmp_path), "wine", 0)


def test_a_missing_archive_says_what_to_give() -> None:
    with pytest.raises(DataError, match="give root=, the folder of the unpacked archive"):
        catalogue().dataset("uci121:root=nowhere").split("train")


def test_no_warning_on_clean_data() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        fitted(steps=1, eval_every=1)
