"""From raw numbers to what a network reads: scikit-learn's transformers, and the same in torch.

scikit-learn fits (medians, scales, known categories); the module holds what was fitted as buffers,
so that it travels as safetensors and becomes part of an exported graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import Tensor, nn

MISSING = -1.0  # the code of a missing category


def transformer(numeric: Sequence[int], category: Sequence[int]) -> ColumnTransformer:
    """Medians for missing numbers and a flag beside them, then unit variance; one-hot codes."""
    return ColumnTransformer(
        [
            (
                "numeric",
                make_pipeline(
                    SimpleImputer(strategy="median", add_indicator=True), StandardScaler()
                ),
                list(numeric),
            ),
            (
                "category",
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value=MISSING),
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                list(category),
            ),
        ]
    )


class TableEncoder(nn.Module):
    """What ``transformer`` computes once it is fitted: raw (n, inputs) to features (n, width)."""

    def __init__(self, buffers: dict[str, Tensor]) -> None:
        super().__init__()
        for name, value in buffers.items():
            self.register_buffer(name, value)

    @classmethod
    def fitted(
        cls, raw: NDArray[np.float32], numeric: list[int], category: list[int]
    ) -> TableEncoder:
        """Fit scikit-learn's transformers on the training rows (n, inputs) and take them over."""
        found = transformer(numeric, category).fit(raw)
        buffers: dict[str, Any] = {"numeric": np.asarray(numeric, np.int64)}
        buffers |= {"category": np.asarray(category, np.int64)}
        empty = np.empty(0)
        if numeric:
            imputer, scaler = found.named_transformers_["numeric"]
            buffers["median"], buffers["flagged"] = (
                imputer.statistics_,
                imputer.indicator_.features_,
            )
            buffers["mean"], buffers["scale"] = scaler.mean_, scaler.scale_
        else:
            buffers |= {"median": empty, "flagged": empty.astype(np.int64)}
            buffers |= {"mean": empty, "scale": empty}
        known: list[Any] = []
        if category:
            known = list(found.named_transformers_["category"][-1].categories_)
        buffers["hot_column"] = np.repeat(np.arange(len(known)), [len(k) for k in known] or 0)
        buffers["hot_value"] = np.concatenate(known) if known else empty
        tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in buffers.items()}
        return cls(
            {
                name: value.float() if value.is_floating_point() else value.long()
                for name, value in tensors.items()
            }
        )

    @property
    def width(self) -> int:
        """How many features come out."""
        return int(self.mean.shape[0] + self.hot_value.shape[0])  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        """Raw numbers, NaN where missing, to features."""
        buffers: dict[str, Tensor] = dict(self.named_buffers())
        numbers = x[:, buffers["numeric"]]
        absent = numbers.isnan()
        filled = torch.where(absent, buffers["median"], numbers)
        flags = absent[:, buffers["flagged"]].to(x.dtype)
        scaled = (torch.cat([filled, flags], 1) - buffers["mean"]) / buffers["scale"]
        codes = x[:, buffers["category"]]
        codes = torch.where(codes.isnan(), MISSING, codes)
        hot = (codes[:, buffers["hot_column"]] == buffers["hot_value"]).to(x.dtype)
        return torch.cat([scaled, hot], 1)
