"""Evaluation of a model on images: one pass over any number of image sets, and a single wait for
the device.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.common import models
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.training.fit import Network
from fedshelf.common.training.rotation_task import as_labelled

Pair = tuple[Counts, Counts | None]
"""Counts by the model's own scores, and by adjusted ones if there is an adjustment."""


def evaluate(
    network: Network, sets: Sequence[Images], batch_size: int, temperatures: Sequence[float] = ()
) -> list[Counts]:
    """Evaluate the network's present weights on sets whose arrays are on its device: confusion
    matrices and losses.

    The loss of an image is float32. The losses of a set are summed in float64 in the order of its
    images, so the sum does not depend on the other sets of the pass.

    temperatures: if given, the confidence at each of them is counted, too
    """
    return [
        raw
        for raw, _ in evaluate_adjusted(network, sets, [None] * len(sets), batch_size, temperatures)
    ]


def evaluate_adjusted(
    network: Network,
    sets: Sequence[Images],
    adjustments: Sequence[Tensor | None],
    batch_size: int,
    temperatures: Sequence[float] = (),
) -> list[Pair]:
    """Evaluate as `evaluate` does, and in the same pass with each set's adjustment added to the
    scores.

    adjustments: float32 [C] for each set; None: no adjustment
    """
    models.set_training(network.module, mode=False)
    nothing = Counts.zero(len(network.spec.classes))
    found: list[Pair] = [(nothing, None if added is None else nothing) for added in adjustments]
    of_array: dict[int, list[int]] = defaultdict(list)
    for place, images in enumerate(sets):
        if len(images):
            of_array[images.pixels.data_ptr()].append(place)
    for places in of_array.values():
        parts = [sets[place] for place in places]
        counted = _of_array(
            network, parts, [adjustments[place] for place in places], batch_size, temperatures
        )
        for place, pair in zip(places, counted, strict=True):
            found[place] = pair
    return found


def features(network: Network, images: Images, batch_size: int) -> Tensor:
    """Return the input of the network's head for each image: float32 [N, d] on the device.

    It is computed with the network's present weights. If the input has several places, as a map
    has, its mean over them is returned.
    """
    models.set_training(network.module, mode=False)
    found: list[Tensor] = []
    head = network.module.get_submodule(network.layout.head)
    is_map = isinstance(head, nn.Conv2d)  # [N, d, H, W]; else [N, d] or [N, ..., d]

    def note(_: nn.Module, inputs: tuple[Tensor]) -> None:
        given = inputs[0].float()
        if is_map:
            given = given.flatten(2).mean(dim=2)
        elif given.ndim > 2:
            given = given.flatten(1, -2).mean(dim=1)
        found.append(given)

    hook = head.register_forward_pre_hook(note)
    try:
        with torch.inference_mode():
            for rows in images.rows.to(network.device, non_blocking=True).split(batch_size):
                pixels = as_labelled(network.spec, images.pixels[rows], images.labels[rows])
                network.module(normalise(pixels, network.spec.mean, network.spec.std))
    finally:
        hook.remove()
    return torch.cat(found)


class _Tally:
    """Results of N images, collected on the device during an evaluation and counted at its end."""

    def __init__(self, network: Network, images: int, temperatures: Sequence[float]) -> None:
        self._classes = len(network.spec.classes)
        self._temperatures = temperatures
        self._losses = torch.empty(images, device=network.device)
        self._nll, self._sure = torch.empty(2, len(temperatures), images, device=network.device)
        self._cells = torch.empty(images, dtype=torch.int64, device=network.device)

    def note(self, place: slice, logits: Tensor, targets: Tensor) -> None:
        """Note the results of the images at `place`. logits: float32 [B, C]; targets: int64 [B]."""
        self._losses[place] = functional.cross_entropy(logits, targets, reduction="none")
        self._cells[place] = targets * self._classes + logits.argmax(dim=1)
        for number, temperature in enumerate(self._temperatures):
            likelihoods = functional.log_softmax(logits / temperature, dim=1)
            self._nll[number, place] = -likelihoods.gather(1, targets[:, None]).squeeze(1)
            self._sure[number, place] = likelihoods.amax(dim=1).exp()

    def counts(self, lengths: Sequence[int]) -> list[Counts]:
        """Return the counts of consecutive parts of the images; wait for the device."""
        stops = np.cumsum(lengths)[:-1]
        noted = self._cells, self._losses, self._nll, self._sure
        parts = [np.split(tensor.cpu().numpy(), stops, axis=-1) for tensor in noted]
        return [
            _counts(self._classes, self._temperatures, *part) for part in zip(*parts, strict=True)
        ]


def _of_array(
    network: Network,
    sets: Sequence[Images],
    adjustments: Sequence[Tensor | None],
    batch_size: int,
    temperatures: Sequence[float],
) -> list[Pair]:
    """Return the counts of sets that lie in one array, which is on the device."""
    array = sets[0]
    lengths = [len(images) for images in sets]
    rows = torch.cat([images.rows for images in sets]).to(network.device, non_blocking=True)
    raw = _Tally(network, len(rows), temperatures)
    added = _stacked(adjustments, len(network.spec.classes), network.device)
    adjusted = None if added is None else _Tally(network, len(rows), temperatures)
    owners = torch.arange(len(sets)).repeat_interleave(torch.tensor(lengths)).to(network.device)
    with torch.inference_mode():
        for part in torch.arange(len(rows)).split(batch_size):
            place = slice(int(part[0]), int(part[-1]) + 1)
            pixels = array.pixels.index_select(0, rows[place])
            targets = array.labels.index_select(0, rows[place])
            pixels = as_labelled(network.spec, pixels, targets)
            logits = network.logits(normalise(pixels, network.spec.mean, network.spec.std)).float()
            raw.note(place, logits, targets)
            if adjusted is not None and added is not None:
                adjusted.note(place, logits + added[owners[place]], targets)
    again = [None] * len(sets) if adjusted is None else adjusted.counts(lengths)
    told = [
        counts if own is not None else None for counts, own in zip(again, adjustments, strict=True)
    ]
    return list(zip(raw.counts(lengths), told, strict=True))


def _stacked(
    adjustments: Sequence[Tensor | None], classes: int, device: torch.device
) -> Tensor | None:
    """Stack adjustments of S sets: float32 [S, C] on the device, zeros where there is none; None:
    no set has one.
    """
    if all(added is None for added in adjustments):
        return None
    return torch.stack(
        [torch.zeros(classes) if added is None else added for added in adjustments]
    ).to(device)


def _counts(
    classes: int,
    temperatures: Sequence[float],
    cells: NDArray[np.int64],
    losses: NDArray[np.float32],
    nll: NDArray[np.float32],
    sure: NDArray[np.float32],
) -> Counts:
    """Return the counts of N images.

    cells:     int64 [N], each image's place in the flattened confusion matrix
    losses:    float32 [N]
    nll, sure: float32 [K, N], at each of K temperatures
    """
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    loss_sum = float(losses.sum(dtype=np.float64))
    if not temperatures:
        return Counts(confusion, loss_sum)
    is_right = cells // classes == cells % classes
    return Counts(
        confusion,
        loss_sum,
        reliability=Reliability.from_predictions(temperatures, nll, sure, is_right),
    )
