"""The image formats that can be read, and their detection by a file's first bytes.

AVIF and HEIC share a container (ISO 14496-12): its first box, `ftyp`, lists the brands of its
content. Pillow reads AVIF; HEIC, which iPhones write, needs the package `pi-heif`.
"""

import re
from functools import cache

from PIL import features

PLAIN_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
NEEDS_PI_HEIF = "HEIC, readable once pi-heif is installed (pip install pi-heif)"
NO_IMAGE = "not an image"
NEEDS_AVIF = "AVIF, which this Pillow cannot read"

# also the odd ones that Pillow takes
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_FORMAT_MAGICS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"BM", *TIFF_MAGIC)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}

# a reference from metadata to their image
_METADATA_REFERENCE = re.compile(rb"(\x00\x00\x00.)cdsc", re.DOTALL)


def without_metadata(heif: bytes) -> bytes:
    """Return a HEIC file whose EXIF and XMP belong to no image.

    The container's own properties turn it upright. pi-heif 1.4 ends the process, in C, for a file
    whose metadata are of a damaged type.
    """
    return _METADATA_REFERENCE.sub(rb"\1skip", heif)


def possible_formats(data: bytes) -> tuple[str, ...]:
    """Return Pillow's names of the formats that a file may have; () if no photo begins so.

    Args:
        data: the file, or its first 512 bytes
    """
    if data[4:8] != b"ftyp":
        return PLAIN_FORMATS
    length = min(int.from_bytes(data[:4]), len(data), 512)
    major = data[8:12]
    others = {data[offset : offset + 4] for offset in range(16, length - 3, 4)}
    for brands in ({major}, others):
        if brands & _AVIF_BRANDS:
            return ("AVIF",)
        if brands & _HEIC_BRANDS:
            return ("HEIF",)
    return ("AVIF", "HEIF") if major in (b"mif1", b"msf1") else ()


def rejection_reason(start: bytes) -> str:
    """Return why a file is no photo, by its first bytes; empty if it may be one.

    Args:
        start: the first 32 bytes or more, if the file has them
    """
    if not start:
        return "empty file"
    if start[4:8] == b"ftyp":
        formats = possible_formats(start)
        return missing_reader(formats) if formats else NO_IMAGE
    is_webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return "" if is_webp or start.startswith(_FORMAT_MAGICS) else NO_IMAGE


def missing_reader(formats: tuple[str, ...]) -> str:
    """Return why files of these formats cannot be read on this machine; empty if they can."""
    if formats == ("HEIF",) and not heif_version():
        return NEEDS_PI_HEIF
    return NEEDS_AVIF if formats == ("AVIF",) and not features.check("avif") else ""


@cache
def heif_version() -> str:
    """Register pi-heif with Pillow and return its version; empty if it is not installed."""
    try:
        import pi_heif
    except (ImportError, OSError):  # OSError: its library does not fit this machine
        return ""
    # Thumbnails, depth maps and the like would be read in vain.
    pi_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
    return str(pi_heif.__version__)
