"""The handwritten digits: read and split as scikit-learn does, without importing it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from automl.core.digits import handwritten, split_index
from automl.core.stratified import stratified


def test_the_file_is_scikit_learns() -> None:
    theirs = load_digits()
    assert np.array_equal(handwritten().images, theirs.images)
    assert np.array_equal(handwritten().target, theirs.target)


@pytest.mark.parametrize(
    ("seed", "test", "valid"), [(0, 0.25, 0.2), (7, 0.05, 0.5), (99, 0.5, 0.1)]
)
def test_the_splits_are_scikit_learns(seed: int, test: float, valid: float) -> None:
    target = load_digits().target
    rest, held_out = train_test_split(
        np.arange(len(target)), test_size=test, stratify=target, random_state=seed
    )
    train, chosen = train_test_split(
        rest, test_size=valid, stratify=target[rest], random_state=seed
    )
    found = split_index(seed, test, valid)
    for name, theirs in {"train": train, "valid": chosen, "test": held_out}.items():
        assert np.array_equal(found[name], theirs)


@settings(max_examples=100)
@given(
    st.lists(st.integers(2, 40), min_size=2, max_size=6),
    st.floats(0.2, 0.6),
    st.integers(0, 10**6),
)
def test_any_split_is_scikit_learns(counts: list[int], share: float, seed: int) -> None:
    classes = np.random.default_rng(seed).permutation(np.repeat(range(len(counts)), counts))
    try:
        theirs = train_test_split(
            np.arange(len(classes)), test_size=share, stratify=classes, random_state=seed
        )
    except ValueError:  # fewer places than classes, which theirs refuses
        return
    for ours, other in zip(stratified(classes, share, seed), theirs, strict=True):
        assert np.array_equal(ours, other)


def test_scikit_learn_is_not_imported() -> None:
    code = (
        "import sys, automl.core.digits as d; d.Digits().info; assert 'sklearn' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
