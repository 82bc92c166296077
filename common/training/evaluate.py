"""Evaluation of a model: one pass over any number of image sets, one wait for the device."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fedshelf.common.config import TrainConfig
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.types import Images
from fedshelf.common.metrics import formulas
from fedshelf.common.metrics.calibration import Reliability
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.formulas.metric import Metric
from fedshelf.common.models.head import set_training
from fedshelf.common.tasks import SceneTask
from fedshelf.common.training.fit import Network
from fedshelf.common.training.metric_sums import MetricSums

RawAndAdjusted = tuple[Counts, Counts | None]
"""Counts by the model's own scores, and counts by adjusted ones (None: no adjustment)."""


def evaluate(
    network: Network,
    sets: Sequence[Images],
    batch_size: int,
    temperatures: Sequence[float] = (),
    metrics: Mapping[str, Metric] = formulas.NO_METRICS,
) -> list[Counts]:
    """Evaluate the network's present weights on sets of images.

    The loss of an image is float32. The losses of a set are summed in float64 in the order of its
    images, so the sum does not depend on the other sets of the pass.

    Args:
        network: changed to evaluation mode
        sets: images whose arrays are on the network's device
        batch_size: images in a batch
        temperatures: if given, the confidence at each of them is counted, too, and the energy
        metrics: further ones, of class scores, by their names in the settings

    Returns:
        Confusion matrix and loss of each set.
    """
    pairs = evaluate_adjusted(network, sets, [None] * len(sets), batch_size, temperatures, metrics)
    return [raw for raw, _ in pairs]


def evaluate_adjusted(
    network: Network,
    sets: Sequence[Images],
    adjustments: Sequence[Tensor | None],
    batch_size: int,
    temperatures: Sequence[float] = (),
    metrics: Mapping[str, Metric] = formulas.NO_METRICS,
) -> list[RawAndAdjusted]:
    """Evaluate as `evaluate` does, and in the same pass with adjusted scores.

    Args:
        network: changed to evaluation mode
        sets: images whose arrays are on the network's device
        adjustments: float32 [C] for each set, added to the scores; None: no adjustment
        batch_size: images in a batch
        temperatures: if given, the confidence at each of them is counted, too, and the energy
        metrics: further ones, of class scores, by their names in the settings
    """
    set_training(network.module, mode=False)
    if isinstance(network.task, SceneTask):
        return [(_count_scenes(network, network.task, images, batch_size), None) for images in sets]
    nothing = Counts.zero(len(network.spec.classes))
    results: list[RawAndAdjusted] = [
        (nothing, None if added is None else nothing) for added in adjustments
    ]
    indices_by_array: dict[int, list[int]] = defaultdict(list)
    for index, images in enumerate(sets):
        if len(images):
            indices_by_array[images.inputs.data_ptr()].append(index)
    for indices in indices_by_array.values():
        sets_of_array = [sets[index] for index in indices]
        counts = _evaluate_array(
            network,
            sets_of_array,
            [adjustments[index] for index in indices],
            batch_size,
            _Counted(len(network.spec.classes), tuple(temperatures), metrics),
        )
        for index, pair in zip(indices, counts, strict=True):
            results[index] = pair
    return results


def _count_scenes(network: Network, task: SceneTask, images: Images, batch_size: int) -> Counts:
    """Return the counts of photos of scenes; those of a batch are added to those before."""
    config = TrainConfig()
    total = Counts.zero(len(network.spec.classes))
    with torch.inference_mode():
        for rows in images.rows.to(network.device, non_blocking=True).split(batch_size):
            targets = images.learned.index_select(0, rows)
            inputs = _inputs(network, images, rows)
            outputs = task.results(network.forward(images), inputs, targets)
            losses = task.image_losses(outputs, targets, config)
            total = total + task.count(outputs, targets, losses)
    return total


