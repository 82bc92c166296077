"""Judging a model on images: one pass over as many sets of them as there are, and a single wait for the device."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from common import models
from common.calibration import Reliability
from common.images.augment import normalise
from common.images.turns import as_labelled
from common.images.types import Images
from common.metrics import Counts
from common.training import Network


def evaluate(
    network: Network, sets: Sequence[Images], batch_size: int, temperatures: Sequence[float] = ()
) -> list[Counts]:
    """Judge the network's present weights on sets whose arrays are on its device: confusion matrices and losses.

    The loss of an image is float32; a set's are summed in float64 in the order of its images, so that they do not
    depend on which sets were judged together. With `temperatures`, how sure it was at each of them, too.
    """
    models.set_training(network.module, mode=False)
    found = [Counts.zero(len(network.spec.classes)) for _ in sets]
    of_array: dict[int, list[int]] = defaultdict(list)
    for place, images in enumerate(sets):
        if len(images):
            of_array[images.pixels.data_ptr()].append(place)
    for places in of_array.values():
        first = sets[places[0]]
        rows = torch.cat([sets[place].rows for place in places]).to(network.device, non_blocking=True)
        lengths = [len(sets[place]) for place in places]
        counted = _of_rows(network, first, rows, lengths, batch_size, temperatures)
        for place, counts in zip(places, counted, strict=True):
            found[place] = counts
    return found


def _of_rows(
    network: Network, array: Images, rows: Tensor, lengths: list[int], batch_size: int, temperatures: Sequence[float]
) -> list[Counts]:
    """Counts of consecutive parts of `rows` (int64 [N], on the device) of an array's images."""
    classes = len(network.spec.classes)
    losses = torch.empty(len(rows), device=network.device)
    nll, sure = torch.empty(2, len(temperatures), len(rows), device=network.device)
    cells = torch.empty_like(rows)
    with torch.inference_mode():
        for part in torch.arange(len(rows)).split(batch_size):
            place = slice(int(part[0]), int(part[-1]) + 1)
            pixels = array.pixels.index_select(0, rows[place])
            targets = array.labels.index_select(0, rows[place])
            pixels = as_labelled(network.spec, pixels, targets)
            logits = network.logits(normalise(pixels, network.spec.mean, network.spec.std)).float()
            losses[place] = functional.cross_entropy(logits, targets, reduction="none")
            cells[place] = targets * classes + logits.argmax(dim=1)
            for number, temperature in enumerate(temperatures):
                likelihoods = functional.log_softmax(logits / temperature, dim=1)
                nll[number, place] = -likelihoods.gather(1, targets[:, None]).squeeze(1)
                sure[number, place] = likelihoods.amax(dim=1).exp()
    stops = np.cumsum(lengths)[:-1]
    parts = [np.split(tensor.cpu().numpy(), stops, axis=-1) for tensor in (cells, losses, nll, sure)]
    return [_counts(classes, temperatures, *part) for part in zip(*parts, strict=True)]


def _counts(
    classes: int,
    temperatures: Sequence[float],
    cells: NDArray[np.int64],
    losses: NDArray[np.float32],
    nll: NDArray[np.float32],
    sure: NDArray[np.float32],
) -> Counts:
    """Counts of N images. cells, losses: [N], of each its place in the confusion matrix; nll, sure: [K, N]."""
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    loss_sum = float(losses.sum(dtype=np.float64))
    if not temperatures:
        return Counts(confusion, loss_sum)
    is_right = cells // classes == cells % classes
    return Counts(confusion, loss_sum, reliability=Reliability.of(temperatures, nll, sure, is_right))
