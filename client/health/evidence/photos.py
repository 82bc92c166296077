"""A store's photos as the checks see them: read once, measured, and not kept in memory."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from fedshelf.client.health.evidence.image_quality import ImageQuality, measure_quality
from fedshelf.client.health.evidence.scene_labels import (
    MaskFacts,
    labels_of,
    labels_of_usable,
    open_masks,
    scan_of,
)
from fedshelf.common.errors import DataError
from fedshelf.common.images.cache.cache import CachedFacts, cached_facts
from fedshelf.common.images.decoding import content_digests
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.decoding.parallel import map_in_order
from fedshelf.common.images.folder.photo_index import PhotoIndex
from fedshelf.common.images.folder.scan import Photo, Scan, assign_splits, is_table, scan
from fedshelf.common.images.listing.folder_entries import is_photo
from fedshelf.common.images.listing.split import Split
from fedshelf.common.scenes.formats.labelled_scene import SceneLabels
from fedshelf.common.wording import format_count

Progress = Callable[[int, int], None]

# the smallest costs least, and whether a photo can be decoded depends on no size
_TRIAL = PixelFormat(16)


@dataclass(frozen=True, eq=False)
class StorePhoto:
    """A photo that training can use; in a quick check, one that it may be able to use.

    Attributes:
        digest: Of the file's content; None if it was not read.
        quality: Its quality measures; None if it was not read.
    """

    photo: Photo
    digest: bytes | None = None
    quality: ImageQuality | None = None


@dataclass(frozen=True)
class PhotoEvidence:
    """The contents of a photo folder.

    Attributes:
        trouble: Why the folder cannot be read at all; empty if it can.
        usable: In the order of names.
        left_out: (name, reason) of photos and folders that cannot be used, sorted.
        strays: The same for files whose names are not those of photos.
        empty: Classes without a usable photo.
        is_table: True if a CSV file names the photos.
        without_class: Number of photos in a folder `unlabelled`.
        notes: Sentences about how a CSV file was read.
        scenes: Labels of the usable photos if they are scenes with boxes; else None.
        masks: Their masks, if these were opened.
    """

    trouble: str = ""
    usable: tuple[StorePhoto, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    strays: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    is_table: bool = False
    without_class: int = 0
    notes: tuple[str, ...] = ()
    scenes: SceneLabels | None = None
    masks: MaskFacts = field(default_factory=MaskFacts)

    def per_class(self) -> dict[str, int]:
        """Count the photos of each class, sorted by name; scenes have the class ""."""
        return dict(sorted(Counter(seen.photo.label for seen in self.usable).items()))

    def summary(self) -> str:
        """Summarize in a sentence or two: the photos for training, their classes or boxes, and the
        photos that are not used.
        """
        sentences = [self.scenes.summary() if self.scenes else self._summary_of_classes()]
        if self.without_class:
            sentences.append(
                f"{self.without_class:,} without a class are for train.objective=turns."
            )
        if reasons := Counter(reason for _, reason in self.left_out + self.strays):
            sentences.append(
                "Not used:"
                f" {', '.join(f'{count:,} {reason}' for reason, count in reasons.most_common())}."
            )
        return " ".join(sentences)

    def _summary_of_classes(self) -> str:
        per_class = self.per_class()
        counts = ", ".join(f"{label} {count}" for label, count in per_class.items())
        classes = (
            f"{format_count(len(per_class), 'class', 'classes')}{f' ({counts})' if counts else ''}"
        )
        return f"{format_count(len(self.usable), 'photo')} of {classes}."

    def splits(self) -> dict[str, Counter[Split]] | None:
        """Count the photos of each class per split, as training will split them; None unless all
        photos were read.
        """
        digests = [seen.digest for seen in self.usable if seen.digest is not None]
        if len(digests) < len(self.usable):
            return None
        photos = [seen.photo for seen in self.usable]
        counts: dict[str, Counter[Split]] = {label: Counter() for label in self.per_class()}
        for photo, split in zip(photos, assign_splits(photos, digests), strict=True):
            counts[photo.label][split] += 1
        return counts


def list_photos(
    data: Path, classes: Collection[str] = (), index: PhotoIndex | None = None
) -> PhotoEvidence:
    """List the photos by names, sizes and first bytes alone, and by the cache of photos that were
    read before.

    Args:
        data: Folder of photos, or a CSV file of them.
        classes: Names that are known to be classes.
        index: List of the photos, if this process has made one already.
    """
    try:
        scenes = labels_of(data)
        listing = scan_of(scenes) if scenes else _listing(data, classes, index)
    except DataError as error:
        return _describe_unreadable(data, error)
    memory = cached_facts(data)
    results = [*map_in_order(partial(_look_up, memory=memory), listing.photos)]
    return _build_evidence(data, listing, results, scenes)


def check_decodable(
    data: Path, progress: Progress | None = None, classes: Collection[str] = ()
) -> PhotoEvidence:
    """Decode each photo that was not decoded before: `usable` then holds exactly the photos that
    training can use.

    A thread per core; `progress` gets (done, total).
    """
    try:
        scenes = labels_of(data)
        listing = scan_of(scenes) if scenes else scan(data, classes)
    except DataError as error:
        return _describe_unreadable(data, error)
    memory = cached_facts(data)
    results = _inspect_all(partial(_decode_once, memory=memory), listing, progress)
    return _build_evidence(data, listing, results, scenes)


def measure_photos(
    data: Path, progress: Progress | None = None, classes: Collection[str] = ()
) -> PhotoEvidence:
    """Read and measure all photos, a thread per core, and open the masks of scenes; `progress`
    gets (done, total) of the photos.
    """
    try:
        scenes = labels_of(data)
        listing = scan_of(scenes) if scenes else scan(data, classes)
    except DataError as error:
        return _describe_unreadable(data, error)
    found = _build_evidence(data, listing, _inspect_all(_measure, listing, progress), scenes)
    return replace(found, masks=open_masks(found.scenes)) if found.scenes else found


def _listing(data: Path, classes: Collection[str], index: PhotoIndex | None) -> Scan:
    return index.listing(classes) if index else scan(data, classes)


def _describe_unreadable(data: Path, error: DataError) -> PhotoEvidence:
    """Describe photos that cannot be listed; this user may have no access to their folder
    either.
    """
    try:
        is_table = data.is_file()
    except OSError:
        is_table = False
    return PhotoEvidence(trouble=str(error), is_table=is_table)


def _inspect_all(
    inspect: Callable[[Photo], StorePhoto | NotUsableError],
    listing: Scan,
    progress: Progress | None,
) -> list[StorePhoto | NotUsableError]:
    results: list[StorePhoto | NotUsableError] = []
    for inspected in map_in_order(inspect, listing.photos):
        results.append(inspected)
        if progress:
            progress(len(results), len(listing.photos))
    return results


def _build_evidence(
    data: Path,
    listing: Scan,
    results: list[StorePhoto | NotUsableError],
    scenes: SceneLabels | None,
) -> PhotoEvidence:
    usable = tuple(result for result in results if isinstance(result, StorePhoto))
    left_out = list(listing.left_out)
    for photo, result in zip(listing.photos, results, strict=True):
        if isinstance(result, NotUsableError):
            left_out.append((photo.name, str(result)))
    # of a folder of scenes only labels and photos are listed
    strays = {entry for entry in left_out if scenes is None and _is_stray(data, *entry)}
    empty = listing.labels - {result.photo.label for result in usable}
    return PhotoEvidence(
        usable=usable,
        left_out=tuple(sorted({*left_out} - strays)),
        strays=tuple(sorted(strays)),
        empty=tuple(sorted(empty)),
        is_table=is_table(data),
        without_class=len(listing.unlabelled),
        notes=listing.notes,
        scenes=scenes and labels_of_usable(scenes, {seen.photo.name for seen in usable}),
    )


def _is_stray(data: Path, name: str, reason: str) -> bool:
    """Return whether a file is a licence or a list, not a photo; a CSV file's entries are meant to
    be photos.
    """
    return (
        data.is_dir()
        and not is_photo(name)
        and not reason.startswith("unreadable")
        and not (data / name).is_dir()
    )


def _measure(photo: Photo) -> StorePhoto | NotUsableError:
    return _inspect(
        photo,
        lambda data: StorePhoto(photo, content_digests.content_digest(data), measure_quality(data)),
    )


def _decode_once(photo: Photo, memory: CachedFacts) -> StorePhoto | NotUsableError:
    seen = _look_up(photo, memory)
    if isinstance(seen, NotUsableError) or (
        seen.digest is not None and seen.digest.hex() in memory.verdicts
    ):
        return seen

    def decoded(data: bytes) -> StorePhoto:
        decode(data, _TRIAL)
        return StorePhoto(photo, content_digests.content_digest(data))

    return _inspect(photo, decoded)


def _inspect(photo: Photo, inspect: Callable[[bytes], StorePhoto]) -> StorePhoto | NotUsableError:
    try:
        return inspect(content_digests.read_photo(photo.path))
    except NotUsableError as error:
        return error
    except MemoryError:
        return NotUsableError("too large for this machine's memory")


def _look_up(photo: Photo, memory: CachedFacts) -> StorePhoto | NotUsableError:
    if reason := content_digests.rejection_reason(photo.path):
        return NotUsableError(reason)
    digest = memory.digest(photo.path)
    if digest is not None and (reason := memory.verdicts.get(digest.hex(), "")):
        return NotUsableError(reason)
    return StorePhoto(photo, digest)
