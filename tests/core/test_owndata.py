"""A user's own data: what is understood, what is refused, and that nothing needs the file later."""

import json
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import load_file
from sklearn.metrics import balanced_accuracy_score

from automl.core.discovery import catalogue
from automl.core.errors import AutoMLError
from automl.core.own import memory, tables
from automl.core.own.dataset import folder_of, read_meta
from automl.core.own.encoding import TableEncoder, transformer
from automl.core.own.ingest import Ingest, ingest
from automl.core.run import Best

RANDOM = np.random.default_rng(0)


def people(rows: int = 200) -> pd.DataFrame:
    """A table with everything that tables have."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, rows).astype(float),
            "city": random.choice(["Oslo", "Rome", "Lima"], rows),
            "member": random.choice([True, False], rows),
            "joined": pd.Series(pd.date_range("2020-01-01", periods=rows)).dt.strftime("%Y-%m-%d"),
            "bought": random.choice(["yes", "no"], rows),
        }
    )
    frame.loc[::7, "age"] = np.nan
    frame.loc[::11, "city"] = np.nan
    return frame


def prepare(path: Path, told: list[str] | None = None, **options):
    name = ingest(path, Ingest(**options), (told if told is not None else []).append)
    return catalogue().dataset(name)


def written(tmp_path: Path, frame: pd.DataFrame, name: str = "people.csv") -> Path:
    path = tmp_path / name
    frame.to_csv(path, index=False)
    return path


def refusal(path: Path, **options) -> str:
    with pytest.raises(AutoMLError) as caught:
        prepare(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert not list(folder_of("x").parent.glob("*")), "something half-prepared is left"
    return text


# ---------------------------------------------------------------- what is understood


def test_a_messy_table_becomes_numbers(tmp_path: Path) -> None:
    told: list[str] = []
    frame = people()
    frame["empty"] = np.nan
    frame.loc[3, "bought"] = np.nan
    data = prepare(written(tmp_path, frame), told, target="bought")
    assert data.info.problem.name == "tabular-classification"
    assert data.info.facts["class_names"] == ["no", "yes"]
    kinds = {c["name"]: (c["kind"], c["categories"]) for c in data.info.facts["columns"]}
    assert kinds == {
        "age": ("number", []),
        "city": ("category", ["Lima", "Oslo", "Rome"]),
        "member": ("category", ["False", "True"]),
        "joined": ("date", []),
    }
    splits = {name: data.split(name) for name in ("train", "valid", "test")}
    assert sum(map(len, splits.values())) == 199
    assert all(len(torch.unique(s.examples["target"])) == 2 for s in splits.values())
    x = splits["train"].examples["x"]
    assert x.shape[1] == data.info.shapes["x"][0]
    assert x.isfinite().all()
    assert x[:, :4].mean(0).abs().max() < 1e-4  # numbers are standardised on the training rows
    said = " ".join(told)
    assert "column 'empty' has no values and is left out" in said
    assert "1 rows without 'bought' are left out" in said
    assert "'bought' has 2 different values: tabular-classification" in said
    baselines = data.info.facts["baselines"]
    assert set(baselines) == {"logistic regression", "gradient boosting"}
    assert all(0 <= scores["accuracy"] <= 1 for scores in baselines.values())


def test_the_same_file_is_prepared_once_and_not_needed_again(tmp_path: Path) -> None:
    path = written(tmp_path, people())
    first = prepare(path, target="bought")
    stamp = (folder_of(first.id) / "meta.json").stat().st_mtime_ns
    assert prepare(path, target="bought").id == first.id
    assert (folder_of(first.id) / "meta.json").stat().st_mtime_ns == stamp
    other = prepare(path, target="bought", seed=1)
    assert other.id != first.id
    path.unlink()
    catalogue.cache_clear()
    read_meta.cache_clear()
    again = catalogue().dataset(first.name)
    assert torch.equal(again.load("train")["x"], first.load("train")["x"])


def test_numbers_are_regressed_on_and_answered_in_their_own_unit(tmp_path: Path) -> None:
    frame = people()
    frame["price"] = 1000 + 50 * RANDOM.normal(size=len(frame))
    told: list[str] = []
    data = prepare(written(tmp_path, frame), told, target="price")
    assert data.info.problem.name == "tabular-regression"
    assert "(--problem tabular-classification if it is not)" in " ".join(told)
    target = data.split("train").examples["target"]
    assert target.shape[1:] == (1,)
    assert abs(float(target.mean())) < 1e-4
    deployment = data.deployment()
    (answer,) = deployment.after({"value": target})
    assert 900 < float(answer.mean()) < 1100
    assert set(data.info.facts["baselines"]) == {"ridge regression", "gradient boosting"}


def test_few_whole_numbers_are_classes_unless_told_otherwise(tmp_path: Path) -> None:
    frame = people()
    frame["stars"] = RANDOM.integers(1, 6, len(frame))
    path = written(tmp_path, frame)
    assert prepare(path, target="stars").info.classes == 5
    regressed = prepare(path, target="stars", problem="tabular-regression")
    assert regressed.info.problem.name == "tabular-regression"


def test_rare_classes_count_alike(tmp_path: Path) -> None:
    frame = people(300)
    frame["bought"] = np.where(np.arange(300) % 10 == 0, "yes", "no")
    told: list[str] = []
    data = prepare(written(tmp_path, frame), told, target="bought")
    assert data.problem.objective.name == "balanced_accuracy"
    assert "they count alike" in " ".join(told)
    split = data.split("valid")
    target = split.examples["target"]
    logits = torch.randn(len(target), 2, generator=torch.Generator().manual_seed(0))
    found = data.problem.score({"logits": logits}, split.examples)["balanced_accuracy"].mean()
    wanted = balanced_accuracy_score(target.numpy(), logits.argmax(-1).numpy())
    assert float(found) == pytest.approx(wanted, abs=1e-6)


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    frame = people()
    frame["joined"] = pd.to_datetime(frame["joined"])
    frame.to_parquet(tmp_path / "people.parquet")
    data = prepare(tmp_path / "people.parquet", target="bought")
    kinds = [column["kind"] for column in data.info.facts["columns"]]
    assert kinds == ["number", "category", "category", "date"]


def test_a_long_table_is_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK", 64)
    told: list[str] = []
    path = written(tmp_path, people(1000))
    data = prepare(path, told, target="bought", max_rows=100)
    assert sum(data.info.sizes.values()) == 100
    assert "a random 100 of 1,000 rows are used" in " ".join(told)
    frame, total = tables.read(path, 100, 0)
    assert (len(frame), total) == (100, 1000)
    whole = pd.read_csv(path, dtype="str")
    merged = frame.merge(whole.drop_duplicates(), how="inner")
    assert len(merged) >= 100  # whole rows, not mixtures


def images(folder: Path, sizes=((8, 8),), mode: str = "L", each: int = 8) -> Path:
    for group in ("cats", "dogs"):
        (folder / group).mkdir(parents=True)
        for i in range(each):
            size = sizes[i % len(sizes)]
            Image.new(mode, size, 10 * i if mode == "L" else (i, i, 200)).save(
                folder / group / f"{i}.png"
            )
    return folder


def test_a_folder_of_images(tmp_path: Path) -> None:
    data = prepare(images(tmp_path / "grey"))
    assert data.info.shapes["x"] == (1, 8, 8)
    assert data.info.facts["class_names"] == ["cats", "dogs"]
    x = data.split("train").examples["x"]
    assert (x.dtype, float(x.max()) <= 1, float(x.min()) >= 0) == (torch.float32, True, True)
    coloured = prepare(images(tmp_path / "colour", ((8, 6), (10, 10)), "RGB"), image_size=12)
    assert coloured.info.shapes["x"] == (3, 12, 12)


def test_arrays_by_their_shapes(tmp_path: Path) -> None:
    y = np.arange(60) % 3
    for shape, problem, wanted in (
        ((60, 5), "auto", ("tabular-classification", (5,))),
        ((60, 6, 6), "auto", ("image-classification", (1, 6, 6))),
        ((60, 6, 7, 3), "auto", ("image-classification", (3, 6, 7))),
        ((60, 9, 2), "sequence-classification", ("sequence-classification", (9, 2))),
    ):
        path = tmp_path / "arrays.npz"
        np.savez(path, x=RANDOM.random(shape), y=y)
        data = prepare(path, problem=problem)
        assert (data.info.problem.name, data.info.shapes["x"]) == wanted
    np.savez(path, inputs=RANDOM.random((60, 4)), price=RANDOM.random(60))
    assert prepare(path, target="price").info.problem.name == "tabular-regression"


# ---------------------------------------------------------------- the encoder is scikit-learn's


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.integers(0, 3), st.integers(0, 3), st.floats(0, 0.5))
def test_the_encoder_computes_what_scikit_learn_does(
    seed: int, numbers: int, categories: int, missing: float
) -> None:
    if not numbers + categories:
        return
    random = np.random.default_rng(seed)
    raw = random.normal(size=(40, numbers + categories)).astype(np.float32)
    raw[:, numbers:] = random.integers(0, 4, (40, categories))
    raw[random.random(raw.shape) < missing] = np.nan
    raw[0] = 1  # no column is empty
    numeric, category = list(range(numbers)), list(range(numbers, numbers + categories))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = transformer(numeric, category).fit(raw[:30]).transform(raw)
        encoder = TableEncoder.fitted(raw[:30], numeric, category)
    found = encoder(torch.from_numpy(raw))
    assert found.shape[1] == encoder.width
    torch.testing.assert_close(found, torch.from_numpy(wanted).float(), rtol=1e-4, atol=1e-4)


# ---------------------------------------------------------------- what is refused


def test_bad_tables_are_one_sentence(tmp_path: Path) -> None:
    good = people()
    path = written(tmp_path, good)
    assert "no file or folder" in refusal(tmp_path / "nothing.csv", target="y")
    assert "name the column" in refusal(path)
    assert "no column 'bougth'. Did you mean 'bought'?" in refusal(path, target="bougth")
    empty = tmp_path / "empty.csv"
    empty.write_text("")
    assert "is empty" in refusal(empty, target="y")
    empty.write_text("a,y\n")
    assert "has a header but no rows" in refusal(empty, target="y")
    empty.write_text("a,a,y\n1,2,3\n")
    assert "two columns are called 'a'" in refusal(empty, target="y")
    empty.write_text("a,,y\n1,2,3\n")
    assert "column 2 has no name" in refusal(empty, target="y")
    empty.write_bytes(b"a,y\n\xff\xfe,1\n")
    assert "cannot be read as a table" in refusal(empty, target="y")
    mixed = good.astype({"age": object})
    mixed.loc[5, "age"] = "unknown"
    assert "column 'age' holds numbers, but 'unknown' in row 6" in refusal(
        written(tmp_path, mixed), target="bought"
    )
    one = good.assign(bought="yes")
    assert "'yes' everywhere" in refusal(written(tmp_path, one), target="bought")
    nothing = good.assign(bought=np.nan)
    assert "has no values" in refusal(written(tmp_path, nothing), target="bought")
    rare = good.copy()
    rare.loc[0, "bought"] = "perhaps"
    assert "class 'perhaps' of 'bought' has 1 example" in refusal(
        written(tmp_path, rare), target="bought"
    )
    assert "4 usable examples, too few" in refusal(written(tmp_path, good.head(4)), target="bought")
    assert "nothing is left" in refusal(written(tmp_path, good[["bought"]]), target="bought")
    text = refusal(written(tmp_path, good), target="city", problem="tabular-regression")
    assert "cannot be a quantity" in text
    assert "no column 'agee' to take as categorical. Did you mean 'age'?" in refusal(
        written(tmp_path, good), target="bought", categorical="agee"
    )
    other = tmp_path / "notes.doc"
    other.write_text("x")
    assert "none of .csv" in refusal(other, target="y")


def test_bad_images_and_arrays_are_one_sentence(tmp_path: Path, monkeypatch) -> None:
    assert "2 different sizes (8 x 6, 10 x 10): pass --image-size" in refusal(
        images(tmp_path / "sizes", ((8, 6), (10, 10)))
    )
    broken = images(tmp_path / "broken")
    (broken / "cats" / "3.png").write_bytes(b"no image")
    assert "3.png cannot be read as an image" in refusal(broken)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert "0.png cannot be read as an image" in refusal(images(tmp_path / "large"))
    (tmp_path / "none").mkdir()
    assert "holds no images in folders" in refusal(tmp_path / "none")
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.zeros((20, 3)), y=np.zeros(19))
    assert "do not go together" in refusal(path)
    np.savez(path, x=np.zeros((20, 3)))
    assert "no array of answers 'y'" in refusal(path)
    np.savez(path, x=np.full((20, 4, 4), 7.0), y=np.arange(20) % 2)
    assert "must be in [0, 1]" in refusal(path)
    path.write_bytes(b"no archive")
    assert "cannot be read as arrays" in refusal(path)
    np.savez(path, x=np.array([{"a": 1}] * 20, dtype=object), y=np.arange(20))
    assert "cannot be read as arrays" in refusal(path)


def test_what_would_not_fit_into_memory_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "free", lambda: 50_000_000)
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x=np.zeros((20, 1_000_000), np.uint8), y=np.arange(20) % 2)
    assert path.stat().st_size < 100_000
    assert "takes 20 MB once it is unpacked and needs 60 MB of memory, 50 MB" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive, archive.open("x.npy", "w") as member:
        claimed = {"descr": "<f8", "fortran_order": False, "shape": (10**15, 5)}
        np.lib.format.write_array_header_1_0(member, claimed)
    assert "cannot be read as arrays: Unable to allocate" in refusal(path)
    np.savez_compressed(path, x=np.zeros((20, 500_000), np.uint8), y=np.arange(20) % 2)
    assert "takes 40 MB once it is unpacked" in refusal(path)  # a table's numbers have four bytes


def test_a_small_parquet_file_of_much_is_not_unpacked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(memory, "free", lambda: 200_000_000)
    path = tmp_path / "bomb.parquet"
    zeros = pd.DataFrame({f"x{i}": np.zeros(100_000, np.int8) for i in range(100)})
    zeros.to_parquet(path)
    assert path.stat().st_size < 100_000
    assert "takes 80 MB once it is unpacked and needs 240 MB of memory" in refusal(
        path, target="x1"
    )
    pd.DataFrame({"x": ["a" * 20_000] * 5000, "y": range(5000)}).to_parquet(path)
    assert path.stat().st_size < 100_000
    assert "takes 100 MB once it is unpacked" in refusal(path, target="y")
    pd.DataFrame({"x": [[0] * 1000] * 20, "y": range(20)}).to_parquet(path)
    assert "column 'x' holds list<" in refusal(path, target="y")


def test_all_kinds_of_parquet_columns_are_read(tmp_path: Path) -> None:
    path, names = tmp_path / "kinds.parquet", ["b", "a", None]
    columns = {
        "text": names * 10,
        "bytes": [b"x", b"y", None] * 10,
        "category": pd.Categorical(names * 10),
        "level": pd.Categorical([3, 1, 2] * 10),
        "day": pd.date_range("2026-01-01", periods=30),
        "flag": [True, False, True] * 10,
        "y": [0, 1, 1] * 10,
    }
    pd.DataFrame(columns).to_parquet(path, row_group_size=7)
    frame, total = tables.read(path, 1000, 0)
    assert total == len(frame) == 30
    for name in ("text", "category"):
        assert tables.texts(frame[name]).dropna().tolist() == ["b", "a"] * 10
    kinds = {name: tables.infer(name, frame[name]).kind for name in frame.columns}
    assert list(kinds.values()) == [
        "category", "category", "category", "number", "date", "category", "number",
    ]  # fmt: skip


def test_a_missing_or_unprepared_dataset_says_what_to_do() -> None:
    with pytest.raises(AutoMLError, match="set AUTOML_ARTIFACTS"):
        catalogue().dataset("data:id=gone-12345678")
    with pytest.raises(AutoMLError, match="automl search --data FILE"):
        catalogue().dataset("data")


# ---------------------------------------------------------------- from a file to a graph


@pytest.mark.slow
@pytest.mark.parametrize("target", ["bought", "age"])
def test_from_a_file_to_a_verified_graph_that_takes_raw_numbers(
    tmp_path: Path, target: str
) -> None:
    import onnxruntime

    import automl

    frame = people(400)
    frame["bought"] = np.where((frame["city"] == "Oslo") | (frame["age"] > 70), "yes", "no")
    path = written(tmp_path, frame)
    result = automl.search(
        "selu", data=path, data_options={"target": target}, trials=1, executor="inline",
        overrides=["depth=2", "width=32", "epochs=20"],
    )  # fmt: skip
    assert result.best is not None
    assert set(result.baselines) >= {"gradient boosting"}
    path.unlink()
    made = automl.export_model(f"{result.study}/{result.best.trial}", into=tmp_path / "out")
    (report,) = made["targets"]
    assert report["status"] == "ok", report["message"]
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "cpu" / "model.onnx"))
    about = json.loads(session.get_modelmeta().custom_metadata_map["automl.data"])
    names = [name for column in about["columns"] for name in column["inputs"]]
    (prepared,) = folder_of("x").parent.glob("*/valid.safetensors")
    rows = load_file(prepared)["raw"][:3]  # not beyond what the model was trained on
    assert rows.shape[1] == len(names)
    rows[0, 0] = np.nan
    answers = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {"x": rows}), strict=True)
    )
    if target == "bought":
        assert about["class_names"] == ["no", "yes"]
        assert answers["label"].shape == (3,)
        np.testing.assert_allclose(answers["probability"].sum(1), 1, rtol=1e-5)
    else:
        assert 18 < float(answers["prediction"].mean()) < 90


def test_the_best_report_is_kept_and_survives_a_checkpoint() -> None:
    from automl.core.cards import Metric
    from automl.core.run import Report

    model = torch.nn.Linear(1, 1)
    best = Best(model, Metric("nll", "min"))
    for step, value in enumerate((3.0, 1.0, 2.0), start=1):
        torch.nn.init.constant_(model.weight, value)
        best.consider(Report(step, {"nll": value}))
    other = Best(model, Metric("nll", "min"))
    other.load_state(best.state())
    kept = other.restore()
    assert kept is not None
    assert (kept.step, model.weight.item()) == (2, 1.0)
