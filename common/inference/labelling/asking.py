"""The photos that are worth a person's time (active learning).

Worth most are photos between whose two best classes the model decides least (the margin; Scheffer,
Decomain and Wrobel, "Active hidden Markov models for information extraction", IDA 2001) and that
are far from those chosen before, as in the greedy k-center algorithm (Sener and Savarese, "Active
learning for convolutional neural networks: a core-set approach", ICLR 2018):

    next = argmax over photos of (1 - margin) x distance to the nearest chosen one

So sure photos are not asked, however odd, and of near-duplicates one is.
"""

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.predictor import Floats


def worth_asking(probabilities: Floats, embeddings: Floats, photos: int) -> NDArray[np.int64]:
    """Return which photos to ask about, in the order in which they are chosen.

    The first is the least certain one.

    Args:
        probabilities: float32 [N, C], C at least 2
        embeddings: float32 [N, D]
        photos: number of photos wanted

    Returns:
        Int64 [min(N, photos)], indices.
    """
    uncertainty = 1 - margin(probabilities)
    directions = unit_vectors(embeddings)
    distances = np.ones(len(directions), np.float32)
    worth = uncertainty
    chosen: list[int] = []
    for _ in range(min(photos, len(directions))):
        chosen.append(int(np.argmax(worth)))
        similar = directions @ directions[chosen[-1]]
        distances = np.minimum(distances, np.maximum(1 - similar, 0))
        worth = uncertainty * distances
        worth[chosen] = -1  # less than a duplicate's 0
    return np.array(chosen, dtype=np.int64)


def margin(probabilities: Floats) -> Floats:
    """Return by how much the best class is ahead of the second: [N, C] -> [N]."""
    best = np.partition(probabilities, -2, axis=1)
    difference: Floats = best[:, -1] - best[:, -2]
    return difference
