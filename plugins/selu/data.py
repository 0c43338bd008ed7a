"""Tables to learn: the offline suite, two regressions, the UCI archive and generated assays."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from automl.core.api import (
    TABULAR_CLASSIFICATION,
    TABULAR_REGRESSION,
    Batch,
    ConfigError,
    DataInfo,
    Dataset,
    Metric,
    Outputs,
    Problem,
    SplitName,
    setting,
)
from automl.plugins.selu import archive
from automl.plugins.selu.tables import (
    BUNDLED,
    RECIPES,
    REGRESSIONS,
    TABLES,
    Floats,
    Ints,
    bundled,
)

TEST_SHARE, VALID_SHARE = 0.25, 0.15
ASSAYS, ASSAY_FEATURES = 12, 40


def masked_cross_entropy(outputs: Outputs, batch: Batch) -> Tensor:
    """Mean binary cross-entropy over the labels that were measured (target is not NaN)."""
    target, logits = batch["target"], outputs["logits"]
    known = ~target.isnan()
    wanted = target.nan_to_num(0.0)
    parts = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    return (parts * known).sum() / known.sum().clamp(min=1)


MULTILABEL = Problem(
    "tabular-multilabel",
    (
        Metric("auc", "max", "share", "area under the ROC curve, mean over the labels"),
        Metric("nll", "min", "nats", "mean binary cross-entropy of the measured labels"),
    ),
    {
        "x": "float32 (batch, features)",
        "target": "float32 (batch, labels): 1 yes, 0 no, NaN not measured",
    },
    loss=masked_cross_entropy,
)


def split_sizes(rows: int) -> dict[str, int]:
    """60 / 15 / 25 %."""
    test, valid = round(TEST_SHARE * rows), round(VALID_SHARE * rows)
    return {"train": rows - valid - test, "valid": valid, "test": test}


def split_rows(rows: int, seed: int, label: Ints | None) -> dict[SplitName, Ints]:
    """Rows of each split, stratified by ``label`` (rows,) if there is one."""
    from sklearn.model_selection import train_test_split

    sizes = split_sizes(rows)
    rest, test = train_test_split(
        np.arange(rows), test_size=sizes["test"], stratify=label, random_state=seed
    )
    train, valid = train_test_split(
        rest,
        test_size=sizes["valid"],
        stratify=None if label is None else label[rest],
        random_state=seed,
    )
    return {"train": train, "valid": valid, "test": test}


def standardised(x: Floats, train: Ints) -> Tensor:
    """Features with mean 0, variance 1 on the training rows; constant ones keep their scale."""
    scale = x[train].std(0)
    scale[scale < 1e-12] = 1.0
    return torch.from_numpy(((x - x[train].mean(0)) / scale).astype(np.float32))


@dataclass(frozen=True)
class Suite(Dataset):
    """18 tables with stratified splits of 60 / 15 / 25 %, standardised by the training rows.

    Generated tables depend on ``seed``, splits on ``fold``. Flips, further features and another
    size make a table harder.
    """

    problem: ClassVar[Problem] = TABULAR_CLASSIFICATION
    table: str = setting("wine", choices=TABLES, doc="which of the tables")
    seed: int = setting(0, low=0, high=999_999, doc="seed of generated tables and of the noise")
    fold: int = setting(0, low=0, high=999_999, doc="seed of the splits")
    flip: float = setting(0.0, low=0, high=0.9, doc="share of labels drawn anew")
    irrelevant: int = setting(0, low=0, high=10_000, unit="features", doc="Gaussian, added")
    size: int = setting(0, low=0, high=1_000_000, unit="rows", doc="rows; 0: the table's usual")

    def check(self) -> None:
        """Refuse a size that the table does not have, or that leaves a split without a class."""
        rows, _, classes = self.usual()
        if self.size and self.size < 20 * classes:
            raise ConfigError(
                f"size={self.size} must be at least {20 * classes} for {classes} classes"
            )
        if self.size > rows and (self.table in BUNDLED or self.table == "monks"):
            raise ConfigError(f"size={self.size}: table={self.table!r} has {rows} rows only")

    def usual(self) -> tuple[int, int, int]:
        """The table's usual number of rows, its features and classes."""
        if self.table in RECIPES:
            return RECIPES[self.table][1:]
        found = bundled(BUNDLED[self.table])
        return (*found.data.shape, len(found.target_names))

    def whole(self) -> tuple[Floats, Ints]:
        """Features (rows, F) and classes (rows,) before any scaling."""
        rows, _, classes = self.usual()
        random = np.random.RandomState(self.seed)
        if self.table in RECIPES:
            x, label = RECIPES[self.table][0](self.size or rows, random)
        else:
            found = bundled(BUNDLED[self.table])
            x, label = found.data, found.target
            if 0 < self.size < rows:
                from sklearn.model_selection import train_test_split

                x, _, label, _ = train_test_split(
                    x, label, train_size=self.size, stratify=label, random_state=self.seed
                )
        label = label.astype(np.int64)
        flipped = random.uniform(size=len(label)) < self.flip
        label = np.where(flipped, random.randint(0, classes, len(label)), label)
        return np.concatenate([x, random.normal(size=(len(x), self.irrelevant))], 1), label

    @property
    def info(self) -> DataInfo:
        """Features of the table and those added."""
        rows, features, classes = self.usual()
        shapes: dict[str, tuple[int | None, ...]] = {
            "x": (features + self.irrelevant,),
            "target": (),
        }
        licence = "CC BY 4.0 (UCI)" if self.table in BUNDLED else "generated"
        sizes = split_sizes(self.size or rows)
        return DataInfo(self.name, self.problem, shapes, sizes, classes=classes, licence=licence)

    def load(self, split: SplitName) -> Batch:
        """The split's rows, scaled by the training rows."""
        x, label = self.whole()
        rows = split_rows(len(x), self.fold, label)
        found = standardised(x, rows["train"])[torch.from_numpy(rows[split])]
        return {"x": found, "target": torch.from_numpy(label[rows[split]])}


