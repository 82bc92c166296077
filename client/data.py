"""The images of a real store: its folder of photos."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import torch

from client.failures import StoreError
from client.policy import Policy
from common.config import RunConfig
from common.errors import DataError
from common.images.folder import Arrangement, Folder, open_folder, relabel
from common.images.turns import to_turns
from common.images.types import StoreData
from common.orders import STORE_CHANNELS, Plan, StoreInfo


class FolderSource:
    """A `client.work.DataSource` over a folder of photos, or a CSV file of them, without what `policy` leaves out."""

    def __init__(self, name: str, path: Path, policy: Policy | None = None) -> None:
        self._name, self._path, self._policy = name, path, policy or Policy()

    def describe(self, config: RunConfig) -> StoreInfo:
        """Training images by class, and those held out. Raises DataError."""
        folder = self._open(config)
        train = folder.splits["train"]
        counts = Counter(train.targets().tolist())
        return StoreInfo(
            self._name,
            {name: counts.get(number, 0) for number, name in enumerate(folder.classes)},
            validation=len(folder.splits["validation"]),
            test=len(folder.splits["test"]),
        )

    def open(self, plan: Plan) -> StoreData:
        """The photos, labelled by the run's classes. Raises StoreError for a class that is none of them, DataError.

        A store that does not tell its classes' names does not tell either that this was the trouble.
        """
        folder, classes = self._open(plan.config), plan.spec.classes
        try:
            splits = relabel(folder, classes, merge=plan.config.data.merge_spellings).splits
        except DataError as error:
            raise StoreError("unknown-class" if self._policy.class_names else "data", str(error)) from error
        return StoreData(splits["train"], splits["validation"], splits["test"])

    def _open(self, config: RunConfig) -> Folder:
        """Quick but for the first time: photos are decoded once, into a cache."""
        size, denoise = config.data.image_size, config.data.denoise
        turns = config.train.objective == "turns"
        classes = () if turns else config.data.classes or self._policy.classes
        folder = open_folder(
            self._path,
            image_size=size,
            channels=STORE_CHANNELS,
            denoise=denoise,
            unlabelled=turns,
            arrangement=Arrangement(config.data.split, classes),
        )
        folder = without_rare(folder, self._policy.least_images_per_class)
        return to_turns(folder) if turns else folder


def without_rare(folder: Folder, least: int) -> Folder:
    """The folder without those images of a split whose class has fewer than `least` there.

    What remains does not depend on them, so nothing that is computed from it does, whatever the server asks: counts,
    losses and weights.
    """
    if not folder.classes:
        return folder
    splits, present = {}, torch.zeros(len(folder.classes), dtype=torch.bool)
    for split, images in folder.splits.items():
        targets = images.targets()
        is_common = targets.bincount(minlength=len(folder.classes)) >= least
        splits[split] = images.select(is_common[targets].nonzero().flatten())
        present[splits[split].targets()] = True
    labels = (present.cumsum(0) - 1).clamp(min=0)[next(iter(splits.values())).labels]
    return replace(
        folder,
        classes=tuple(name for name, is_present in zip(folder.classes, present.tolist(), strict=True) if is_present),
        splits={split: replace(images, labels=labels) for split, images in splits.items()},
    )
