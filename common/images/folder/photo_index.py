"""The list of a store's photos, made once and again only when its files have changed.

Who needs the photos in one process asks the same index:

    quick check --+
    describe -----+--> PhotoIndex.listing() --> unchanged: the list that is known
    open ---------+                         \\-> changed:   `scan`, which walks all folders

Whether they have changed is known by a look at names, sizes and times, see
`common.images.folder.watch`.
"""

from collections.abc import Collection
from pathlib import Path

from fedshelf.common.images.folder.scan import Scan, scan
from fedshelf.common.images.folder.watch import Snapshot, Watch
from fedshelf.common.images.listing.split_names import split_named


class PhotoIndex:
    """The photos of a folder or a CSV file, as of the latest look.

    Attributes:
        path: The folder or the CSV file.
        latest: Its files at the latest look; the first one is taken when the index is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._watch = Watch(path)
        self.latest = self._watch.snapshot()
        self._known: tuple[Snapshot, frozenset[str], Scan] | None = None

    def look(self) -> Snapshot:
        """Look at all files again and return what is there now. Never raises."""
        self.latest = self._watch.snapshot()
        return self.latest

    def listing(self, classes: Collection[str] = ()) -> Scan:
        """Return the list of the photos; scan for it only if files have changed since the last one.

        Args:
            classes: Names that are known to be classes, see `scan`.

        Raises:
            DataError: See `scan`.
        """
        # of the names only those that could mean a split change the outcome of a scan
        ambiguous = frozenset(name for name in classes if split_named(name))
        if self._known is not None:
            snapshot, names, known = self._known
            if names == ambiguous and snapshot.is_current(self.latest):
                return known
        listing = scan(self.path, ambiguous)
        self._known = (self.latest, ambiguous, listing)
        return listing