@dataclass(frozen=True)
class RegressionSuite(Dataset):
    """Diabetes (442 x 10, disease progression) and linnerud (20 x 3, three body measures)."""

    problem: ClassVar[Problem] = TABULAR_REGRESSION
    table: str = setting("diabetes", choices=tuple(REGRESSIONS), doc="which of the tables")
    fold: int = setting(0, low=0, high=999_999, doc="seed of the splits")

    @property
    def info(self) -> DataInfo:
        """Numeric targets in their own units."""
        found = bundled(REGRESSIONS[self.table])
        outputs = 1 if found.target.ndim == 1 else found.target.shape[1]
        shapes: dict[str, tuple[int | None, ...]] = {
            "x": (found.data.shape[1],),
            "target": (outputs,),
        }
        sizes = split_sizes(len(found.data))
        return DataInfo(self.name, self.problem, shapes, sizes, licence="BSD-3-Clause")

    def load(self, split: SplitName) -> Batch:
        """The split's rows, features scaled by the training rows, targets as they are."""
        found = bundled(REGRESSIONS[self.table])
        rows = split_rows(len(found.data), self.fold, None)
        target = found.target.reshape(len(found.data), -1).astype(np.float32)
        x = standardised(found.data, rows["train"])[torch.from_numpy(rows[split])]
        return {"x": x, "target": torch.from_numpy(target[rows[split]])}


@dataclass(frozen=True)
class Archive(Dataset):
    """One of the 121 UCI tables of Fernandez-Delgado et al. (2014) from a folder on disk."""

    problem: ClassVar[Problem] = TABULAR_CLASSIFICATION
    root: str = setting("uci121", doc="folder of the unpacked archive, in either layout")
    table: str = setting("wine", doc="name of the table: its folder")
    fold: int = setting(0, low=0, high=archive.FOLDS - 1, doc="which of the four folds")

    def read(self) -> archive.Archived:
        """The table; read once."""
        return archive.read(self.root, self.table, self.fold)

    @property
    def info(self) -> DataInfo:
        """What the files hold; ``facts["class_names"]`` are the labels in the order of classes."""
        found = self.read()
        shapes: dict[str, tuple[int | None, ...]] = {"x": (found.x.shape[1],), "target": ()}
        return DataInfo(
            self.name,
            self.problem,
            shapes,
            {name: len(rows) for name, rows in found.rows.items()},
            classes=len(found.classes),
            licence="as of the UCI repository",
            facts={"class_names": list(found.classes)},
        )

    def load(self, split: SplitName) -> Batch:
        """The split's rows, scaled by the training rows."""
        found = self.read()
        rows = found.rows[split]
        x = standardised(found.x, found.rows["train"])[torch.from_numpy(rows)]
        return {"x": x, "target": torch.from_numpy(found.target[rows])}


@dataclass(frozen=True)
class Assays(Dataset):
    """Twelve yes/no targets like Tox21's: rare, correlated, and not all of them measured.

    Each target is whether one output of a random two-layer network of 40 Gaussian features is
    among its highest tenth to third.
    """

    problem: ClassVar[Problem] = MULTILABEL
    size: int = setting(2000, low=100, high=1_000_000, unit="rows", doc="rows in all")
    unknown: float = setting(0.2, low=0, high=0.9, doc="share of targets not measured")
    seed: int = setting(0, low=0, high=999_999, doc="seed of the generator and the splits")

    @property
    def info(self) -> DataInfo:
        """40 features, 12 labels."""
        shapes: dict[str, tuple[int | None, ...]] = {"x": (ASSAY_FEATURES,), "target": (ASSAYS,)}
        sizes = split_sizes(self.size)
        return DataInfo(self.name, self.problem, shapes, sizes, licence="generated")

    def load(self, split: SplitName) -> Batch:
        """Generate everything and take the split's rows."""
        x, target = assays(self.size, self.unknown, self.seed)
        rows = split_rows(self.size, self.seed, None)
        index = torch.from_numpy(rows[split])
        return {"x": standardised(x, rows["train"])[index], "target": target[index]}


@cache
def assays(size: int, unknown: float, seed: int) -> tuple[Floats, Tensor]:
    """Features (rows, 40) and targets (rows, 12) with NaN where nothing was measured."""
    random: Any = np.random.default_rng(seed)
    x = random.normal(size=(size, ASSAY_FEATURES))
    hidden = np.maximum(x @ random.normal(size=(ASSAY_FEATURES, 30)), 0)
    score = hidden @ random.normal(size=(30, ASSAYS))
    share = random.uniform(1 / 10, 1 / 3, ASSAYS)
    limit = np.asarray([np.quantile(score[:, i], 1 - share[i]) for i in range(ASSAYS)])
    target = (score > limit).astype(np.float32)
    target[random.uniform(size=target.shape) < unknown] = np.nan
    return x, torch.from_numpy(target)
