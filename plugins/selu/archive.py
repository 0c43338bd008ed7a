"""Reads the 121 UCI tables in the two layouts in which they go around.

The SNN authors' layout has ``NAME_py.dat`` (floats, commas, no header), ``labels_py.dat``,
``folds_py.dat`` and ``validation_folds_py.dat`` (rows x 4, zeros and ones). The layout of
Fernandez-Delgado et al. (2014) has ``NAME_R.dat`` (a header, row names, the class last) with the
rows of four folds in ``conxuntos_kfold.dat``, or ``NAME_train_R.dat`` and ``NAME_test_R.dat``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from automl.core.api import DataError, SplitName

FOLDS = 4
UCI_TABLES = (
    "abalone", "acute-inflammation", "acute-nephritis", "adult", "annealing", "arrhythmia",
    "audiology-std", "balance-scale", "balloons", "bank", "blood", "breast-cancer",
    "breast-cancer-wisc", "breast-cancer-wisc-diag", "breast-cancer-wisc-prog", "breast-tissue",
    "car", "cardiotocography-10clases", "cardiotocography-3clases", "chess-krvk", "chess-krvkp",
    "congressional-voting", "conn-bench-sonar-mines-rocks", "conn-bench-vowel-deterding",
    "connect-4", "contrac", "credit-approval", "cylinder-bands", "dermatology",
    "echocardiogram", "ecoli", "energy-y1", "energy-y2", "fertility", "flags", "glass",
    "haberman-survival", "hayes-roth", "heart-cleveland", "heart-hungarian",
    "heart-switzerland", "heart-va", "hepatitis", "hill-valley", "horse-colic",
    "ilpd-indian-liver", "image-segmentation", "ionosphere", "iris", "led-display", "lenses",
    "letter", "libras", "low-res-spect", "lung-cancer", "lymphography", "magic", "mammographic",
    "miniboone", "molec-biol-promoter", "molec-biol-splice", "monks-1", "monks-2", "monks-3",
    "mushroom", "musk-1", "musk-2", "nursery", "oocytes_merluccius_nucleus_4d",
    "oocytes_merluccius_states_2f", "oocytes_trisopterus_nucleus_2f",
    "oocytes_trisopterus_states_5b", "optical", "ozone", "page-blocks", "parkinsons",
    "pendigits", "pima", "pittsburg-bridges-MATERIAL", "pittsburg-bridges-REL-L",
    "pittsburg-bridges-SPAN", "pittsburg-bridges-T-OR-D", "pittsburg-bridges-TYPE", "planning",
    "plant-margin", "plant-shape", "plant-texture", "post-operative", "primary-tumor",
    "ringnorm", "seeds", "semeion", "soybean", "spambase", "spect", "spectf",
    "statlog-australian-credit", "statlog-german-credit", "statlog-heart", "statlog-image",
    "statlog-landsat", "statlog-shuttle", "statlog-vehicle", "steel-plates",
    "synthetic-control", "teaching", "thyroid", "tic-tac-toe", "titanic", "trains", "twonorm",
    "vertebral-column-2clases", "vertebral-column-3clases", "wall-following", "waveform",
    "waveform-noise", "wine", "wine-quality-red", "wine-quality-white", "yeast", "zoo",
)  # fmt: skip
VALID_SHARE = 0.15  # of the training part, where the archive does not say (as in the paper)
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]


class Archived(NamedTuple):
    """One table: features (rows, F), classes (rows,) from 0, their names, rows of each split."""

    x: Floats
    target: Ints
    classes: tuple[str, ...]
    rows: dict[SplitName, Ints]


@cache
def read(root: str, table: str, fold: int) -> Archived:
    """Read one fold of one table below ``root`` or ``root/data``.

    Raises:
        DataError: naming the files that are missing, the rows that do not match or the columns
            that hold no finite numbers.
    """
    folders = [Path(root) / "data" / table, Path(root) / table]
    folder = next((path for path in folders if path.is_dir()), None)
    if folder is None:
        raise DataError(
            f"there is no folder {folders[0]} or {folders[1]}: give root=, the folder of the "
            "unpacked archive, and table=, the name of one of its tables"
        )
    if (folder / f"{table}_py.dat").exists():
        x, labels, rows = authors(folder, table, fold)
    else:
        x, labels, rows = original(folder, table, fold)
    bad = [str(i) for i in np.flatnonzero(~np.isfinite(x).all(0))]
    if bad:
        raise DataError(f"{folder}: columns {', '.join(bad)} hold NaN or infinity: clean them")
    names, target = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise DataError(f"{folder}: all rows are of class {names[0]}: nothing to learn")
    return Archived(x, target.astype(np.int64), tuple(map(str, names)), rows)


def require(*paths: Path) -> None:
    """Raise ``DataError`` with a list of the files that are not there."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(f"files are missing: {', '.join(missing)}")


