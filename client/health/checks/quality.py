"""Checks for photos that show too little.

The thresholds were measured on 3,781 photos of clothes: see docs/health.md.
"""

from collections.abc import Callable, Iterator

from fedshelf.client.health.evidence.evidence import Evidence
from fedshelf.client.health.evidence.finding import Exhibit, Finding
from fedshelf.client.health.evidence.image_quality import ImageQuality
from fedshelf.common.wording import format_count

_DARK = 90.0  # of 255, ImageQuality.light: underexposed by three stops
_BURNT = 0.5  # ImageQuality.burnt
_BLANK = 12.0  # of 255, ImageQuality.contrast
_SOFT = 0.76  # pixels of 256, ImageQuality.soft
_SMEARED = 0.6  # ImageQuality.smear
_SMALL = 64  # pixels: the smallest input of the networks for photos
_NARROW = 4.0  # longer side over shorter
# share of photos from which the way of taking them is reported, instead of single photos
_HABIT = 0.3


def dark(evidence: Evidence) -> Iterator[Finding]:
    """Find photos whose brightest parts are dark."""
    yield from _photos(
        evidence,
        lambda look: look.light < _DARK and look.contrast >= _BLANK,
        lambda look: f"brightest part {look.light / 255:.0%}",
        "too dark",
        "Take them again with more light, or delete them.",
    )


def burnt(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that are white where the product is; if there are many, the white ground of a
    studio is named.
    """
    found = [seen for seen in evidence.photos.usable if seen.look and seen.look.burnt > _BURNT]
    if len(found) <= _HABIT * len(evidence.photos.usable):
        yield from _photos(
            evidence,
            lambda look: look.burnt > _BURNT and look.contrast >= _BLANK,
            lambda look: f"middle {look.burnt:.0%} white",
            "over-exposed",
            "Take them again with less light and without flash, or delete them.",
        )


def blank(evidence: Evidence) -> Iterator[Finding]:
    """Find photos of one colour: a covered lens, a file that was half copied."""
    yield from _photos(
        evidence,
        lambda look: look.contrast < _BLANK,
        lambda look: f"contrast {look.contrast / 255:.0%}",
        "of one colour and shows nothing",
        "Delete them.",
        many="of one colour and show nothing",
    )


def blurred(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that are out of focus or shaken."""
    yield from _photos(
        evidence,
        lambda look: (look.soft > _SOFT or look.smear > _SMEARED) and look.contrast >= _BLANK,
        lambda look: "shaken" if look.soft <= _SOFT else "out of focus",
        "blurred",
        "Take them again with the camera held still, or delete them. If it is many: clean the"
        " lens.",
    )


def shape(evidence: Evidence) -> Iterator[Finding]:
    """Find photos with few pixels, or much longer than wide."""
    yield from _photos(
        evidence,
        lambda look: min(look.width, look.height) < _SMALL,
        _size,
        f"smaller than {_SMALL} pixels",
        "Use the camera's own files, not the small previews of a catalogue.",
    )
    yield from _photos(
        evidence,
        lambda look: (
            max(look.width, look.height)
            > _NARROW * min(look.width, look.height)
            >= _NARROW * _SMALL
        ),
        _size,
        f"more than {_NARROW:.0f} times as long as wide",
        "Cut them to the product: photos are squeezed to a square, and little is left of these.",
    )


def _size(look: ImageQuality) -> str:
    return f"{look.width} \N{MULTIPLICATION SIGN} {look.height}"


def _photos(
    evidence: Evidence,
    is_bad: Callable[[ImageQuality], bool],
    remark: Callable[[ImageQuality], str],
    one: str,
    advice: str,
    *,
    many: str = "",
) -> Iterator[Finding]:
    """Report all photos of one kind in one finding."""
    usable = evidence.photos.usable
    bad = [(seen.photo, seen.look) for seen in usable if seen.look and is_bad(seen.look)]
    if bad:
        share = f", {len(bad) / len(usable):.0%} of all" if len(bad) > _HABIT * len(usable) else ""
        what = f"{format_count(len(bad), 'photo is ' + one, 'photos are ' + (many or one))}{share}."
        exhibits = tuple(Exhibit(photo.name, remark(look), photo.path) for photo, look in bad)
        yield Finding("photos", "warning", what, advice, exhibits)