def scene_answers(network: Network, images: Images, batch_size: int) -> Iterator[tuple[Any, Any]]:
    """Yield for each photo of a scene what the network says, and what people marked.

    Both are in the form of the task (`SceneTask.answers`), by the network's present weights.

    Args:
        network: of a task on scenes; changed to evaluation mode
        images: photos whose array is on the network's device
        batch_size: photos in a batch
    """
    task = network.task
    assert isinstance(task, SceneTask)
    set_training(network.module, mode=False)
    for rows in images.rows.to(network.device).split(batch_size):
        with torch.inference_mode():
            targets = images.learned.index_select(0, rows)
            answers = task.answers(scores(network, images, rows), targets)
        yield from answers


def features(network: Network, images: Images, batch_size: int) -> Tensor:
    """Return the input of the network's head for each image, by the network's present weights.

    If the input has several positions, as a map has, its mean over them is returned.

    Args:
        network: changed to evaluation mode
        images: N images whose array is on the network's device
        batch_size: images in a batch

    Returns:
        Float32 [N, d] on the device.
    """
    set_training(network.module, mode=False)
    pieces: list[Tensor] = []
    head = network.module.get_submodule(network.layout.head)
    is_map = isinstance(head, nn.Conv2d)  # [N, d, H, W]; else [N, d] or [N, ..., d]

    def record_inputs(_: nn.Module, inputs: tuple[Tensor]) -> None:
        features = inputs[0].float()
        if is_map:
            features = features.flatten(2).mean(dim=2)
        elif features.ndim > 2:
            features = features.flatten(1, -2).mean(dim=1)
        pieces.append(features)

    hook = head.register_forward_pre_hook(record_inputs)
    try:
        with torch.inference_mode():
            for rows in images.rows.to(network.device, non_blocking=True).split(batch_size):
                scores(network, images, rows)
    finally:
        hook.remove()
    return torch.cat(pieces)


def scores(network: Network, images: Images, rows: Tensor) -> Tensor:
    """Return the network's result for images without augmentation: class scores [B, C].

    Of a network for scenes it is that of the task (`common.tasks`).

    Args:
        network: in the mode of evaluation
        images: on any device
        rows: int64 [B], rows of their array, on its device
    """
    return network.forward(images)(_inputs(network, images, rows))


def _inputs(network: Network, images: Images, rows: Tensor) -> Tensor:
    """Return the network's inputs of images without augmentation, on its device.

    They are normalised pixels [B, channels, H, W], or features [B, ...].
    """
    inputs = images.inputs.index_select(0, rows).to(network.device)
    if images.are_features:
        return inputs[:, 0]
    targets = images.learned.index_select(0, rows).to(network.device)
    pixels = network.task.posed(inputs, targets)
    return normalise(pixels, network.spec.mean, network.spec.std)


@dataclass(frozen=True)
class _Counted:
    """The parts of an evaluation that are counted.

    Attributes:
        classes: C
        temperatures: K divisors of the scores
        metrics: further ones
    """

    classes: int
    temperatures: tuple[float, ...]
    metrics: Mapping[str, Metric]


class _DeviceResults:
    """Results of N images: collected on the device, and counted at the end of an evaluation.

    Args:
        network: its device has the results
        counted: what there is to count
        lengths: images of each set; N in all
    """

    def __init__(self, network: Network, counted: _Counted, lengths: Sequence[int]) -> None:
        images = sum(lengths)
        temperatures = counted.temperatures
        self._counted = counted
        self._lengths = lengths
        self._metric_sums = MetricSums(counted.metrics, counted.classes, lengths)
        self._losses = torch.empty(images, device=network.device)
        self._nll, self._confidences = torch.empty(
            2, len(temperatures), images, device=network.device
        )
        self._energies = torch.empty(images, device=network.device)
        self._cells = torch.empty(images, dtype=torch.int64, device=network.device)

    def record(self, positions: slice, logits: Tensor, targets: Tensor) -> None:
        """Record the results of a batch.

        Args:
            positions: places of the B images among all N
            logits: float32 [B, C]
            targets: int64 [B]
        """
        self._losses[positions] = functional.cross_entropy(logits, targets, reduction="none")
        self._cells[positions] = targets * self._counted.classes + logits.argmax(dim=1)
        if self._metric_sums.is_needed:
            self._metric_sums.record(logits.cpu().numpy(), targets.cpu().numpy())
        if self._counted.temperatures:
            self._energies[positions] = logits.logsumexp(dim=1)
        for index, temperature in enumerate(self._counted.temperatures):
            likelihoods = functional.log_softmax(logits / temperature, dim=1)
            self._nll[index, positions] = -likelihoods.gather(1, targets[:, None]).squeeze(1)
            self._confidences[index, positions] = likelihoods.amax(dim=1).exp()

    def counts(self) -> list[Counts]:
        """Return the counts of each set; wait for the device."""
        stops = np.cumsum(self._lengths)[:-1]
        recorded = self._cells, self._losses, self._nll, self._confidences, self._energies
        parts = [np.split(tensor.cpu().numpy(), stops, axis=-1) for tensor in recorded]
        classes, temperatures = self._counted.classes, self._counted.temperatures
        counts = [_count(classes, temperatures, *part) for part in zip(*parts, strict=True)]
        if not self._counted.metrics:
            return counts
        sums = self._metric_sums.sums() if self._metric_sums.is_needed else [{}] * len(counts)
        return [
            formulas.with_derived(replace(counted, metrics=of_set), self._counted.metrics)
            for counted, of_set in zip(counts, sums, strict=True)
        ]


