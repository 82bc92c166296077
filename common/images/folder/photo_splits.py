"""The splits of photos: from the names of their own sub-folders, or else by content."""

from collections.abc import Sequence

from fedshelf.common.images.folder.scan import Photo
from fedshelf.common.images.listing.split import HeldOut, Split, SplitRule, splits_by_content


def assign_splits(
    photos: Sequence[Photo], digests: Sequence[bytes], rule: SplitRule = "class"
) -> list[Split]:
    """Return the split of each photo.

    digests: hashes of the photos' contents, in the same order
    rule:    see `common.images.listing.split`
    """
    given = {photo.split for photo in photos} - {None}
    held_out: set[HeldOut] = {"validation"} if given else {"validation", "test"}
    held_out -= given
    rows = [row for row, photo in enumerate(photos) if photo.split in (None, "train")]
    found = splits_by_content(
        [photos[row].label for row in rows], [digests[row] for row in rows], held_out, rule
    )
    chosen = {row: photo.split for row, photo in enumerate(photos) if photo.split}
    chosen |= zip(rows, found, strict=True)
    return [chosen[row] for row in range(len(photos))]
