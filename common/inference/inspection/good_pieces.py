"""Pieces that are unlike all good ones: the distance to the nearest good piece, with a limit.

The distance of a whole photo's embedding to the nearest of good pieces is PatchCore's idea without
its patches (Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler, "Towards total recall in industrial
anomaly detection", CVPR 2022). The limit comes from the good pieces themselves, each compared with
the others: of n such distances the k-th smallest, k = ceil((n + 1) (1 - rate)), is exceeded by a
further good piece with probability of about `rate` (split conformal prediction; Vovk, Gammerman
and Shafer, "Algorithmic learning in a random world", 2005).
"""

import math
from dataclasses import dataclass

import numpy as np

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.predictor import Floats
from fedshelf.common.metrics.proportions import wilson_interval
from fedshelf.common.wording import format_count


@dataclass(frozen=True)
class GoodPieces:
    """Good pieces and the limit that they set.

    Attributes:
        directions: float32 [n, D], different unit vectors
        limit: distance from which on a piece is unusual
        beyond: number of the good pieces that are farther than that from all others
    """

    directions: Floats
    limit: float
    beyond: int

    @property
    def false_alarms(self) -> tuple[float, float]:
        """The 95% interval of the share of good pieces that are taken for unusual."""
        pieces = len(self.directions)
        return wilson_interval(self.beyond / pieces, pieces)

    def distances(self, embeddings: Floats) -> Floats:
        """Return how far each piece is from the nearest good one: [N, D] -> [N], 0 to 2."""
        return _distances(unit_vectors(embeddings) @ self.directions.T)


def learn_good_pieces(embeddings: Floats, false_alarms: float) -> GoodPieces:
    """Return good pieces with the limit for a wanted rate of false alarms.

    Pieces with equal embeddings are copies of one photo and count once.

    Args:
        embeddings: float32 [N, D], of good pieces
        false_alarms: share of good pieces that may be taken for unusual, above 0 and below 1

    Raises:
        DataError: there are too few good pieces to know the limit
    """
    directions = unit_vectors(np.unique(embeddings, axis=0))
    pieces = len(directions)
    rank = math.ceil((pieces + 1) * (1 - false_alarms) - 1e-9)
    if rank > pieces or pieces < 2:
        needed = max(2, math.ceil(1 / false_alarms - 1 - 1e-9))
        raise DataError(
            f"Got {format_count(pieces, 'different photo')} of good pieces; for a rate of false"
            f" alarms of {100 * false_alarms:.4g}% at least {needed} are needed: add photos, or"
            " allow more false alarms (--false-alarms)."
        )
    similarities = directions @ directions.T
    np.fill_diagonal(similarities, -np.inf)
    apart = np.sort(_distances(similarities))
    limit = float(apart[rank - 1])
    return GoodPieces(directions, limit, int((apart > limit).sum()))


def _distances(similarities: Floats) -> Floats:
    """Return the distance to the nearest unit vector, from cosines [N, n]."""
    nearest: Floats = similarities.max(axis=1)
    return np.sqrt(np.maximum(2 - 2 * nearest, 0), dtype=np.float32)
