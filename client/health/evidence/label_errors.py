"""Probable label errors: photos that a model is sure belong to another class.

The rule is that of confident learning (Northcutt, Jiang and Chuang 2021, JAIR 70, section 3.1): a
class is believed if its probability is at least the mean probability that the model gives it on
photos with its label.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from fedshelf.client.health.evidence.photos import Progress, StorePhoto
from fedshelf.common.errors import ConfigError, FedshelfError
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.decoding.content_digests import read_photo
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.models import output_of
from fedshelf.common.models.head import set_training
from fedshelf.common.models.spec import received_spec
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.system.device import pick_device
from fedshelf.common.training.fit import Network

_BATCH_PHOTOS = 128
# least probability of the other class; then four of five are wrong labels (docs/how-to/health.md)
_MIN_PROBABILITY = 0.98


@dataclass(frozen=True)
class LabelError:
    """A photo that the model takes for another class, with the probability of that class."""

    seen: StorePhoto
    probable_class: str
    probability: float


@dataclass(frozen=True)
class LabelErrors:
    """The model's judgement of a store's labels.

    Attributes:
        judged: Number of photos of classes that the model knows.
        agreed: Number of those for which it predicts the label.
        unknown: Classes that it does not know.
        doubts: Probable errors, the surest first.
    """

    judged: int
    agreed: int
    unknown: tuple[str, ...]
    doubts: tuple[LabelError, ...]


def load(model: Path) -> Network:
    """Load the network in a `model.safetensors` or in a directory with one.

    Raises ConfigError if it is not ours.
    """
    path = model / WEIGHTS_FILE if model.is_dir() else model
    try:
        with safe_open(path, "pt") as file:
            spec = received_spec((file.metadata() or {})["spec"])
            if output_of(spec.name) != "classes":
                raise ValueError("it tells no classes")
            network = Network(spec, pick_device("auto"))
            network.module.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except (
        OSError,
        SafetensorError,
        KeyError,
        ValueError,
        RuntimeError,
        TypeError,
        FedshelfError,
    ) as error:
        known = isinstance(error, FedshelfError)
        reason = str(error).rstrip(".") if known else type(error).__name__
        raise ConfigError(
            f"--model got {model}, which cannot be used ({reason}); expected the"
            " model.safetensors of a run of this version that trained a classifier, or the"
            " directory that holds it."
        ) from error
    set_training(network.module, mode=False)
    return network


def find_label_errors(
    network: Network, usable: Sequence[StorePhoto], progress: Progress | None = None
) -> LabelErrors:
    """Judge the labels of photos. `progress` gets (done, total)."""
    class_indices = {
        unicodedata.normalize("NFC", name): index for index, name in enumerate(network.spec.classes)
    }
    known = [seen for seen in usable if seen.photo.label in class_indices]
    unknown = {seen.photo.label for seen in usable} - class_indices.keys()
    labels = np.array([class_indices[seen.photo.label] for seen in known], dtype=np.int64)
    probabilities = np.empty((len(known), len(class_indices)), np.float32)
    done = 0
    for part in _probabilities(network, known):
        probabilities[done : done + len(part)] = part
        done += len(part)
        if progress:
            progress(done, len(known))
    agreed = int((probabilities.argmax(axis=1) == labels).sum())
    doubts = tuple(
        LabelError(known[row], network.spec.classes[other], float(probabilities[row, other]))
        for row, other in find_suspects(probabilities, labels)
    )
    return LabelErrors(len(known), agreed, tuple(sorted(unknown)), doubts)


def find_suspects(
    probabilities: NDArray[np.float32], labels: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Return (row, probable class) of the probable label errors, the surest first.

    Args:
        probabilities: Float32 [N, C], rows sum to 1.
        labels: Int64 [N].
    """
    if not len(labels):
        return []
    rows = np.arange(len(labels))
    own = probabilities[rows, labels]
    thresholds = np.array(
        [
            own[labels == label].mean() if label in labels else 1
            for label in range(probabilities.shape[1])
        ]
    )
    others = probabilities.copy()
    others[rows, labels] = 0
    best = others.argmax(axis=1)
    sure = others[rows, best] >= np.maximum(thresholds[best], _MIN_PROBABILITY)
    order = np.argsort(own - others[rows, best], kind="stable")
    return [(int(row), int(best[row])) for row in order if sure[row]]


def _probabilities(network: Network, known: Sequence[StorePhoto]) -> Iterator[NDArray[np.float32]]:
    """Yield batches of probabilities, float32 [B, C], in order."""
    spec = network.spec
    form = PixelFormat(spec.image_size, spec.channels)
    for start in range(0, len(known), _BATCH_PHOTOS):
        pixels = np.stack(
            list(
                map_in_order(lambda seen: _pixels(seen, form), known[start : start + _BATCH_PHOTOS])
            )
        )
        batch = normalise(torch.from_numpy(pixels).to(network.device), spec.mean, spec.std)
        with torch.inference_mode():
            yield network.logits(batch).float().softmax(dim=1).cpu().numpy()


def _pixels(seen: StorePhoto, form: PixelFormat) -> NDArray[np.uint8]:
    try:
        return decode(read_photo(seen.photo.path), form)
    # it was usable a moment ago: somebody is changing the folder
    except (NotUsableError, MemoryError):
        return np.zeros(form.shape, np.uint8)
