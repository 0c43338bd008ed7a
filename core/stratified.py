"""A stratified split as scikit-learn draws it, without its import of seconds."""

from __future__ import annotations

import math

import numpy as np


def stratified(classes: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions that stay and those held out, ``share`` of all, of each class alike.

    Equal to those of ``sklearn.model_selection.train_test_split`` with ``stratify``, so that data
    recorded with it are the same.
    """
    rng = np.random.RandomState(seed)
    members = [np.flatnonzero(classes == each) for each in np.unique(classes)]
    counts = np.array([len(each) for each in members])
    held = math.ceil(share * len(classes))
    staying = apportioned(counts, len(classes) - held, rng)
    leaving = apportioned(counts - staying, held, rng)
    kept, out = [], []
    for positions, stay, leave in zip(members, staying, leaving, strict=True):
        drawn = positions[rng.permutation(len(positions))]
        kept.append(drawn[:stay])
        out.append(drawn[stay : stay + leave])
    return rng.permutation(np.concatenate(kept)), rng.permutation(np.concatenate(out))


def apportioned(counts: np.ndarray, total: int, rng: np.random.RandomState) -> np.ndarray:
    """``total`` places by the counts of classes; the largest remainders get what is left over."""
    exact = counts / counts.sum() * total
    found = np.floor(exact)
    remainder, left = exact - found, int(total - found.sum())
    for value in np.unique(remainder)[::-1]:
        if left <= 0:
            break
        (equal,) = np.where(remainder == value)
        chosen = rng.choice(equal, size=min(left, len(equal)), replace=False)
        found[chosen] += 1
        left -= len(chosen)
    whole: np.ndarray = found.astype(int)
    return whole
