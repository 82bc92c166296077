"""A store's photos as the checks see them: read once, measured, and not kept."""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from client.health.look import Look, look_at
from common.errors import DataError
from common.images import contents
from common.images.cache import remembered
from common.images.decode import NotUsableError
from common.images.folder import splits_of
from common.images.listing import is_photo
from common.images.parallel import in_order
from common.images.scan import Photo, Scan, scan
from common.images.split import Split

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Seen:
    """A photo that training can use; in a quick check, one that it may be able to use.

    digest: of the file's content; None if it was not read
    look:   None if it was not read
    """

    photo: Photo
    digest: bytes | None = None
    look: Look | None = None


@dataclass(frozen=True)
class Photos:
    """All that a folder holds.

    trouble:  why the folder cannot be read at all, or nothing
    usable:   in the order of names
    left_out: (name, reason) of photos and folders that cannot be used, sorted
    strays:   the same of files that are no photos by their names either
    empty:    classes without a usable photo
    is_table: whether a CSV file names the photos
    """

    trouble: str = ""
    usable: tuple[Seen, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    strays: tuple[tuple[str, str], ...] = ()
    empty: tuple[str, ...] = ()
    is_table: bool = False

    def per_class(self) -> dict[str, int]:
        """Class -> photos, sorted by name."""
        return dict(sorted(Counter(seen.photo.label for seen in self.usable).items()))

    def splits(self) -> dict[str, Counter[Split]] | None:
        """Class -> photos per split, as training will have it; None unless all photos were read."""
        digests = [seen.digest for seen in self.usable if seen.digest is not None]
        if len(digests) < len(self.usable):
            return None
        photos = [seen.photo for seen in self.usable]
        counts: dict[str, Counter[Split]] = {label: Counter() for label in self.per_class()}
        for photo, split in zip(photos, splits_of(photos, digests), strict=True):
            counts[photo.label][split] += 1
        return counts


def glance(data: Path, classes: Collection[str] = ()) -> Photos:
    """By names, sizes and first bytes alone, and by what is remembered of photos that were read before."""
    try:
        found = scan(data, classes)
    except DataError as error:
        return Photos(trouble=str(error), is_table=data.is_file())
    known = remembered(data)
    seen = [*in_order(partial(_remembered, known=known), found.photos)]
    return _photos(data, found, seen)


def gather(data: Path, progress: Progress | None = None, classes: Collection[str] = ()) -> Photos:
    """Read and measure all photos, a thread per core; `progress` gets (done, total)."""
    try:
        found = scan(data, classes)
    except DataError as error:
        return Photos(trouble=str(error), is_table=data.is_file())
    seen: list[Seen | NotUsableError] = []
    for one in in_order(_seen, found.photos):
        seen.append(one)
        if progress:
            progress(len(seen), len(found.photos))
    return _photos(data, found, seen)


def _photos(data: Path, found: Scan, seen: list[Seen | NotUsableError]) -> Photos:
    usable = tuple(one for one in seen if isinstance(one, Seen))
    left_out = list(found.left_out)
    for photo, one in zip(found.photos, seen, strict=True):
        if isinstance(one, NotUsableError):
            left_out.append((photo.name, str(one)))
    strays = {entry for entry in left_out if _is_stray(data, *entry)}
    empty = found.labels - {one.photo.label for one in usable}
    return Photos(
        usable=usable,
        left_out=tuple(sorted({*left_out} - strays)),
        strays=tuple(sorted(strays)),
        empty=tuple(sorted(empty)),
        is_table=data.is_file(),
    )


def _is_stray(data: Path, name: str, reason: str) -> bool:
    """Whether it is a licence or a list that lies about; what a CSV file names is meant to be a photo."""
    return data.is_dir() and not is_photo(name) and not reason.startswith("unreadable") and not (data / name).is_dir()


def _seen(photo: Photo) -> Seen | NotUsableError:
    try:
        data = contents.read_photo(photo.path)
        return Seen(photo, contents.digest_of(data), look_at(data))
    except NotUsableError as error:
        return error
    except MemoryError:
        return NotUsableError("too large for this machine's memory")


def _remembered(photo: Photo, known: contents.Known) -> Seen | NotUsableError:
    if reason := contents.objection(photo.path):
        return NotUsableError(reason)
    if contents.is_unchanged(photo.path, known):
        return Seen(photo, bytes.fromhex(known[str(photo.path)][1]))
    return Seen(photo)
