"""Attack on the classes of a store: their shares are read from its update.

The server makes updates of its own from photos of its own, learns by ridge regression how the rows
of the head move with the shares of the classes, and applies this to the store's update.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.seeding import rng
from fedshelf.simulations.reveal.server_view import ServerView, draw_store

OWN_UPDATES = 100  # that the server learns from
ATTACKED = 20
_PENALTY = 3.0


@dataclass(frozen=True)
class ClassShares:
    """Success of the attack, as means over stores.

    Attributes:
        error: share of the photos that the guess puts into a wrong class
        guessing: the same for the guess that all classes are equally frequent
        top: share of stores whose most frequent class is named
    """

    error: float
    guessing: float
    top: float


def measure_class_shares(
    view: ServerView, images: int, seed: int, done: Callable[[int, int], object]
) -> ClassShares:
    """Attack updates of stores with `images` photos each.

    Args:
        view: the server's view; half of its pool is the server's own
        images: training images of a store
        seed: of the choice of photos
        done: called with (trainings done, trainings in all)
    """
    random = rng(seed, "reveal", "classes")
    shuffled = random.permutation(len(view.pool))
    own, foreign = np.array_split(shuffled, 2)
    total = OWN_UPDATES + ATTACKED
    rows, shares = [], []
    for number in range(total):
        photos = draw_store(view, own if number < OWN_UPDATES else foreign, images, random)
        rows.append(_head_movement(view, view.received(photos)))
        labels = view.pool.targets()[torch.from_numpy(photos)].numpy()
        counts = np.bincount(labels, minlength=len(view.start.plan.spec.classes))
        shares.append(counts / counts.sum())
        done(number + 1, total)
    guesses = _ridge(np.stack(rows), np.stack(shares[:OWN_UPDATES]))
    guesses = np.clip(guesses, 0, None)
    guesses /= np.maximum(guesses.sum(axis=1, keepdims=True), 1e-12)
    truth = np.stack(shares[OWN_UPDATES:])
    return ClassShares(
        error=float(np.abs(guesses - truth).sum(axis=1).mean() / 2),
        guessing=float(np.abs(1 / truth.shape[1] - truth).sum(axis=1).mean() / 2),
        top=float((guesses.argmax(axis=1) == truth.argmax(axis=1)).mean()),
    )


def _head_movement(view: ServerView, change: Tensor) -> NDArray[np.float64]:
    """Return figures of each class from a change [V]: float64 [F].

    They are the changes of the bias, sum and norm of each row of the head, and what the strategy's
    tensors have for each class.
    """
    classes = len(view.start.plan.spec.classes)
    layout = view.start.layout
    parts = []
    for name in ("bias", "weight"):
        tensor = f"{layout.head}.{name}"
        if tensor in layout.names:
            values = change[layout.slice_of(tensor)].view(classes, -1).double()
            parts += [values.sum(dim=1), values.norm(dim=1)]
    for values in view.extras(change).values():
        for axis in [axis for axis in range(values.ndim) if values.shape[axis] == classes][:1]:
            parts.append(values.double().movedim(axis, 0).reshape(classes, -1).sum(dim=1))
    return torch.cat(parts).numpy() if parts else np.zeros(1)


def _ridge(rows: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit the first rows to their targets and return the fit's values for the others.

    Args:
        rows: float64 [K + M, F]
        targets: float64 [K, C]

    Returns:
        float64 [M, C]
    """
    known = len(targets)
    mean, spread = rows[:known].mean(axis=0), rows[:known].std(axis=0) + 1e-9
    scaled = np.column_stack([(rows - mean) / spread, np.ones(len(rows))])
    gram = scaled[:known].T @ scaled[:known] + _PENALTY * np.eye(scaled.shape[1])
    solution: NDArray[np.float64] = np.linalg.solve(gram, scaled[:known].T @ targets)
    predicted: NDArray[np.float64] = scaled[known:] @ solution
    return predicted
