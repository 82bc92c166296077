"""Features: the output of the frozen part of a network, computed once for each image.

    pixels -> views (the photo, its mirror image, ...) -> frozen part -> features

With a frozen backbone nothing of it changes during a run, so training, evaluation and comparisons
start from features instead of pixels. The result is that of training through the whole network, to
rounding: a view is drawn as the augmentation would draw it. Features are kept in the cache of
images (`common.images.cache.feature_file`), for all runs with the same backbone.

A photo's features do not depend on the others, so all engines and all stores get the same bits.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedshelf.common.config import RunConfig
from fedshelf.common.images.augment import normalise
from fedshelf.common.images.augment.views import num_views, views
from fedshelf.common.images.cache.feature_file import Progress, open_features
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.models.frozen_part import FrozenPart
from fedshelf.common.protocol.serialization import frozen_sha256
from fedshelf.common.training.fit import Network

# photos that pass through the network together: more take no less time for each
PHOTOS_PER_PASS = {"cpu": 4, "cuda": 64}
VERSION = 1  # of this computation; another one makes other features


@dataclass(frozen=True)
class FeatureExtractor:
    """Computes and keeps the features of images.

    Attributes:
        part: the frozen part of the run's network, and the rest
        key: names the frozen weights and how pixels become their input
        normalisation: mean and deviation of each channel
        views: number of views of a training photo; 1: the photo alone; 2: its mirror image, too
        device: the device that computes
        progress: called while features are computed
    """

    part: FrozenPart
    key: str
    normalisation: tuple[tuple[float, ...], tuple[float, ...]]
    views: int
    device: torch.device
    progress: Progress | None = None

    def store(self, data: StoreData) -> StoreData:
        """Return a store's images with features in place of pixels.

        Raises:
            DataError: the cache cannot be written.
        """
        return StoreData(
            self.training(data.train), self.held_out(data.validation), self.held_out(data.test)
        )

    def training(self, images: Images) -> Images:
        """Return training images with the features of all views in place of pixels.

        Raises:
            DataError: the cache cannot be written.
        """
        return self._extract(images, self.views)

    def held_out(self, images: Images) -> Images:
        """Return images for evaluation with features in place of pixels.

        Raises:
            DataError: the cache cannot be written.
        """
        return self._extract(images, 1)

    def _extract(self, images: Images, count: int) -> Images:
        if not len(images) or images.are_features:
            return images
        shape = (count, *self.part.shape)

        def compute(rows: Sequence[int]) -> Iterator[NDArray[np.float32]]:
            size = PHOTOS_PER_PASS[self.device.type]
            passes = [rows[start : start + size] for start in range(0, len(rows), size)]
            for features in self._each(passes, images.inputs, count):
                yield from features.numpy()

        rows = images.rows.unique().numpy()
        key = f"{self.key} {count}"
        features = open_features(key, images.inputs.numpy(), rows, shape, compute, self.progress)
        return replace(images, inputs=torch.from_numpy(features))

    def _each(
        self, passes: Sequence[Sequence[int]], pixels: Tensor, count: int
    ) -> Iterator[Tensor]:
        """Yield the features of some rows of pixels: float32 [K, count, *shape] on the CPU."""

        def features(rows: Sequence[int]) -> Tensor:
            with torch.inference_mode():
                photos = pixels[torch.tensor(rows)].to(self.device)
                of_views = [
                    self.part.backbone(normalise(view, *self.normalisation))
                    for view in views(photos, count)
                ]
                return torch.stack(of_views, dim=1).contiguous().cpu()

        if self.device.type != "cpu":
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
    key = json.dumps([VERSION, torch.__version__, frozen_sha256(frozen), spec], sort_keys=True)
    return FeatureExtractor(
        part,
        key,
        (network.spec.mean, network.spec.std),
        count,
        network.device,
        progress,
    )