def matrix(path: Path, delimiter: str | None, header: int = 0, first: int = 0) -> Floats:
    """The numbers of a file from column ``first`` on, (rows, columns).

    Raises:
        DataError: naming the columns that hold text.
    """
    lines = path.read_text().splitlines()[header:]
    cells = [line.split(delimiter)[first:] for line in lines if line.strip()]
    if len({len(row) for row in cells}) != 1:
        raise DataError(f"{path}: rows have different numbers of columns")
    try:
        return np.asarray(cells, dtype=np.float64)
    except ValueError as error:
        bad = ", ".join(text_columns(cells))
        raise DataError(f"{path}: columns {bad} hold text: encode it as numbers") from error


def text_columns(cells: list[list[str]]) -> Iterator[str]:
    """Numbers of the columns that hold something other than numbers."""
    for number, column in enumerate(zip(*cells, strict=True)):
        try:
            [float(cell) for cell in column]
        except ValueError:
            yield str(number)


def authors(folder: Path, table: str, fold: int) -> tuple[Floats, Floats, dict[SplitName, Ints]]:
    """The layout of the SNN authors: test where the fold is 1, validation likewise, else train."""
    paths = [
        folder / name
        for name in (f"{table}_py.dat", "labels_py.dat", "folds_py.dat", "validation_folds_py.dat")
    ]
    require(*paths)
    x, labels, test, valid = (matrix(path, ",") for path in paths)
    for path, part in zip(paths[1:], (labels, test, valid), strict=True):
        if len(part) != len(x):
            raise DataError(f"{path} has {len(part)} rows, {paths[0].name} has {len(x)}")
        if part is not labels and part.shape[1] <= fold:
            raise DataError(f"{path} has {part.shape[1]} folds: fold={fold} does not exist")
    held, chosen = test[:, fold] == 1, valid[:, fold] == 1
    rows: dict[SplitName, Ints] = {
        "train": np.flatnonzero(~held & ~chosen),
        "valid": np.flatnonzero(chosen & ~held),
        "test": np.flatnonzero(held),
    }
    return x, labels[:, 0], rows


def original(folder: Path, table: str, fold: int) -> tuple[Floats, Floats, dict[SplitName, Ints]]:
    """The layout of 2014; validation rows are drawn from the training part."""
    from sklearn.model_selection import train_test_split

    whole, folds = folder / f"{table}_R.dat", folder / "conxuntos_kfold.dat"
    halves = [folder / f"{table}_{name}_R.dat" for name in ("train", "test")]
    if whole.exists():
        require(folds)
        cells = matrix(whole, None, header=1, first=1)
        lines = [line for line in folds.read_text().splitlines() if line.strip()]
        if len(lines) < 2 * fold + 2:
            raise DataError(f"{folds} has {len(lines)} lines: fold={fold} does not exist")
        train, test = (np.asarray(line.split(), dtype=np.int64) for line in lines[2 * fold :][:2])
        last = max(train.max(), test.max())
        if last >= len(cells):
            raise DataError(f"{folds} names row {last}, {whole.name} has {len(cells)} rows")
    else:
        require(*halves)
        parts = [matrix(path, None, header=1, first=1) for path in halves]
        cells = np.concatenate(parts)
        train, test = np.arange(len(parts[0])), np.arange(len(parts[0]), len(cells))
    labels = cells[:, -1]
    enough = np.unique(labels[train], return_counts=True)[1].min() > 1
    kept, chosen = train_test_split(
        train, test_size=VALID_SHARE, stratify=labels[train] if enough else None, random_state=fold
    )
    return cells[:, :-1], labels, {"train": kept, "valid": chosen, "test": test}
