"""Facts that a photo's header tells without its pixels: its size, and when it was taken."""

from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal, NamedTuple

from fedshelf.common.images.decoding.content_digests import read_photo, rejection_reason
from fedshelf.common.images.decoding.decode import NotUsableError, open_photo

TimeSource = Literal["camera", "file"]

# EXIF 2.32
_ORIENTATION_TAG = 0x0112
_EXIF_TAGS = 0x8769
_DATE_TIME_ORIGINAL = 0x9003
_FIRST_SIDEWAYS = 5  # orientations from here on swap width and height
_LAST_ORIENTATION = 8
_JPEG_MAGIC = b"\xff\xd8\xff"
_JPEG_HEADER_BYTES = 2**18  # thumbnails and colour profiles included


class StoredSize(NamedTuple):
    """The size of a photo's stored pixels, and how a viewer turns them upright.

    orientation: of EXIF, 1 (upright as stored) to 8; 5 and more swap width and height
    """

    width: int
    height: int
    orientation: int

    @property
    def upright(self) -> tuple[int, int]:
        """The width and height as people see the photo (pixels)."""
        is_sideways = self.orientation >= _FIRST_SIDEWAYS
        return (self.height, self.width) if is_sideways else (self.width, self.height)


def stored_size(path: Path) -> StoredSize:
    """Return the size of a photo's stored pixels, and its orientation.

    Raises:
        NotUsableError: it has no header that can be read
    """
    start = _beginning(path)
    # a JPEG has its EXIF and its size before its pixels, which are most of the file
    if start.startswith(_JPEG_MAGIC):
        with suppress(Exception):
            return _size_in(start)
    data = read_photo(path)
    try:
        return _size_in(data)
    except NotUsableError:
        raise
    except Exception as error:  # Pillow raises nearly everything on broken files
        raise NotUsableError("broken") from error


def _size_in(data: bytes) -> StoredSize:
    """Return the size that a header tells. Raises what Pillow raises."""
    with open_photo(data) as image:
        try:
            turn = image.getexif().get(_ORIENTATION_TAG, 1)
        except Exception:  # a malformed EXIF block turns nothing
            turn = 1
        is_known = isinstance(turn, int) and 1 <= turn <= _LAST_ORIENTATION
        return StoredSize(*image.size, turn if is_known else 1)


def _beginning(path: Path) -> bytes:
    """Return the first bytes of a file that may be a photo. Raises NotUsableError."""
    if reason := rejection_reason(path):
        raise NotUsableError(reason)
    try:
        with path.open("rb") as file:
            return file.read(_JPEG_HEADER_BYTES)
    except OSError as error:
        raise NotUsableError(f"unreadable: {error.strerror}") from error


def upright_size(path: Path) -> tuple[int, int]:
    """Return the width and height of a photo as people see it, turned upright (pixels).

    Raises:
        NotUsableError: it has no header that can be read
    """
    return stored_size(path).upright


def time_taken(path: Path) -> tuple[datetime, TimeSource]:
    """Return when a photo was taken, in local time, and who says so.

    The camera does (EXIF DateTimeOriginal, which has no time zone), else the file's modification
    time has to do.

    Raises:
        OSError: there is no such file
    """
    modified = datetime.fromtimestamp(path.stat().st_mtime)
    try:
        with open_photo(read_photo(path)) as image:
            text = image.getexif().get_ifd(_EXIF_TAGS)[_DATE_TIME_ORIGINAL]
            return datetime.strptime(str(text).strip("\0 "), "%Y:%m:%d %H:%M:%S"), "camera"
    except Exception:  # no EXIF, a clock that was never set (0000:00:00), a broken file
        return modified, "file"
