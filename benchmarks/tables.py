"""Forests of LEMUR's imported records: accuracy by epoch from learning rate, momentum, ...

    python benchmarks/tables.py lemur.db surrogates.joblib

prints, for each network, how many records it was made of and how well the forest foretells those
that a tree has not seen (R squared, out of bag).
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from sklearn.ensemble import RandomForestRegressor

from automl.dataset_db.frames import records

NETWORKS = ("ResNet", "GoogLeNet", "MobileNetV2", "ComplexNet", "AlexNet", "RegNet")
EPOCHS = 5  # most records end here at the latest
MISSING = 0.5  # dropout of networks that have none: the same for all records


def table(db: str, network: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """Features (records, 5), accuracies (records,), and whether the network has a dropout.

    Records of the commonest transform alone: others are other data.
    """
    frame = records(db, plugin=network, dataset="cifar-10", columns=("metric",))
    frame = frame[(frame["metric"] == "accuracy") & (frame["step"] <= EPOCHS)]
    configs = frame["config"].tolist()
    transforms = [config["transform"] for config in configs]
    usual = max(set(transforms), key=transforms.count)
    rows, values = [], []
    for config, epoch, value in zip(configs, frame["step"], frame["value"], strict=True):
        if config["transform"] == usual:
            own = [math.log10(config["lr"]), config["momentum"], math.log2(config["batch"])]
            rows.append([*own, config.get("dropout", MISSING), float(epoch)])
            values.append(float(value))
    return np.array(rows), np.array(values), "dropout" in configs[0]


def main(db: str, file: str) -> None:
    """Make all forests and write them."""
    made: dict[str, Any] = {}
    for network in NETWORKS:
        features, values, dropout = table(db, network)
        forest = RandomForestRegressor(200, min_samples_leaf=2, oob_score=True, random_state=0)
        forest.fit(features, values)
        best, seen = float(values.max()), f"R squared {forest.oob_score_:.2f} out of bag"
        print(f"{network}: {len(values)} records, best {best:.3f}, {seen}")
        made[network] = {"forest": forest, "dropout": dropout}
    joblib.dump(made, Path(file), compress=3)


if __name__ == "__main__":
    main(*sys.argv[1:3])
