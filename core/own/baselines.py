"""Plain models that a user's own data is compared with: linear, and boosted trees for tables."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
)

from automl.core.data import Scores
from automl.core.own.encoding import TableEncoder
from automl.core.own.tables import Column

MOST_FEATURES = 5_000  # of a linear model on flattened inputs
MOST_ROWS = 100_000  # that a baseline is fitted on
Array = NDArray[Any]


def baselines(
    inputs: Array,
    target: Array,
    index: Any,
    encoder: TableEncoder | None,
    problem: str,
    columns: tuple[Column, ...],
) -> dict[str, Scores]:
    """Test scores of plain models fitted on the training split, by name.

    Inputs are raw (n, …), the target is classes (n,) or standardised numbers (n, 1). Linear models
    read the encoded features, trees the raw numbers of a table.
    """
    train, test = index["train"][:MOST_ROWS], index["test"]
    found: dict[str, Scores] = {}
    classify = not problem.endswith("regression")
    flat = features(inputs, encoder)
    if flat.shape[1] <= MOST_FEATURES:
        linear = LogisticRegression(max_iter=500) if classify else Ridge()
        name = "logistic regression" if classify else "ridge regression"
        found[name] = score(linear, flat[train], flat[test], target, train, test)
    if columns:
        kinds = [column.kind for column in columns for _ in column.inputs]
        trees = HistGradientBoostingClassifier if classify else HistGradientBoostingRegressor
        categories = [kind == "category" for kind in kinds]
        model = trees(random_state=0, categorical_features=categories if any(categories) else None)
        found["gradient boosting"] = score(model, inputs[train], inputs[test], target, train, test)
    return found


def features(inputs: Array, encoder: TableEncoder | None) -> Array:
    """What linear models read: encoded rows, or flattened inputs in [0, 1]."""
    if encoder is not None:
        with torch.no_grad():
            encoded: Array = encoder(torch.from_numpy(inputs)).numpy()
        return encoded
    scale = 255.0 if inputs.dtype == np.uint8 else 1.0
    return inputs.reshape(len(inputs), -1).astype(np.float32) / scale


def score(model: Any, x: Array, x_test: Array, target: Array, train: Array, test: Array) -> Scores:
    """Fit and score on the test rows, with the names of the problem's metrics."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged: a baseline all the same
        model.fit(x, target[train].reshape(-1))
    wanted = target[test].reshape(-1)
    answer = model.predict(x_test)
    if target.ndim == 1:
        probability = np.clip(model.predict_proba(x_test), 1e-12, 1)
        return {
            "accuracy": float(accuracy_score(wanted, answer)),
            "balanced_accuracy": float(balanced_accuracy_score(wanted, answer)),
            "nll": float(log_loss(wanted, probability, labels=model.classes_)),
        }
    return {
        "mse": float(mean_squared_error(wanted, answer)),
        "mae": float(mean_absolute_error(wanted, answer)),
    }
