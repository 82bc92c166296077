"""Features: the output of the frozen part of a network, computed once for each image.

    pixels -> views (the photo, its mirror image, ...) -> frozen part -> features

With a frozen backbone nothing of it changes during a run, so training, evaluation and comparisons
start from features instead of pixels. The result is that of training through the whole network, to
rounding: a view is drawn as the augmentation would draw it. Features are kept in the cache of
images (`common.images.cache.feature_file`), for all runs with the same backbone.

A photo's features do not depend on the others, so all engines and all stores get the same bits.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.augment.views import num_views, views
from fedshelf.common.images.cache.feature_file import Progress, open_features
from fedshelf.common.images.cache.pixel_hashes import PixelHashes, pixel_hashes
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.models.frozen_part import FrozenPart
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.protocol.serialization import frozen_sha256
from fedshelf.common.training.fit import Network

# photos that pass through the network together: on a CPU more take no less time for each
CPU_PHOTOS_PER_PASS = 4
GPU_PHOTOS_PER_PASS = 64
FEATURES_VERSION = 1  # of this computation; another one makes other features


class FeatureExtractor:
    """Computes and keeps the features of images.

    Args:
        part: the frozen part of the run's network, and the rest
        key: names the frozen weights and how pixels become their input
        normalisation: mean and deviation of each channel
        num_views: views of a training photo; 1: the photo alone; 2: its mirror image, too
        device: the device that computes
        progress: called while features are computed
    """

    def __init__(
        self,
        part: FrozenPart,
        key: str,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]],
        num_views: int,
        device: torch.device,
        progress: Progress | None = None,
    ) -> None:
        self._part = part
        self._key = key
        self._normalisation = normalisation
        self._num_views = num_views
        self._device = device
        self._progress = progress
        # address of pixels -> the pixels, which keep the address theirs, and their hashes
        self._digests: dict[int, tuple[Tensor, PixelHashes]] = {}
        # address of pixels and number of views -> features, and which of their rows are there
        self._known: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}

    def store(self, data: StoreData) -> StoreData:
        """Return a store's images with features in place of pixels.

        Raises:
            DataError: the cache cannot be written.
        """
        (train,) = self.training([data.train])
        return StoreData(train, *self.held_out([data.validation, data.test]))

    def training(self, sets: Sequence[Images]) -> list[Images]:
        """Return training images with the features of all views in place of pixels.

        Raises:
            DataError: the cache cannot be written.
        """
        return self._extract(sets, self._num_views)

    def held_out(self, sets: Sequence[Images]) -> list[Images]:
        """Return images for evaluation with features in place of pixels.

        Raises:
            DataError: the cache cannot be written.
        """
        return self._extract(sets, 1)

    def _extract(self, sets: Sequence[Images], count: int) -> list[Images]:
        """Return the sets with features of `count` views; sets of one array share one again."""
        by_array: dict[int, list[Images]] = defaultdict(list)
        for images in sets:
            if len(images):
                by_array[images.inputs.data_ptr()].append(images)
        features = {
            address: self._features(same_array, count) for address, same_array in by_array.items()
        }
        # empty sets, too, can then be joined with others
        nothing = torch.zeros(0, count, *self._part.shape)
        return [
            replace(images, inputs=features[images.inputs.data_ptr()] if len(images) else nothing)
            for images in sets
        ]

    def _features(self, sets: Sequence[Images], count: int) -> Tensor:
        """Return the features of sets of one array: float32 [M, count, *shape]."""
        pixels = sets[0].inputs
        address = pixels.data_ptr()
        rows = torch.cat([images.rows for images in sets]).unique()
        known, present = self._known.get((address, count), (pixels, torch.zeros(len(pixels))))
        if (address, count) in self._known and present[rows].all():
            return known
        if address not in self._digests:
            self._digests[address] = pixels, pixel_hashes(pixels.numpy())
        shape = (count, *self._part.shape)

        def compute(rows: Sequence[int]) -> Iterator[NDArray[np.float32]]:
            size = CPU_PHOTOS_PER_PASS if self._device.type == "cpu" else GPU_PHOTOS_PER_PASS
            passes = [rows[start : start + size] for start in range(0, len(rows), size)]
            for features in self._each(passes, pixels, count):
                yield from features.numpy()

        features = torch.from_numpy(
            open_features(
                f"{self._key} {count}",
                self._digests[address][1],
                rows.numpy(),
                shape,
                compute,
                self._progress,
            )
        )
        present[rows] = 1
        self._known[address, count] = features, present
        return features

    def _each(
        self, passes: Sequence[Sequence[int]], pixels: Tensor, count: int
    ) -> Iterator[Tensor]:
        """Yield the features of some rows of pixels: float32 [K, count, *shape] on the CPU."""

        def features(rows: Sequence[int]) -> Tensor:
            with torch.inference_mode():
                photos = pixels[torch.tensor(rows)].to(self._device)
                of_views = [
                    self._part.backbone(normalise(view, *self._normalisation))
                    for view in views(photos, count)
                ]
                return torch.stack(of_views, dim=1).contiguous().cpu()

        if self._device.type != "cpu":
            yield from map(features, passes)
            return
        # a thread a core, each of which computes alone: the cores never wait for each other
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map_in_order(features, passes)
        finally:
            torch.set_num_threads(threads)


def extractor(
    network: Network, config: RunConfig, progress: Progress | None = None
) -> FeatureExtractor | None:
    """Return the extractor of a run's features.

    Args:
        network: the run's network with its frozen weights
        config: the run's settings
        progress: called while features are computed

    Returns:
        The extractor; None if the run trains on pixels: nothing of the network is frozen, or photos
        change in more ways than a few views.
    """
    part = network.frozen_part
    frozen = network.frozen()
    count = num_views(config.data)
    if part is None or frozen is None or count is None or network.spec.tells_turns:
        return None
    spec = asdict(replace(network.spec, classes=(), dropout=0.0))
    key = json.dumps(
        [FEATURES_VERSION, torch.__version__, frozen_sha256(frozen), spec], sort_keys=True
    )
    return FeatureExtractor(
        part,
        key,
        (network.spec.mean, network.spec.std),
        count,
        network.device,
        progress,
    )


def plan_extractor(
    plan: Plan, device: torch.device, progress: Progress | None = None
) -> FeatureExtractor | None:
    """Return the extractor of a plan's features, for images that no resident network looks at.

    Args:
        plan: the run's plan
        device: the device that computes
        progress: called while features are computed

    Returns:
        The extractor; None: see `extractor`.
    """
    if plan.spec.freeze == "none":
        return None
    network = Network(plan.spec, device)
    if plan.frozen is not None:
        network.load_frozen(plan.frozen)
    return extractor(network, plan.config, progress)
