"""The images of a real store: its folder of photos, as it is when an order comes."""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from fedshelf.client.failures import StoreError
from fedshelf.common.classes.spelling import class_indices
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.forget import forget_deleted
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.images.folder.photo_folder import (
    FolderOptions,
    PhotoFolder,
    open_folder,
    relabel,
)
from fedshelf.common.images.folder.photo_index import PhotoIndex
from fedshelf.common.images.folder.watch import Snapshot
from fedshelf.common.images.listing.reachable import UnreachableError, check_reachable
from fedshelf.common.images.types import StoreData
from fedshelf.common.models.spec import STORE_CHANNELS
from fedshelf.common.protocol.failures import FailureCode
from fedshelf.common.protocol.messages import Plan, StoreInfo
from fedshelf.common.scenes.folder.run_classes import UnknownClassError
from fedshelf.common.scenes.folder.scene_photos import open_scene_photos
from fedshelf.common.tasks import TASKS, SceneTask
from fedshelf.common.tasks.turns import as_rotation_task

LOG = logging.getLogger("fedshelf.store")

# the server asks again after it, and waits for other stores until then: a person must move a folder
UNKNOWN_CLASS_RETRY_SECONDS = 60


class PhotoRules(Protocol):
    """A store's rules for its photos; its policy has them (`client.policy.policy.Policy`)."""

    @property
    def class_names(self) -> bool:
        """Permission for the names of the store's classes to leave it."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes that a run must have; empty: any."""

    @property
    def epsilon(self) -> float:
        """Most that may be told of one photo; 0: no such limit."""

    @property
    def least_images_per_class(self) -> int:
        """Number of images below which a class is left out of everything."""


