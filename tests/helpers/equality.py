"""Equality of messages, bit for bit."""

import math
from typing import Any

import numpy as np
from torch import Tensor


def same(one: Any, other: Any) -> bool:
    """Equality that looks into tensors and arrays, bit for bit, and counts nan as itself."""
    if isinstance(one, Tensor):
        return (
            one.dtype == other.dtype
            and one.shape == other.shape
            and one.numpy().tobytes() == other.numpy().tobytes()
        )
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    if isinstance(one, float):
        return one == other or (math.isnan(one) and math.isnan(other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if hasattr(one, "__dataclass_fields__"):
        return type(one) is type(other) and all(
            same(getattr(one, f), getattr(other, f)) for f in one.__dataclass_fields__
        )
    return bool(one == other)
