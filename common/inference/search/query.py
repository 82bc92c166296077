"""A search: one photo or several that count together, and the indexed photos most like them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.content_digests import content_digest, read_photo
from fedshelf.common.images.decoding.decode import NotUsableError, decode
from fedshelf.common.images.listing.folder_entries import valid_text
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.predictor import Floats, Predictor
from fedshelf.common.inference.search.index_file import SearchIndex
from fedshelf.common.inference.search.nearest import nearest


@dataclass(frozen=True)
class QueryPhoto:
    """A photo that is looked for.

    Attributes:
        name: for people
        path: the file
        weight: above 0
        digest: its content's hash
        embedding: float32 [D], of length 1
    """

    name: str
    path: Path
    weight: float
    digest: bytes
    embedding: Floats


@dataclass(frozen=True)
class Match:
    """An indexed photo that was found.

    Attributes:
        names: its files by their names for people
        paths: its files
        similarity: mean cosine similarity to the photos that are looked for, by their weights
    """

    names: tuple[str, ...]
    paths: tuple[Path, ...]
    similarity: float


def read_query(path: Path, weight: float, predictor: Predictor) -> QueryPhoto:
    """Return a photo with its embedding.

    Args:
        path: the photo
        weight: above 0
        predictor: the model of the index

    Raises:
        DataError: it cannot be read.
    """
    try:
        data = read_photo(path)
        pixels = decode(data, predictor.pixel_format)
    except NotUsableError as reason:
        raise DataError(f"The photo {path} cannot be used: {reason}.") from None
    embedding = unit_vectors(predictor.predict(np.stack([pixels])).embeddings)[0]
    return QueryPhoto(valid_text(path.name), path, weight, content_digest(data), embedding)


def search(index: SearchIndex, query: Sequence[QueryPhoto], count: int) -> list[Match]:
    """Return the indexed photos most like those of a query, the most similar first.

    Copies of the query's own photos are left out: to be like itself says nothing. Equally similar
    photos stand in the order of the index.

    Args:
        index: to search in
        query: photos by the model of the index, at least one
        count: photos to return, if there are so many
    """
    weights = np.array([photo.weight for photo in query])
    vectors = np.stack([photo.embedding for photo in query]).astype(np.float64)
    mean = (weights / weights.sum()) @ vectors
    own = {photo.digest for photo in query}
    similarities, rows = nearest(index.embeddings, mean.astype(np.float32)[None], count + len(own))
    matches = [
        Match(tuple(index.names(row)), tuple(index.paths(row)), float(similarity))
        for similarity, row in zip(similarities[0], rows[0].tolist(), strict=True)
        if index.photos[row].digest not in own
    ]
    return matches[:count]
