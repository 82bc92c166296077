"""Occlusion: how much less a class is believed in when a part of the photo is hidden.

It needs no gradient, so it explains every predictor. After Zeiler and Fergus 2014, "Visualizing and
Understanding Convolutional Networks", section 4.2.
"""

import itertools

import numpy as np

from fedshelf.common.inference.predictors.photos import BATCH_SIZE
from fedshelf.common.inference.predictors.predictor import Floats, Pixels, Predictor

CELLS_PER_SIDE = 8  # 65 passes for a photo
_LEAST_PROBABILITY = 1e-30  # float32 has smaller ones, but their logarithms say nothing


def occlusion(predictor: Predictor, photo: Pixels, target: int) -> Floats:
    """Return what each part of a photo adds to the evidence for a class.

    The evidence is the logarithm of the class's odds, which goes on changing where its probability
    is almost 1. A part is hidden by the mean colour of the photo, as a grey patch would be a new
    thing to see in a light photo.

    Args:
        predictor: the model
        photo: uint8 [S, S, C]
        target: position of the class

    Returns:
        Float32 [8, 8]; above 0 the part speaks for the class, below 0 against it.
    """
    fill = np.round(photo.mean(axis=(0, 1))).astype(np.uint8)
    edges = np.linspace(0, len(photo), CELLS_PER_SIDE + 1).round().astype(int)
    strips = [slice(start, end) for start, end in itertools.pairwise(edges)]
    hidden = list(itertools.product(strips, strips))
    whole = _evidence(predictor, photo[None], target)[0]
    parts = []
    for start in range(0, len(hidden), BATCH_SIZE):
        places = hidden[start : start + BATCH_SIZE]
        batch = np.repeat(photo[None], len(places), axis=0)
        for number, place in enumerate(places):
            batch[number][place] = fill
        parts.append(whole - _evidence(predictor, batch, target))
    return np.concatenate(parts).reshape(CELLS_PER_SIDE, CELLS_PER_SIDE)


def _evidence(predictor: Predictor, photos: Pixels, target: int) -> Floats:
    """Return the logarithm of a class's odds for photos [N, S, S, C]: float32 [N]."""
    # a copy, as the predictor may want to write where the decoder's pixels are read-only
    probabilities = predictor.predict(np.array(photos)).probabilities
    others = np.delete(probabilities, target, axis=1).sum(axis=1)
    least = np.float32(_LEAST_PROBABILITY)
    evidence: Floats = np.log(np.maximum(probabilities[:, target], least)) - np.log(
        np.maximum(others, least)
    )
    return evidence