class FolderSource:
    """A `client.worker.worker.DataSource` over a folder or a CSV file of photos, less those that
    `rules` exclude.

    It looks for changes before each order of any kind: a photo that is gone is not used any more.

    Args:
        on_change: Called with each change, as a sentence without names of photos.
        index: List of the photos, if this process has made one already.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        rules: PhotoRules,
        on_change: Callable[[str], None] = LOG.info,
        index: PhotoIndex | None = None,
    ) -> None:
        self._name = name
        self._path = path
        self._rules = rules
        self._on_change = on_change
        self._index = index or PhotoIndex(path)
        self._snapshot = self._index.latest
        # the sentence to tell if photos that were there cannot be read; else empty
        self._unreachable = ""
        self._opened: tuple[str, StoreData] | None = None  # a run's identity, and its images
        self._classes: tuple[str, ...] | None = None

    def check_changes(self) -> bool:
        """Read changes since the last look, and return whether there may be any.

        Photos that are gone or were changed are dropped from this process's memory and from the
        pixel cache at once. Photos that cannot be reached are dropped from memory only; the next
        look searches for them again.
        """
        before = self._snapshot
        now = self._index.look()
        if before.is_current(now) and not self._unreachable:
            return False
        self._opened = None
        is_emptied = now.is_emptied(before, self._path)
        if not self._is_reachable(before, now, is_emptied=is_emptied):
            self.forget_deleted()  # after a week without them
            return True
        self._snapshot = now
        if (change := before.difference(now)) is not None:
            self._on_change(f"The photos have changed: {change}.")
            if change.removed or change.changed:
                self.forget_deleted(is_emptied=is_emptied)
        return True

    def _is_reachable(self, before: Snapshot, now: Snapshot, *, is_emptied: bool) -> bool:
        """Return whether missing photos were deleted; report once if they may still exist."""
        was_unreachable = self._unreachable
        self._unreachable = ""
        present = set(now.paths())
        try:
            check_reachable(
                (path for path in before.paths() if path not in present),
                is_any_left=bool(present) or is_emptied,
            )
        except UnreachableError as error:
            self._unreachable = str(error)
            if not was_unreachable:
                self._on_change(self._unreachable)
        return not self._unreachable

    def forget_deleted(self, *, is_emptied: bool = False) -> None:
        """Drop photos that are gone from the pixel cache; report it if the disk prevents that.

        Args:
            is_emptied: True if the folder is empty because its photos were surely deleted.
        """
        try:
            forget_deleted(self._path, self._snapshot.paths(), is_emptied=is_emptied)
        except OSError as error:
            LOG.warning(
                "Photos that were deleted could not be taken out of the pixel cache (%s).",
                error.strerror,
            )

    def describe(self, config: RunConfig) -> StoreInfo:
        """Count the training images by class, and those held out. Raises DataError."""
        self.check_changes()
        folder = self._open(config)
        train = folder.splits["train"]
        counts = Counter(train.targets().tolist())
        return StoreInfo(
            self._name,
            {name: counts.get(label, 0) for label, name in enumerate(folder.classes)},
            validation=len(folder.splits["validation"]),
            test=len(folder.splits["test"]),
        )

    def open(self, plan: Plan) -> StoreData:
        """Return the photos, labelled by the run's classes.

        They are opened once per run, and anew whenever they have changed. Raises DataError;
        StoreError for a class that is not in the run. If the store's class names are private, the
        error does not reveal this reason.
        """
        self.check_changes()
        if self._opened is None or self._opened[0] != plan.run_id:
            self._opened = None
            self._opened = (plan.run_id, self._open_labelled(plan))
        return self._opened[1]

    def _open_labelled(self, plan: Plan) -> StoreData:
        folder = self._open(plan.config)
        classes = plan.spec.classes
        try:
            splits = relabel(folder, classes, merge=plan.config.data.merge_spellings).splits
        except DataError as error:
            raise self._unknown_class(error) from error
        return StoreData(splits["train"], splits["validation"], splits["test"])

    def _open(self, config: RunConfig) -> PhotoFolder:
        """Open the folder: photos are decoded once, into a cache, so only the first time is slow.

        Raises StoreError, DataError.
        """
        if self._unreachable:
            raise StoreError("data", self._unreachable, "photos-unreachable")
        size = config.data.image_size
        denoise = config.data.denoise
        turns = config.train.objective == "turns"
        classes = () if turns else config.data.classes or self._rules.classes
        try:
            if isinstance(task := TASKS[config.train.objective], SceneTask):
                form = PixelFormat(size, STORE_CHANNELS, denoise)
                scenes = self._open_scenes(task, form, config)
                return drop_rare_classes(scenes, self._rules.least_images_per_class)
            folder = open_folder(
                self._path,
                image_size=size,
                channels=STORE_CHANNELS,
                denoise=denoise,
                unlabelled=turns,
                options=FolderOptions(
                    config.data.split, classes, listing=self._index.listing(classes)
                ),
            )
        except UnreachableError as error:
            raise StoreError("data", str(error), "photos-unreachable") from error
        self._compare_classes(folder.classes)
        if self._rules.epsilon:
            # else a single photo of another class would keep the store from taking part
            folder = keep_classes(folder, self._rules.classes)
        # before anything is counted or trained
        folder = drop_rare_classes(folder, self._rules.least_images_per_class)
        return as_rotation_task(folder) if turns else folder

    def _open_scenes(self, task: SceneTask, form: PixelFormat, config: RunConfig) -> PhotoFolder:
        """Open the folder as scenes. Raises StoreError, DataError."""
        classes = task.scene_classes(config.data)
        try:
            return open_scene_photos(self._path, form, config.data.split, task.name, classes)
        except UnknownClassError as error:
            raise self._unknown_class(error) from error

    def _unknown_class(self, error: DataError) -> StoreError:
        """Return the error about a class that is not in the run, for the server.

        A store that keeps its class names to itself does not tell which one is unknown.
        """
        code: FailureCode = "unknown-class" if self._rules.class_names else "data"
        return StoreError(code, str(error), retry_after=UNKNOWN_CLASS_RETRY_SECONDS)

    def _compare_classes(self, classes: tuple[str, ...]) -> None:
        before = self._classes
        self._classes = classes
        if before is None or before == classes:
            return
        changes = []
        if (new := {*classes} - {*before}) and not self._rules.epsilon:
            changes.append(
                f"{_quote_names(new)} is new, and a run that does not know it cannot use this"
                " store's photos"
            )
        if gone := {*before} - {*classes}:
            changes.append(f"{_quote_names(gone)} has no photo left")
        if changes:
            self._on_change(f"The classes have changed: {'; '.join(changes)}.")


def _quote_names(names: set[str]) -> str:
    return ", ".join(map(repr, sorted(names)))


def drop_rare_classes(folder: PhotoFolder, min_images: int) -> PhotoFolder:
    """Return the folder without the images, in each split, of classes with fewer than `least`
    images there.

    The remaining images do not depend on those left out; so nothing computed from them (counts,
    losses, weights) does either, whatever the server asks.
    """
    return _select_classes(
        folder, lambda targets: targets.bincount(minlength=len(folder.classes)) >= min_images
    )


def keep_classes(folder: PhotoFolder, names: Sequence[str]) -> PhotoFolder:
    """Return the folder without the images of classes that have none of the names."""
    known = class_indices(folder.classes, names, merge=False)
    if others := {*folder.classes} - known.keys():
        LOG.warning("The policy's classes lack %s: such photos are not used.", _quote_names(others))
    is_known = torch.tensor([name in known for name in folder.classes], dtype=torch.bool)
    return _select_classes(folder, lambda _: is_known)


def _select_classes(folder: PhotoFolder, select: Callable[[Tensor], Tensor]) -> PhotoFolder:
    """Return the folder with the images of some of its classes.

    Args:
        select: From the targets of a split's images, int64 [N], to the choice of classes in this
            split, bool [C].
    """
    if not folder.classes:
        return folder
    splits = {}
    present = torch.zeros(len(folder.classes), dtype=torch.bool)
    for split, images in folder.splits.items():
        targets = images.targets()
        splits[split] = images.select(select(targets)[targets].nonzero().flatten())
        present[splits[split].targets()] = True
    labels = (present.cumsum(0) - 1).clamp(min=0)[next(iter(splits.values())).labels]
    return replace(
        folder,
        classes=tuple(
            name
            for name, is_present in zip(folder.classes, present.tolist(), strict=True)
            if is_present
        ),
        splits={split: replace(images, labels=labels) for split, images in splits.items()},
    )
