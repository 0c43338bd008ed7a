"""LEMUR's published records: every one is kept, oddities are flagged, nothing is executed."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from automl.core.errors import DataError
from automl.dataset_db import models, query
from automl.dataset_db.engine import connect, reading
from automl.dataset_db.lemur import importer
from automl.dataset_db.lemur.importer import import_lemur
from automl.dataset_db.lemur.records import Folder, perplexity, place_of
from automl.dataset_db.schema import (
    DEVICE_RUN,
    FLAG,
    PLUGIN,
    SCORE,
    SOURCE,
    SOURCE_FILE,
    STUDY,
    TRIAL,
)

NET = "class Net: pass\n\n\ndef supported_hyperparameters():\n    return {'lr'}\n"
UIDS = [f"{index:032x}" for index in range(10)]


def record(index: int = 0, score: float = 0.5, **more: Any) -> dict[str, Any]:
    """A record as LEMUR writes it."""
    told = {
        "accuracy": score,
        "batch": 32,
        "duration": 2_000_000_000,
        "lr": 0.01 * (index + 1),
        "momentum": 0.9,
        "transform": "norm_32",
        "uid": UIDS[index],
    }
    return {key: value for key, value in (told | more).items() if value is not ...}


def published(train: str = "train/") -> dict[str, str]:
    """The files of a small version: ordinary records and every known oddity."""
    stat = f"ab/nn/stat/{train}"
    first = f"{stat}img-classification_cifar-10_acc_AirNet"
    odd = f"{stat}img-classification_mnist_acc_ga-1"
    files: dict[str, Any] = {
        f"{first}/1.json": [record(0, 0.5), record(1, 0.4)],
        f"{first}/2.json": [record(0, 0.7, duration=4_000_000_000), record(1, 0.3)],
        f"{first}/10.json": [record(0, 0.6, duration=9_000_000_000)],
        f"{odd}/0.json": [record(0, 0.2, duration=...)],
        f"{odd}/1.json": [record(0, 0.1), record(0, 0.05)],
        f"{odd}/2.json": [
            record(2, 0.9, epoch=2),
            record(3, 0.8, epoch=3.0, batch_size=0.5),
            record(4, 0.7, batch=33, momentum=...),
            record(5, 0.6, duration=90_000 * 10**9, uid="70ad8c5f-3b1e-4a43-a9c5-0b9b2b0f2b1a"),
            record(6, 0.65, uid=...),
        ],
        f"{odd}/3.json": record(7, 0.5, train_stat={"train_loss": 1.5, "gpu_type": "some"}),
        f"{odd}/x.json": [record(8)],
        f"{stat}two_parts/1.json": [record(8)],
        f"{stat}txt-generation_wikitext_ppl_Rnn/1.json": [record(0, 0.8989, metric_bleu=0.25)],
        f"{stat}obj-detection_coco_map_Gone/1.json": [record(0, 0.3)],
        "ab/nn/stat/run/img-classification_AirNet/android_phone.json": {
            "model_name": "AirNet",
            "device_type": "phone",
            "valid": True,
            "emulator": True,
            "error_message": None,
            "duration": 155,
            "device_analytics": {"cores": 8},
        },
        "ab/nn/stat/run/img-classification_AirNet/broken.json": [1],
        "ab/nn/stat/nn/AirNet.json": {"total_params": 12},
        "nn_dataset-9.9.9.data/data/*/1.json": {"kind": "Job"},
    }
    texts = {path: json.dumps(content) for path, content in files.items()}
    texts[f"{odd}/4.json"] = '[{"accuracy": NaN, "batch": 8, "lr": 0.1, "momentum": 0, "uid": "'
    texts[f"{odd}/4.json"] += UIDS[9] + '", "transform": "echo"}]'
    texts[f"{odd}/5.json"] = '[{"accuracy": 0.5'
    code = {"AirNet": NET, "ga-1": "def broken(:\n", "Rnn": NET.replace("'lr'", "'lr', 'dropout'")}
    texts |= {f"ab/nn/nn/{name}.py": text for name, text in code.items()}
    texts["ab/nn/nn/Unused.py"] = "raise SystemExit('this was executed')\n"
    texts["ab/nn/nn/__init__.py"] = ""
    texts["ab/nn/transform/norm_32.py"] = "def transform(norm): return norm\n"
    texts["nn_dataset-9.9.9.dist-info/METADATA"] = (
        "Metadata-Version: 2.4\nName: nn-dataset\nVersion: 9.9.9\nLicense: MIT License\n"
        "        Copyright\nProject-URL: Homepage, https://h.example\n"
        "Project-URL: Repository, https://r.example\n\nText\n"
    )
    return texts


def wheel(path: Path, files: dict[str, str]) -> Path:
    """The files as a wheel."""
    with zipfile.ZipFile(path, "w") as made:
        for name, text in files.items():
            made.writestr(name, text)
    return path


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A small version."""
    return wheel(tmp_path / "nn_dataset-9.9.9-py3-none-any.whl", published())


