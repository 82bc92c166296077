"""The part of the server's test images that chooses rounds if no store holds out validation images.

A round that is chosen on the same images as its reported figures has better figures than the model
deserves. So early stopping, or the choice of the best round, costs a fifth of these images, and the
figures are of the others.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.common.training.features import FeatureExtractor
from fedshelf.server.results.delivered_round import has_validation
from fedshelf.server.training.setup import InitialState

SELECTION_ONE_IN = 5  # one in this many images of a class is held out to choose rounds by


@dataclass(frozen=True)
class ServerImages:
    """The server's images for evaluation.

    Attributes:
        test: images for the reported figures
        validation: images for the choice of rounds; None if they are not needed
    """

    test: Images | None
    validation: Images | None = None

    def with_features(self, extractor: FeatureExtractor) -> "ServerImages":
        """Return the same images with features in place of pixels.

        Raises:
            DataError: the cache of features cannot be written
        """
        sets = [images for images in (self.test, self.validation) if images is not None]
        features = iter(extractor.held_out(sets))
        return ServerImages(self.test and next(features), self.validation and next(features))

    @property
    def told(self) -> str:
        """A sentence for a person; empty if nothing is held out."""
        if self.test is None or self.validation is None:
            return ""
        held = len(self.validation)
        whole = len(self.test) + len(self.validation)
        return (
            f"No store tells results on validation images of its own: {held:,} of the server's"
            f" {whole:,} test images"
            " choose the round, and test figures are of the others."
        )


def divide(
    start: InitialState, stores: Mapping[str, StoreInfo], images: Images | None
) -> ServerImages:
    """Hold out some of the server's images if nothing else can choose rounds.

    Raises:
        ConfigError: there are none that can
    """
    config = start.plan.config
    if not is_chosen(config) or has_validation(config, stores):
        return ServerImages(images)
    # else only stores can judge the model
    is_whole = not strategies.build(config.strategy, start.layout).personal_tensors()
    divided = split(images) if images is not None and is_whole else ServerImages(images)
    if divided.validation is None:
        raise ConfigError(nothing_to_choose_on(config))
    return divided


def is_chosen(config: RunConfig) -> bool:
    """Return whether the settings ask for rounds to be compared.

    Early stopping does, and the choice of the best round.
    """
    return config.evaluation.patience > 0 or config.run.deliver == "best"


def nothing_to_choose_on(config: RunConfig) -> str:
    """Return the message for settings that compare rounds without images to do it on."""
    setting = "run.deliver got 'best'"
    if config.run.deliver != "best":
        setting = f"evaluation.patience got {config.evaluation.patience}"
    return (
        f"Setting {setting}, but there is nothing to choose rounds on: no store tells results on"
        " validation images of its own, and the server has no test images to spare (one in"
        f" {SELECTION_ONE_IN} of each class would do); leave the setting out, or let stores hold"
        " some out (in a simulation, data.holdout = 0.1), and tell results (in a policy,"
        " epsilon_judging)."
    )


def split(images: Images) -> ServerImages:
    """Hold out a fifth of each class, chosen by a hash of the pixels.

    The choice does not depend on the order of the images, and takes all of equal images or none. It
    takes none if each class has fewer than five images.
    """
    indices_by_class: dict[int, dict[bytes, list[int]]] = {}
    pixels = images.inputs.cpu()
    labels = images.targets().tolist()
    for index, (row, label) in enumerate(zip(images.rows.tolist(), labels, strict=True)):
        digest = hashlib.blake2b(pixels[row].numpy().tobytes(), digest_size=16).digest()
        indices_by_class.setdefault(label, {}).setdefault(digest, []).append(index)
    held: set[int] = set()
    for alike in indices_by_class.values():
        wanted = sum(map(len, alike.values())) // SELECTION_ONE_IN
        for _, indices in sorted(alike.items()):
            if len(indices) <= wanted:
                held.update(indices)
                wanted -= len(indices)
    if not held:
        return ServerImages(images)
    is_held = torch.tensor([index in held for index in range(len(images))])
    parts = (
        images.select(which.nonzero().squeeze(1).to(images.rows.device))
        for which in (~is_held, is_held)
    )
    return ServerImages(*parts)
