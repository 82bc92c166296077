"""CVAT's `labelmap.txt`: the names of classes, and their colours in masks.

    # label:color_rgb:parts:actions
    background:0,0,0::
    milk:255,0,0::

Source: https://docs.cvat.ai/docs/dataset_management/formats/format-smask/.
"""

from pathlib import Path

from fedshelf.common.errors import DataError

LABEL_MAP = "labelmap.txt"
BACKGROUND = "background"


def read_label_map(path: Path) -> dict[str, tuple[int, ...]]:
    """Return name -> red, green and blue (0 to 255), the background among them, as in the file.

    A number above 255 is 256, which no pixel has.

    Raises:
        DataError: the file cannot be read
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}).") from error
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        parts = [part.strip() for part in rest.split(":")[0].split(",")]
        if line.startswith("#") or len(parts) != 3 or not all(map(str.isdecimal, parts)):
            continue
        found[name.strip()] = tuple(min(256, int(part[:4])) for part in parts)
    return found
