"""The facts of one local training that strategies need: its ends, and how far its steps reach."""

from dataclasses import dataclass

from torch import Tensor

ROUNDED = 1e-6  # if 1 - momentum is smaller, it has lost too many digits to be a divisor


@dataclass(frozen=True)
class LocalTrainingSummary:
    """The facts of one local training, passed to `Strategy.on_train_end`.

    Attributes:
        start: float32 [T], the trainable part of the vector before the training
        end: float32 [T], the same part after it
        steps: optimizer steps taken
        lr: learning rate of the round
        num_examples: training images
        momentum: momentum of the optimizer
    """

    start: Tensor
    end: Tensor
    steps: int
    lr: float
    num_examples: int
    momentum: float = 0.0

    @property
    def normalized_steps(self) -> float:
        """The learning rate times the normalised number of steps (see `normalized_steps`)."""
        return normalized_steps(self.steps, self.lr, self.momentum)


def normalized_steps(steps: int, lr: float, momentum: float) -> float:
    """Return lr |a|_1 of local SGD with momentum (Wang et al. 2020, FedNova).

    It is lr sum_k (1 - momentum^k) / (1 - momentum), k = 1 .. steps; without momentum, lr * steps.
    A weight moves by this distance if every gradient is -1.
    """
    if 1 - momentum < ROUNDED:
        return lr * _summed_distance(steps, momentum)
    distance = steps - momentum * (1 - momentum**steps) / (1 - momentum)
    return lr * distance / (1 - momentum)


def _summed_distance(steps: int, momentum: float) -> float:
    """Return sum_k (1 - momentum^k) / (1 - momentum), k = 1 .. steps, by adding the terms up.

    This is for a momentum so close to 1 that the closed form would be nothing but rounding error.
    """
    velocity = distance = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1
        distance += velocity
    return distance
