"""The head that tells kinds of defects: its left-out guesses equal real refits."""

import numpy as np
import pytest

from fedshelf.common.errors import DataError
from fedshelf.common.inference.inspection import defects
from fedshelf.common.inference.inspection.defects import learn_defects
from fedshelf.common.inference.predictors.embeddings import unit_vectors


def pieces(each: tuple[int, ...], spread: float) -> tuple[np.ndarray, list[str]]:
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(len(each), 5))
    labels = [f"kind {index}" for index, number in enumerate(each) for _ in range(number)]
    rows = [centres[index] for index, number in enumerate(each) for _ in range(number)]
    noise = generator.normal(size=(len(rows), 5)) * spread
    return (np.array(rows) + noise).astype(np.float32), labels


def test_kinds_that_lie_apart_are_told_apart() -> None:
    embeddings, labels = pieces((12, 3, 4), 0.1)
    head = learn_defects(embeddings, labels)
    assert head.classify(embeddings) == labels
    assert list(head.left_out_guesses) == labels


def test_left_out_guesses_are_those_of_heads_without_the_piece(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Weighted ridge regression, solved anew without each piece by its normal equations."""
    monkeypatch.setattr(defects, "_PENALTIES", (0.05,))
    embeddings, labels = pieces((8, 5, 4), 1.5)
    inputs = np.hstack([unit_vectors(embeddings), np.ones((len(labels), 1))]).astype(np.float64)
    kinds, indices = np.unique(labels, return_inverse=True)
    weights = len(labels) / (3 * np.bincount(indices)[indices])
    penalty = 0.05 * float((weights * (inputs**2).sum(axis=1)).mean())
    guesses = []
    for piece in range(len(labels)):
        kept = np.arange(len(labels)) != piece
        weighted = inputs[kept] * weights[kept, None]
        solution = np.linalg.solve(
            weighted.T @ inputs[kept] + penalty * np.eye(6), weighted.T @ np.eye(3)[indices[kept]]
        )
        guesses.append(str(kinds[(inputs[piece] @ solution).argmax()]))
    head = learn_defects(embeddings, labels)
    assert list(head.left_out_guesses) == guesses
    assert guesses != head.classify(embeddings)  # what it learned from looks better


def test_a_kind_with_one_photo_is_refused() -> None:
    embeddings, labels = pieces((4, 1), 0.1)
    with pytest.raises(DataError, match="one photo of kind 1"):
        learn_defects(embeddings, labels)
