"""Directions of embeddings."""

import numpy as np
import pytest

from fedshelf.common.inference.predictors.embeddings import unit_vectors


def test_lengths_are_one_and_zeros_stay() -> None:
    found = unit_vectors(np.array([[3, 4], [0, 0], [0, -0.5]], np.float32))
    assert found.dtype == np.float32
    assert found.ravel().tolist() == pytest.approx([0.6, 0.8, 0, 0, 0, -1])
