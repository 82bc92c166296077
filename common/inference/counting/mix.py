"""Probabilities for the mix of classes that some photos have, in place of the mix in training."""

import numpy as np
from numpy.typing import NDArray

_MAX_STEPS = 200
_SETTLED = 1e-6


def adapt_to_mix(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities that follow once the photos themselves tell the mix of classes.

    By expectation maximisation (Saerens, Latinne and Decaestecker, "Adjusting the outputs of a
    classifier to new a priori probabilities", Neural Computation 14, 2002), from equal shares q:

        p_nc <- p_nc q_c / sum over c,      q_c <- (sum over n of p_nc + 1) / (N + C)

    One photo more of each class keeps a class possible that few photos show.

    Args:
        probabilities: float64 [N, C]

    Returns:
        Float64 [N, C].
    """
    photos, classes = probabilities.shape
    shares = np.full(classes, 1 / classes)
    weighted = probabilities
    for _ in range(_MAX_STEPS):
        weighted = probabilities * shares
        weighted /= weighted.sum(axis=1, keepdims=True)
        following = (weighted.sum(axis=0) + 1) / (photos + classes)
        is_settled = bool(np.abs(following - shares).max() < _SETTLED)
        shares = following
        if is_settled:
            break
    return weighted
