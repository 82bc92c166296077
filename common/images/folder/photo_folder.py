"""A store's photos, opened: scanned, decoded, split, and summarized in plain words."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from fedshelf.common.classes.spelling import class_indices, normalize_name
from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.cache import Progress, open_pixels
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat
from fedshelf.common.images.folder.left_out import format_left_out
from fedshelf.common.images.folder.scan import Photo, Scan, assign_splits, expected_layout, scan
from fedshelf.common.images.listing.split import SPLITS, Split, SplitRule
from fedshelf.common.images.types import Images
from fedshelf.common.suggest import nearest
from fedshelf.common.wording import format_count

EMPTY_CLASS = "empty class"


@dataclass(frozen=True)
class PhotoFolder:
    """Photos ready for training.

    classes: names of the classes that have usable photos, sorted; labels count from 0 in this order
    splits: train, validation and test, each possibly empty, sharing one memory-mapped array
    left_out: (name relative to the folder, reason) of files that could not be used, sorted
    duplicates: photos whose content equals that of an earlier one (they are kept, all in one split
        unless the folder's own sub-folders separate them)
    unlabelled: photos without a class, as `splits`; their label, -1, means nothing. Empty unless
        asked for
    unopened_photos: number of photos without a class, if they were not asked for
    given_splits: the splits that the folder's own sub-folders name
    notes: sentences about how a CSV file was read
    """

    classes: tuple[str, ...]
    splits: Mapping[Split, Images]
    left_out: tuple[tuple[str, str], ...]
    duplicates: int
    unlabelled: Mapping[Split, Images]
    unopened_photos: int
    given_splits: frozenset[Split] = frozenset()
    notes: tuple[str, ...] = ()

    def untrained_classes(self) -> tuple[str, ...]:
        """Return the classes that have images held out, and none to train on under any spelling.

        Several spellings of one class are merged or refused later.
        """
        trained = {
            normalize_name(self.classes[label])
            for label in set(self.splits["train"].targets().tolist())
        }
        held_out = {label for images in self.splits.values() for label in images.targets().tolist()}
        return tuple(
            self.classes[label]
            for label in sorted(held_out)
            if normalize_name(self.classes[label]) not in trained
        )

    def summary(self) -> str:
        """Return one sentence or two for a person."""
        sizes = {split: len(images) for split, images in self.splits.items()}
        parts = ", ".join(f"{size} {split}" for split, size in sizes.items())
        text = (
            f"{format_count(sum(sizes.values()), 'image')} in"
            f" {format_count(len(self.classes), 'class', 'classes')} ({parts})"
        )
        if without := sum(map(len, self.unlabelled.values())):
            text += f" and {format_count(without, 'image')} without a class"
        if self.duplicates:
            text += (
                f"; {self.duplicates} of them {'a copy' if self.duplicates == 1 else 'copies'} of"
                " another"
            )
        if self.unopened_photos:
            text += f"; {format_count(self.unopened_photos, 'photo')} without a class not used"
        if untrained := self.untrained_classes():
            text += f"; nothing to train on, only images held out, of {', '.join(untrained)}"
        if self.left_out:
            text += f"; left out {format_left_out(self.left_out)}"
        return " ".join(f"{sentence}." for sentence in (text, *self.notes))


@dataclass(frozen=True)
class FolderOptions:
    """Options for reading the photos of a folder.

    rule:    how photos are held out; see `common.images.listing.split`
    classes: names that are known to be classes; see `scan`
    store:   for a CSV file with a column of stores, the one whose photos are wanted; None: all
    listing: the result of `scan`, if it is known already; None: the folder is scanned
    """

    rule: SplitRule = "class"
    classes: Collection[str] = ()
    store: str | None = None
    listing: Scan | None = None


DEFAULT_OPTIONS = FolderOptions()


def open_folder(
    path: Path,
    *,
    image_size: int,
    channels: int,
    denoise: int = 0,
    unlabelled: bool = False,
    options: FolderOptions = DEFAULT_OPTIONS,
    progress: Progress | None = None,
) -> PhotoFolder:
    """Open a folder of photos, or a CSV file of image,label: see `scan` for the layouts.

    The splits are the folder's own sub-folders; without them 80:10:10 of each class by content; if
    there are some but none for validation, a tenth of train becomes validation. The order of images
    depends on names only. Photos are decoded once, into a cache: see `common.images.cache`.

    Args:
        path: the folder, or the CSV file
        image_size: pixels, side of the squares to which photos are decoded
        channels: 1 (grey) or 3 (RGB)
        denoise: pixels, side of a median filter; 0: none
        unlabelled: open photos without a class, too; without this, they are not even decoded
        options: see `FolderOptions`
        progress: gets (done, total) while photos are decoded

    Raises:
        DataError: nothing is usable, the layout is wrong or the cache cannot be written
        UnreachableError: photos that were there may be on a disk that is away
    """
    scanned = options.listing or scan(path, options.classes)
    root = path
    if options.store is not None:
        scanned = scanned.of_store(options.store)
        root = path / options.store
    form = PixelFormat(image_size, channels, denoise)
    photos = [*scanned.photos, *(scanned.unlabelled if unlabelled else ())]
    unopened = 0 if unlabelled else len(scanned.unlabelled)
    decoded = open_pixels(root, [photo.path for photo in photos], form, progress)
    usable, digests, unusable = separate_unusable(photos, decoded.digests)
    left_out = [*scanned.left_out, *unusable]
    classes = tuple(sorted({photo.label for photo in usable} - {""}))
    left_out += [(label, EMPTY_CLASS) for label in scanned.labels - set(classes)]
    if not usable:
        raise DataError(_nothing_usable(path, left_out, unopened))
    labels = {"": -1} | {name: label for label, name in enumerate(classes)}
    whole = Images.whole(
        torch.from_numpy(decoded.pixels), torch.tensor([labels[photo.label] for photo in usable])
    )
    split_of = list(zip(usable, assign_splits(usable, digests, options.rule), strict=True))
    return PhotoFolder(
        classes=classes,
        splits=_select(whole, [split if photo.label else None for photo, split in split_of]),
        left_out=tuple(sorted(left_out)),
        duplicates=len(digests) - len(set(digests)),
        unlabelled=_select(whole, [None if photo.label else split for photo, split in split_of]),
        unopened_photos=unopened,
        given_splits=frozenset(photo.split for photo in usable if photo.split),
        notes=scanned.notes,
    )


def separate_unusable(
    photos: Sequence[Photo], digests: Sequence[bytes | NotUsableError]
) -> tuple[list[Photo], list[bytes], list[tuple[str, str]]]:
    """Separate photos that cannot be used from the others.

    Args:
        photos: files that may be photos
        digests: for each, the hash of its content, or the reason why it cannot be used

    Returns:
        the usable photos, their hashes in the same order, and (name, reason) of the others
    """
    usable = []
    usable_digests = []
    left_out = []
    for photo, digest in zip(photos, digests, strict=True):
        if isinstance(digest, NotUsableError):
            left_out.append((photo.name, str(digest)))
        else:
            usable.append(photo)
            usable_digests.append(digest)
    return usable, usable_digests, left_out


def _select(whole: Images, split_of_rows: Sequence[Split | None]) -> dict[Split, Images]:
    """Return the images of each split, given the split of each row; None: the row is in none."""
    rows = {
        name: [row for row, split in enumerate(split_of_rows) if split == name] for name in SPLITS
    }
    return {
        name: whole.select(torch.tensor(positions, dtype=torch.int64))
        for name, positions in rows.items()
    }


def relabel(folder: PhotoFolder, classes: tuple[str, ...], *, merge: bool = False) -> PhotoFolder:
    """Return the same photos with labels that index the run's ordered list of classes.

    Args:
        folder: photos with labels that index `folder.classes`
        classes: the run's classes
        merge: True if a class may be spelt differently there; see `common.classes.spelling`

    Raises:
        DataError: a class of the folder is not in the list; it names the first, and the nearest
            that is
    """
    indices = class_indices(folder.classes, classes, merge=merge)
    for name in folder.classes:
        if name not in indices:
            raise DataError(_unknown_class(name, classes))
    new_labels = [indices[name] for name in folder.classes]
    splits = {split: images.relabel(new_labels) for split, images in folder.splits.items()}
    return replace(folder, classes=classes, splits=splits)


def _unknown_class(name: str, classes: tuple[str, ...]) -> str:
    near = nearest(name, classes)
    hint = f"; the nearest is {near!r}" if near else f"; they are {', '.join(classes)}"
    return (
        f"Class {name!r} is not one of the run's {len(classes)} classes{hint}. "
        "Rename or move that folder, or have the server add the class."
    )


def _nothing_usable(path: Path, left_out: list[tuple[str, str]], unopened: int) -> str:
    got = format_left_out(sorted(left_out)) if left_out else "nothing"
    if unopened:
        got = (
            f"{format_count(unopened, 'photo')} without a class, which teach turns only"
            " (train.objective)"
        )
    return f"No usable image in {path}: expected {expected_layout(path)}; found {got}."
