"""Answers of simulated stores: those that a real store would send, its failures included.

A fault in the program stays an exception.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from fedshelf.client.failures import failure_of
from fedshelf.client.worker.state_store import States
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common.errors import FedshelfError
from fedshelf.common.images.types import Images
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Summand,
    TrainOrder,
    Update,
)

# Errors that may happen at a single store, and must not end the others' round.
_ERRORS_OF_ONE_STORE = (FedshelfError, OSError, torch.OutOfMemoryError)


def train(trainer: Trainer, order: TrainOrder, store: str, images: Images) -> Update | Failure:
    """Train a store on its `images`."""
    try:
        return trainer.train(order, store, images)
    except _ERRORS_OF_ONE_STORE as error:
        return failure_of(store, error)


def train_summand(
    trainer: Trainer, order: TrainOrder, store: str, images: Images
) -> Summand | Failure:
    """Train a store on its `images`, and return the vector that goes into the secure sum."""
    try:
        return trainer.train_summand(order, store, images)
    except _ERRORS_OF_ONE_STORE as error:
        return failure_of(store, error)


def evaluate(
    trainer: Trainer,
    order: EvaluateOrder,
    sets: Mapping[str, Images],
    adjustments: Mapping[str, Tensor | None],
) -> list[Evaluation | Failure]:
    """Evaluate stores on their images, in the order of `sets`; where one fails, each is evaluated
    alone.

    adjustments: float32 [C] of each store, see `common.strategies.shared.class_skew`
    """
    try:
        return list(trainer.evaluate(order, sets, adjustments))
    except _ERRORS_OF_ONE_STORE as error:
        if len(sets) == 1:
            return [failure_of(store, error) for store in sets]
        alone = [{store: images} for store, images in sets.items()]
        return [
            answer
            for one_store in alone
            for answer in evaluate(trainer, order, one_store, adjustments)
        ]


def load_state(states: States, run_id: str, store: str, round_number: int) -> Tensors | Failure:
    """Read a store's state before round `round_number`, where another process trains it."""
    try:
        return states.load(run_id, store, round_number)
    except _ERRORS_OF_ONE_STORE as error:
        return failure_of(store, error)


def save_state(states: States, order: TrainOrder, store: str, state: Tensors) -> Failure | None:
    """Keep a store's state after an order that another process carried out."""
    try:
        states.save(order, store, state)
    except _ERRORS_OF_ONE_STORE as error:
        return failure_of(store, error)
    return None
