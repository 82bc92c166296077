"""The familiarity of photos by their nearest indexed photos: like something in the store, or not.

A photo's likeness is the mean cosine similarity to the ten nearest photos of the index. The
embeddings are not centred: the part that all products share is what foreign photos lack. It tells
foreign photos better than the energy of a model's scores (`docs/log.md`), after Sun et al. 2022,
"Out-of-Distribution Detection with Deep Nearest Neighbors".
"""

from dataclasses import replace
from pathlib import Path

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.inference.predictors.description import ModelDescription
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.predictor import (
    Floats,
    Pixels,
    Predictions,
    Predictor,
)
from fedshelf.common.inference.search.index_file import SearchIndex, read_index
from fedshelf.common.inference.search.nearest import nearest

NEIGHBOURS = 10
UNKNOWN_SHARE = 0.05  # of the store's own photos that may be taken for foreign ones
_MAX_SAMPLE = 2000  # indexed photos for the threshold; its share is then known to half a percent


def likeness(embeddings: Floats, queries: Floats) -> Floats:
    """Return the mean similarity to the nearest indexed photos: float32 [Q].

    Args:
        embeddings: float32 [N, D] of the index
        queries: float32 [Q, D], each of length 1
    """
    similarities, _ = nearest(embeddings, queries, NEIGHBOURS)
    return np.asarray(similarities.mean(axis=1), dtype=np.float32)


def own_threshold(embeddings: Floats) -> float | None:
    """Return the likeness that all but `UNKNOWN_SHARE` of the indexed photos have to the others.

    Each photo is compared with all others, without itself.

    Args:
        embeddings: float32 [N, D] of the index, of photos that differ

    Returns:
        The threshold; None for fewer than two photos.
    """
    total = len(embeddings)
    if total < 2:
        return None
    chosen = np.unique(np.linspace(0, total - 1, min(total, _MAX_SAMPLE)).astype(np.int64))
    similarities, rows = nearest(embeddings, embeddings[chosen], NEIGHBOURS + 1)
    own = []
    for number, row in enumerate(chosen):
        others = similarities[number][rows[number] != row][:NEIGHBOURS]
        own.append(others.mean(dtype=np.float64))
    return float(np.quantile(own, UNKNOWN_SHARE))


class IndexedPredictor:
    """A model that knows what is like a store's photos: its familiarity is that of an index.

    Args:
        predictor: the model that tells the classes
        index: with a threshold
        features: the model of the index; None: it is `predictor`
    """

    def __init__(
        self, predictor: Predictor, index: SearchIndex, features: Predictor | None = None
    ) -> None:
        assert index.threshold is not None, "see open_familiarity"
        self._predictor = predictor
        self._features = features
        self._embeddings = index.embeddings
        self._threshold = index.threshold

    @property
    def description(self) -> ModelDescription:
        """The model that tells the classes."""
        return self._predictor.description

    @property
    def pixel_format(self) -> PixelFormat:
        """The form of the model with the larger images; the other makes them smaller."""
        own = self._predictor.pixel_format
        if self._features is None or own.image_size >= self._features.pixel_format.image_size:
            return own
        return self._features.pixel_format

    def predict(self, pixels: Pixels) -> Predictions:
        """Predict the classes of photos; see `Predictor.predict`.

        The familiarity is by how much their likeness to the indexed photos is above the threshold.
        """
        predictions = self._predictor.predict(pixels)
        seen = predictions if self._features is None else self._features.predict(pixels)
        familiarity = likeness(self._embeddings, unit_vectors(seen.embeddings)) - np.float32(
            self._threshold
        )
        return replace(predictions, familiarity=familiarity)


def open_familiarity(
    predictor: Predictor, path: Path, features: Predictor | None = None
) -> IndexedPredictor:
    """Return a model with the familiarity of an index.

    Args:
        predictor: the model that tells the classes
        path: the file of the index
        features: the model of the index; None: it is `predictor`

    Raises:
        DataError: the index cannot be read, is of another model or not finished, or the two models
            take different photos.
    """
    index = read_index(path)
    index.check_model((features or predictor).description, path)
    if index.threshold is None:
        raise DataError(
            f"The index {path} cannot say yet what is like its photos ("
            + ("it has only one" if index.is_complete else "it is not finished")
            + "); run flower-client index once more."
        )
    if features is not None:
        one, other = predictor.pixel_format, features.pixel_format
        if (one.channels, one.denoise) != (other.channels, other.denoise):
            raise DataError(
                "The model and that of --features must take photos of the same channels and"
                f" denoise; got {(one.channels, one.denoise)} and"
                f" {(other.channels, other.denoise)}."
            )
    return IndexedPredictor(predictor, index, features)
