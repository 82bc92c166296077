"""The shared part of algorithms whose equations count a store's steps: SCAFFOLD and FedNova."""

from collections.abc import Mapping

import torch

from fedshelf.common.config import RunConfig
from fedshelf.common.config.learning_rate_schedule import standstill
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import Update
from fedshelf.common.strategies.shared.base import Strategy
from fedshelf.common.strategies.shared.local_training import LocalTrainingSummary, normalized_steps

# name of the tensor in an update, as it travels
NORMALIZED_STEPS = "reach"
# relative rounding error of a float32 that travelled; far below one step of ten thousand
ROUNDING = 1e-4


class NormalizedSteps(Strategy):
    """The base of strategies whose updates bring their normalised steps, float32 [1].

    The server divides by it, so it checks it first.
    """

    def incompatible_with(self, config: RunConfig) -> str | None:
        """Return why a run has no usable number of normalised steps.

        It is undefined for other optimizers than SGD, and 0 at a learning rate of 0.
        """
        if config.train.optimizer != "sgd":
            return f"counts steps of sgd, and train.optimizer is {config.train.optimizer}"
        if round_number := standstill(config):
            rate = (
                f"the learning rate of round {round_number} is 0 (see train.lr, train.schedule and"
                " train.final_lr)"
            )
            return f"divides by the length of a store's steps, and {rate}"
        return None

    def on_train_end(
        self, summary: LocalTrainingSummary, local: Tensors, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Return the normalised steps, and the state unchanged."""
        return {NORMALIZED_STEPS: torch.tensor([summary.normalized_steps])}, state

    def expected_extras(self, trainable: int) -> Mapping[str, tuple[int, ...]]:
        """Return the shape of the normalised steps: one number."""
        return {NORMALIZED_STEPS: (1,)}

    def validate_update(self, update: Update, lr: float, config: RunConfig) -> str | None:
        """Return a reason if no training on the store's images takes so many normalised steps.

        A store that claims too few would move the model too far.
        """
        images = update.num_examples
        claim = float(update.extras[NORMALIZED_STEPS])
        low, high = (
            normalized_steps(steps, lr, config.train.momentum)
            for steps in (config.fewest_steps(images), config.most_steps(images))
        )
        if low * (1 - ROUNDING) <= claim <= high * (1 + ROUNDING):
            return None
        return (
            f"claims {claim:g} normalised steps times the learning rate, where its images allow"
            f" {low:g} to {high:g}"
        )
