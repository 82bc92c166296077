"""The schedule of a group of stores in a round: all its steps, fixed before the round begins.

Each store goes through its images in the order of `common.training.fit.fit`, from the same
addresses of random numbers. Stores come in order of falling size: those still training at any step
are the first ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.images.augment import DrawStream, draws_per_image
from fedshelf.common.seeding import rng
from fedshelf.common.training.loss import split_batches


class Inputs(NamedTuple):
    """The inputs of one step.

    rows:   int64 [S, B], the images; unused places hold any image
    shares: float32 [S, B], of an image in its store's mean loss: 1 / images, or 0 if unused
    counts: float32 [S], images that count for the loss reported: those of the last epoch
    draws:  float64 [S, B, D], numbers for augmentation; see `common.images.augment.DrawStream`
    """

    rows: Tensor
    shares: Tensor
    counts: Tensor
    draws: Tensor


@dataclass(frozen=True)
class BatchSchedule:
    """All K steps of a group: `Inputs` with a leading dimension K, and the used part of each step.

    steps:  number of steps of each store
    stores: at each step, number of stores that are still training
    widths: at each step, images in the largest batch
    """

    inputs: Inputs
    steps: list[int]
    stores: list[int]
    widths: list[int]

    def at(self, step: int) -> Inputs:
        """Return views of the inputs that `step` uses."""
        stores = self.stores[step]
        width = self.widths[step]
        rows, shares, counts, draws = (tensor[step, :stores] for tensor in self.inputs)
        return Inputs(rows[:, :width], shares[:, :width], counts, draws[:, :width])

    def to(self, device: torch.device) -> "BatchSchedule":
        """Return the same on `device`; the copy to a CUDA device does not wait for earlier
        operations there.
        """
        if device.type != "cuda":
            return BatchSchedule(
                Inputs(*(t.to(device) for t in self.inputs)), self.steps, self.stores, self.widths
            )
        moved = Inputs(
            *(tensor.pin_memory().to(device, non_blocking=True) for tensor in self.inputs)
        )
        return BatchSchedule(moved, self.steps, self.stores, self.widths)


def plan_schedule(
    config: RunConfig,
    round_number: int,
    stores: Sequence[tuple[str, NDArray[np.int64]]],
    keep_pairs: bool,
) -> BatchSchedule:
    """Plan all steps of a group of stores in a round.

    Args:
        config: the run's settings.
        round_number: number of the round, from 1.
        stores: name and rows of the images (int64 [N]) of each store, largest store first.
        keep_pairs: see `common.training.loss.batches`.

    Returns:
        The schedule, on the CPU, with K steps for S stores.
    """
    train = config.train
    seed = config.run.seed
    sizes = [
        [len(part) for part in split_batches(rows, train.batch, keep_pairs)] for _, rows in stores
    ]
    steps = [len(epoch_batches) * train.passes for epoch_batches in sizes]
    assert steps == sorted(steps, reverse=True), steps
    shape = (max(steps), len(stores), max(map(max, sizes)))
    num_draws = draws_per_image(config.data)
    rows = np.zeros(shape, dtype=np.int64)
    shares = np.zeros(shape, dtype=np.float32)
    counts = np.zeros(shape[:2], dtype=np.float32)
    draws = np.zeros((*shape, num_draws))
    batch_sizes = np.zeros(shape[0], dtype=np.int64)
    for position, (name, own_rows) in enumerate(stores):
        lengths = np.array(sizes[position] * train.passes)
        step = np.repeat(np.arange(len(lengths)), lengths)
        slot = np.arange(len(step)) - np.repeat(lengths.cumsum() - lengths, lengths)
        order = rng(seed, "order", round_number, name)
        rows[step, position, slot] = np.concatenate(
            [own_rows[order.permutation(len(own_rows))] for _ in range(train.passes)]
        )
        shares[step, position, slot] = 1 / lengths[step]
        counts[steps[position] - len(sizes[position]) : steps[position], position] = sizes[position]
        np.maximum(batch_sizes[: len(lengths)], lengths, out=batch_sizes[: len(lengths)])
        if num_draws:
            draws[step, position, slot] = DrawStream(config.data, seed, round_number, name).take(
                len(step)
            )
    active_stores = [sum(count > step for count in steps) for step in range(shape[0])]
    inputs = Inputs(*(torch.from_numpy(array) for array in (rows, shares, counts, draws)))
    return BatchSchedule(inputs, steps, active_stores, batch_sizes.tolist())