FLAGS = {
    "a single record": 1,
    "another epoch than the file's": 1,
    "batch is no power of two": 1,
    "batch_size beside batch": 1,
    "epoch 0": 1,
    "epoch told twice": 1,
    "file is not named by an epoch": 1,
    "file with nonfinite numbers": 1,
    "folder is not task_dataset_metric_network": 1,
    "longer than a day": 1,
    "network without records": 1,
    "no duration": 2,
    "no momentum": 1,
    "no uid": 1,
    "nonfinite": 1,
    "not sorted by score": 1,
    "outside the layout": 1,
    "records without code": 1,
    "uid is no md5": 1,
    "uid told before": 1,
    "unmapped": 1,
}


def test_every_record_is_kept_and_odd_ones_are_flagged(db: str, archive: Path) -> None:
    told = []
    found = import_lemur(archive, db, progress=lambda *stage: told.append(stage))
    assert found["records"] == 17
    assert found["files"] == 11
    assert (found["folders"], found["networks"], found["texts"]) == (4, 4, 2)
    assert found["device_runs"] == 1
    flags = found["flags"]
    broken = [reason for reason in flags if reason.startswith(("not JSON", "holds list"))]
    assert len(broken) == 2
    assert {reason: n for reason, n in flags.items() if reason not in broken} == FLAGS
    assert told[-1] == ("records", 4, 4)
    with reading(db) as connection:
        row = connection.execute(select(SOURCE)).one()
        aside = connection.execute(select(FLAG.c.detail).where(FLAG.c.reason == broken[0])).one()
    assert (row.name, row.version, row.licence, row.origin, row.state) == (
        *("lemur-9.9.9", "9.9.9", "MIT License", "https://r.example", "complete"),
    )
    assert '"accuracy": 0.5' in str(aside[0]) or aside[0] == "[1]"  # what was set aside is kept


def test_a_trial_is_what_has_one_uid_in_a_folder(db: str, archive: Path) -> None:
    import_lemur(archive, db)
    frame = models(db, dataset="cifar-10", curves=True, code=True)
    assert list(frame["objective"]) == [0.7, 0.4]
    assert list(frame["step"]) == [2, 1]
    assert list(frame["seconds"]) == [9.0, 2.0]
    assert set(frame["plugin"]) == {"AirNet"}
    assert frame["curves"][0] == {
        "test": {"accuracy": [(1, 0.5), (2, 0.7), (10, 0.6)]},
        "train": {"seconds": [(1, 2.0), (2, 4.0), (10, 9.0)]},
    }
    assert frame["config"][0] == {"batch": 32, "lr": 0.01, "momentum": 0.9, "transform": "norm_32"}
    assert frame["code"][0] == {"AirNet.py": NET}
    assert frame["seed"].isna().all()
    assert query.studies(db) == []  # imported ones come when they are asked for
    study = query.studies(db, dataset="cifar-10")[0]
    assert study["id"] in {row["id"] for row in query.studies(db, kind="import")}
    assert (study["kind"], study["state"], study["metric"]) == ("import", "complete", "accuracy")
    assert (study["best_value"], study["n_complete"]) == (0.7, 2)


def test_what_later_versions_tell_of_an_epoch_is_no_setting(db: str, archive: Path) -> None:
    import_lemur(archive, db)
    frame = models(db, dataset="mnist", curves=True)
    told = frame[[("train_loss" in c.get("train", {})) for c in frame["curves"]]]
    assert told["curves"].iloc[0]["train"]["train_loss"] == [(3, 1.5)]
    assert "train_stat" not in told["config"].iloc[0]
    words = models(db, dataset="wikitext", curves=True)
    assert words["metric"][0] == "lemur_ppl"
    assert words["curves"][0]["test"]["bleu"] == [(1, 0.25)]
    assert words["curves"][0]["test"]["perplexity"][0][1] == pytest.approx(2.75, abs=0.01)


def test_a_second_import_changes_nothing(db: str, archive: Path) -> None:
    first = import_lemur(archive, db)
    assert import_lemur(archive, db) == first
    with reading(db) as connection:
        for table in (STUDY, TRIAL, SCORE, FLAG, DEVICE_RUN, SOURCE_FILE):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() > 0
        count = select(func.count()).select_from(TRIAL)
        assert connection.execute(count).scalar_one() == first["trials"]


def test_an_interrupted_import_goes_on(db: str, archive: Path, monkeypatch) -> None:
    monkeypatch.setattr(importer, "FOLDERS", 1)
    done = []

    def stop(stage: str, count: int, total: int) -> None:
        if stage == "records":
            done.append(count)
            if count == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_lemur(archive, db, progress=stop)
    with reading(db) as connection:
        assert connection.execute(select(SOURCE.c.state)).scalar_one() == "importing"
        assert connection.execute(select(func.count()).select_from(STUDY)).scalar_one() == 2
    again = []
    found = import_lemur(archive, db, progress=lambda *stage: again.append(stage))
    assert (found["records"], found["folders"]) == (17, 4)
    assert [done for stage, done, _ in again if stage == "records"] == [3, 4]


