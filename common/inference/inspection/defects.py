"""Kinds of defects: a linear head over embeddings, solved in closed form.

Ridge regression on one-hot targets, each class with the same weight in all, in its dual form: with
the rows of X (embeddings as unit vectors, and a 1) and Y multiplied by the root of their weights,

    G = X X' + penalty I,   a = G^-1 Y,   scores of a piece x = x X' a

What a head that never saw piece i says of it follows without another fit: its error is a_i /
(G^-1)_ii (Allen, "The relationship between variable selection and data augmentation and a method
for prediction", Technometrics 16, 1974). The penalty is the one with the least squared error so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshelf.common.errors import DataError
from fedshelf.common.inference.predictors.embeddings import unit_vectors
from fedshelf.common.inference.predictors.predictor import Floats

_PENALTIES = (0.001, 0.01, 0.1, 1.0)  # in shares of the mean of G's diagonal

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class DefectHead:
    """A head that tells classes of pieces apart.

    Attributes:
        classes: names, sorted
        weights: float64 [D + 1, C]; the last row is of the constant 1
        left_out_guesses: for each piece it learned from, the class that a head without it names
    """

    classes: tuple[str, ...]
    weights: Doubles
    left_out_guesses: tuple[str, ...]

    def classify(self, embeddings: Floats) -> list[str]:
        """Return the class of each piece: [N, D] -> N names."""
        best = (_with_constant(embeddings) @ self.weights).argmax(axis=1)
        return [self.classes[index] for index in best]


def learn_defects(embeddings: Floats, labels: Sequence[str]) -> DefectHead:
    """Return the head for labelled pieces.

    Args:
        embeddings: float32 [N, D]
        labels: of the N pieces, at least two classes

    Raises:
        DataError: a class has only one piece
    """
    classes, indices, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.min() < 2:
        name = classes[counts.argmin()]
        raise DataError(f"There is one photo of {name}; expected two or more of each kind.")
    root = np.sqrt(len(labels) / (len(classes) * counts[indices]))[:, None]
    inputs = root * _with_constant(embeddings)
    targets = root * np.eye(len(classes))[indices]
    products = inputs @ inputs.T
    best_error = np.inf
    weights = np.empty(0)
    left_out = np.empty(0)
    for share in _PENALTIES:
        penalty = share * float(np.trace(products)) / len(labels)
        inverse = np.linalg.inv(products + penalty * np.eye(len(labels)))
        duals = inverse @ targets
        errors = duals / np.diag(inverse)[:, None]
        if (error := float((errors**2).sum())) < best_error:
            best_error = error
            weights = inputs.T @ duals
            left_out = (targets - errors) / root
    names = tuple(map(str, classes))
    return DefectHead(names, weights, tuple(names[index] for index in left_out.argmax(axis=1)))


def _with_constant(embeddings: Floats) -> Doubles:
    directions = unit_vectors(embeddings).astype(np.float64)
    return np.hstack([directions, np.ones((len(directions), 1))])
