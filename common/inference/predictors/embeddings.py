"""Directions of embeddings: photos are compared by these, as lengths tell little."""

import numpy as np

from fedshelf.common.inference.predictors.predictor import Floats


def unit_vectors(embeddings: Floats) -> Floats:
    """Return vectors of length 1 in the same directions: [N, D]; a vector of zeros stays so."""
    lengths: Floats = np.sqrt((embeddings**2).sum(axis=1, keepdims=True))
    directions: Floats = (embeddings / np.maximum(lengths, 1e-30)).astype(np.float32, copy=False)
    return directions