def test_changed_folders_are_replaced_only_when_asked(db: str, archive: Path, tmp_path) -> None:
    import_lemur(archive, db)
    files = published()
    path = "ab/nn/stat/train/img-classification_cifar-10_acc_AirNet/11.json"
    newer = wheel(tmp_path / "newer.whl", files | {path: json.dumps([record(0, 0.75)])})
    found = import_lemur(newer, db)
    assert (found["changed"], found["records"]) == (1, 17)
    found = import_lemur(newer, db, update_changed=True)
    assert (found["changed"], found["records"]) == (1, 18)
    assert models(db, dataset="cifar-10")["objective"][0] == 0.75
    assert import_lemur(newer, db)["changed"] == 0


def test_versions_share_networks_and_keep_their_records_apart(db: str, archive: Path, tmp_path):
    import_lemur(archive, db)
    found = import_lemur(archive, db, name="again")
    assert found["records"] == 17
    with reading(db) as connection:
        assert connection.execute(select(func.count()).select_from(SOURCE)).scalar_one() == 2
        networks = select(func.count()).where(PLUGIN.c.name == "AirNet")
        assert connection.execute(networks).scalar_one() == 1


def test_a_newer_version_beside_an_older_one(db: str, archive: Path, tmp_path: Path) -> None:
    """Each keeps its own records; only a network whose code has changed is on record twice."""
    older = {
        name.replace("nn_dataset-9.9.9", "nn_dataset-1.0.0"): text.replace(
            "Version: 9.9.9", "Version: 1.0.0"
        )
        for name, text in published(train="").items()
    }
    older["ab/nn/nn/AirNet.py"] = NET.replace("lr", "momentum")
    first = import_lemur(wheel(tmp_path / "nn_dataset-1.0.0-py3-none-any.whl", older), db)
    before = models(db, source="lemur-1.0.0")
    second = import_lemur(archive, db)
    assert (first["source"], second["source"]) == ("lemur-1.0.0", "lemur-9.9.9")
    assert first["records"] == second["records"] == 17
    assert models(db, source="lemur-1.0.0").equals(before)
    codes = models(db, plugin="AirNet", code=True)
    assert set(codes["source"]) == {"lemur-1.0.0", "lemur-9.9.9"}
    assert {text for files in codes["code"] for text in files.values()} == {
        NET,
        older["ab/nn/nn/AirNet.py"],
    }
    with reading(db) as connection:
        names = select(PLUGIN.c.name, func.count()).group_by(PLUGIN.c.name)
        counts = {name: count for name, count in connection.execute(names)}
    assert counts.pop("AirNet") == 2
    assert set(counts.values()) == {1}


def test_an_older_layout_and_a_checkout_are_read(tmp_path: Path) -> None:
    root = tmp_path / "checkout"
    for name, text in published(train="").items():
        if ".dist-info" not in name:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    (root / "LICENSE").write_text("MIT License\n\nmore")
    found = import_lemur(root, str(tmp_path / "models.db"))
    assert (found["source"], found["records"]) == ("lemur-checkout", 17)
    with reading(str(tmp_path / "models.db")) as connection:
        assert connection.execute(select(SOURCE.c.licence)).scalar_one() == "MIT License"


def test_foreign_keys_hold_after_an_import(archive: Path, tmp_path: Path) -> None:
    import_lemur(archive, str(tmp_path / "models.db"))
    engine = connect(tmp_path / "models.db", write=False)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"
    engine.dispose()


@pytest.mark.parametrize("kind", ["missing", "text", "empty zip", "folder", "cut"])
def test_what_is_no_archive_is_refused_before_anything_is_written(kind: str, tmp_path) -> None:
    path = tmp_path / "some.whl"
    if kind == "text":
        path.write_text("no zip")
    elif kind == "empty zip":
        wheel(path, {"README": "nothing"})
    elif kind == "folder":
        path.mkdir()
    elif kind == "cut":
        whole = wheel(tmp_path / "whole.whl", published()).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"some\.whl"):
        import_lemur(path, str(tmp_path / "models.db"))
    assert not (tmp_path / "models.db").exists()


@given(st.floats(0, 1))
def test_perplexity_inverts_the_published_score(score: float) -> None:
    p = perplexity(score)
    again = 1 - (math.log(1 + p) - math.log(2)) / (math.log(1001) - math.log(2))
    assert again == pytest.approx(score, abs=1e-9)


SCORES = st.one_of(st.none(), st.floats(), st.text(max_size=3), st.integers())


@given(
    st.lists(
        st.fixed_dictionaries(
            {"uid": st.sampled_from("abc"), "lr": st.sampled_from([0.1, 0.2])},
            optional={"accuracy": SCORES, "duration": SCORES, "epoch": SCORES, "batch": SCORES},
        ),
        max_size=8,
    ),
    st.integers(0, 3),
)
def test_no_record_is_ever_lost(records: list[dict[str, Any]], epoch: int) -> None:
    place = place_of("a_b_c_d")
    assert place is not None
    folder = Folder("a_b_c_d", place, 0)
    for again in (epoch, epoch + 1):
        folder.add("f", again, json.dumps(records).encode())
    folder.settle()
    assert folder.records == 2 * len(records)
    assert sum(len(fit.scores) for fit in folder.fits.values()) == folder.records
