"""MNIST is read from the user's files, in either form, or refused with what to do."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from automl.core.discovery import catalogue
from automl.core.errors import ConfigError, DataError

RANDOM = np.random.default_rng(0)
IMAGES = {"train": RANDOM.integers(0, 256, (100, 28, 28), np.uint8)}
IMAGES["test"] = RANDOM.integers(0, 256, (30, 28, 28), np.uint8)
DIGITS = {part: (np.arange(len(rows)) % 10).astype(np.uint8) for part, rows in IMAGES.items()}


def npz(path: Path) -> Path:
    arrays = {f"x_{part}": rows for part, rows in IMAGES.items()}
    np.savez(path, **arrays, **{f"y_{part}": rows for part, rows in DIGITS.items()})
    return path


def idx(path: Path, rows: np.ndarray, opener=open) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, rows.ndim) + struct.pack(f">{rows.ndim}i", *rows.shape)
    with opener(path, "wb") as file:
        file.write(header + rows.tobytes())


def test_both_forms_give_the_same_images(tmp_path: Path) -> None:
    one = catalogue().dataset(f"mnist:path={npz(tmp_path / 'mnist.npz')}")
    for part, stem, opener, end in (
        ("train", "train", open, ""),
        ("test", "t10k", gzip.open, ".gz"),
    ):
        idx(tmp_path / f"{stem}-images-idx3-ubyte{end}", IMAGES[part], opener)
        idx(tmp_path / f"{stem}-labels-idx1-ubyte{end}", DIGITS[part], opener)
    two = catalogue().dataset(f"mnist:path={tmp_path}")
    assert one.info.sizes == {"train": 90, "valid": 10, "test": 30}
    for split in ("train", "valid", "test"):
        a, b = one.load(split), two.load(split)
        assert a["x"].equal(b["x"])
        assert a["target"].equal(b["target"])
    assert float(one.load("test")["x"][0, 0, 0, 0]) == pytest.approx(IMAGES["test"][0, 0, 0] / 255)


def test_some_digits_are_classes_in_the_order_given(tmp_path: Path) -> None:
    data = catalogue().dataset(f"mnist:path={npz(tmp_path / 'mnist.npz')},only=72")
    assert data.info.classes == 2
    assert data.load("test")["target"].tolist() == [1, 0, 1, 0, 1, 0]  # 2, 7, 12 -> 2, ...
    for wrong in ("7", "77", "x1"):
        with pytest.raises(ConfigError, match="must be different digits"):
            catalogue().dataset(f"mnist:only={wrong}")


def test_what_is_missing_or_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing is downloaded"):
        catalogue().dataset(f"mnist:path={tmp_path / 'none.npz'}").load("test")
    with pytest.raises(DataError, match="t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz"):
        catalogue().dataset(f"mnist:path={tmp_path}").load("test")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="holds a, not x_test and y_test"):
        catalogue().dataset(f"mnist:path={tmp_path / 'other.npz'}").load("test")
    np.savez(tmp_path / "flat.npz", x_test=np.zeros((3, 784)), y_test=np.zeros(3))
    with pytest.raises(DataError, match="are no n x 28 x 28 and n"):
        catalogue().dataset(f"mnist:path={tmp_path / 'flat.npz'}").load("test")