def _evaluate_array(
    network: Network,
    sets: Sequence[Images],
    adjustments: Sequence[Tensor | None],
    batch_size: int,
    counted: _Counted,
) -> list[RawAndAdjusted]:
    """Return the counts of sets that lie in one array, which is on the device."""
    array = sets[0]
    lengths = [len(images) for images in sets]
    rows = torch.cat([images.rows for images in sets]).to(network.device, non_blocking=True)
    raw = _DeviceResults(network, counted, lengths)
    offsets = _stack_adjustments(adjustments, counted.classes, network.device)
    adjusted = None if offsets is None else _DeviceResults(network, counted, lengths)
    set_of_image = (
        torch.arange(len(sets)).repeat_interleave(torch.tensor(lengths)).to(network.device)
    )
    with torch.inference_mode():
        for batch in torch.arange(len(rows)).split(batch_size):
            positions = slice(int(batch[0]), int(batch[-1]) + 1)
            targets = array.labels.index_select(0, rows[positions])
            logits = scores(network, array, rows[positions]).float()
            raw.record(positions, logits, targets)
            if adjusted is not None and offsets is not None:
                adjusted.record(positions, logits + offsets[set_of_image[positions]], targets)
    adjusted_counts = [None] * len(sets) if adjusted is None else adjusted.counts()
    wanted_counts = [
        counts if adjustment is not None else None
        for counts, adjustment in zip(adjusted_counts, adjustments, strict=True)
    ]
    return list(zip(raw.counts(), wanted_counts, strict=True))


def _stack_adjustments(
    adjustments: Sequence[Tensor | None], classes: int, device: torch.device
) -> Tensor | None:
    """Stack the adjustments of S sets: float32 [S, C] on the device, zeros where there is none.

    None: no set has one.
    """
    if all(added is None for added in adjustments):
        return None
    return torch.stack(
        [torch.zeros(classes) if added is None else added for added in adjustments]
    ).to(device)


def _count(
    classes: int,
    temperatures: Sequence[float],
    cells: NDArray[np.int64],
    losses: NDArray[np.float32],
    nll: NDArray[np.float32],
    confidences: NDArray[np.float32],
    energies: NDArray[np.float32],
) -> Counts:
    """Return the counts of N images.

    Args:
        classes: C
        temperatures: K divisors of the scores
        cells: int64 [N], each image's place in the flattened confusion matrix
        losses: float32 [N]
        nll: float32 [K, N], negative log-likelihood at each temperature
        confidences: float32 [K, N], largest probability at each temperature
        energies: float32 [N], log sum exp of the scores; of no meaning if K is 0
    """
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    loss_sum = float(losses.sum(dtype=np.float64))
    if not temperatures:
        return Counts(confusion, loss_sum)
    is_correct = cells // classes == cells % classes
    return Counts(
        confusion,
        loss_sum,
        reliability=Reliability.from_predictions(
            temperatures, nll, confidences, is_correct, energies
        ),
    )
