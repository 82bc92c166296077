"""Checks for photos that show too little.

The thresholds were measured on 3,781 photos of clothes: see docs/how-to/health.md.
"""

from collections.abc import Callable, Iterator

from fedshelf.client.health.evidence.finding import Exhibit, Finding
from fedshelf.client.health.evidence.gather import Evidence
from fedshelf.client.health.evidence.image_quality import ImageQuality
from fedshelf.common.wording import format_count

_DARK_LIGHT = 90.0  # of 255, ImageQuality.light: underexposed by three stops
_BURNT_SHARE = 0.5  # ImageQuality.burnt
_BLANK_CONTRAST = 12.0  # of 255, ImageQuality.contrast
_SOFT_PIXELS = 0.76  # pixels of 256, ImageQuality.soft
_SMEARED_SHARE = 0.6  # ImageQuality.smear
_SMALL_PIXELS = 64  # pixels: the smallest input of the networks for photos
_NARROW_RATIO = 4.0  # longer side over shorter
# share of photos from which the way of taking them is reported, instead of single photos
_HABIT_SHARE = 0.3


def dark(evidence: Evidence) -> Iterator[Finding]:
    """Find photos whose brightest parts are dark."""
    yield from _photos(
        evidence,
        lambda quality: quality.light < _DARK_LIGHT and quality.contrast >= _BLANK_CONTRAST,
        lambda quality: f"brightest part {quality.light / 255:.0%}",
        "too dark",
        "Take them again with more light, or delete them.",
    )


def burnt(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that are white where the product is; if there are many, the white ground of a
    studio is named.
    """
    overexposed = [
        seen
        for seen in evidence.photos.usable
        if seen.quality and seen.quality.burnt > _BURNT_SHARE
    ]
    if len(overexposed) <= _HABIT_SHARE * len(evidence.photos.usable):
        yield from _photos(
            evidence,
            lambda quality: quality.burnt > _BURNT_SHARE and quality.contrast >= _BLANK_CONTRAST,
            lambda quality: f"middle {quality.burnt:.0%} white",
            "over-exposed",
            "Take them again with less light and without flash, or delete them.",
        )


def blank(evidence: Evidence) -> Iterator[Finding]:
    """Find photos of one colour: a covered lens, a file that was half copied."""
    yield from _photos(
        evidence,
        lambda quality: quality.contrast < _BLANK_CONTRAST,
        lambda quality: f"contrast {quality.contrast / 255:.0%}",
        "of one colour and shows nothing",
        "Delete them.",
        many="of one colour and show nothing",
    )


def blurred(evidence: Evidence) -> Iterator[Finding]:
    """Find photos that are out of focus or shaken."""
    yield from _photos(
        evidence,
        lambda quality: (
            (quality.soft > _SOFT_PIXELS or quality.smear > _SMEARED_SHARE)
            and quality.contrast >= _BLANK_CONTRAST
        ),
        lambda quality: "shaken" if quality.soft <= _SOFT_PIXELS else "out of focus",
        "blurred",
        "Take them again with the camera held still, or delete them. If there are many, clean"
        " the lens.",
    )


def shape(evidence: Evidence) -> Iterator[Finding]:
    """Find photos with few pixels, or much longer than wide."""
    yield from _photos(
        evidence,
        lambda quality: min(quality.width, quality.height) < _SMALL_PIXELS,
        _size,
        f"smaller than {_SMALL_PIXELS} pixels",
        "Use the camera's own files, not the small previews of a catalogue.",
    )
    yield from _photos(
        evidence,
        lambda quality: (
            max(quality.width, quality.height)
            > _NARROW_RATIO * min(quality.width, quality.height)
            >= _NARROW_RATIO * _SMALL_PIXELS
        ),
        _size,
        f"more than {_NARROW_RATIO:.0f} times as long as wide",
        "Crop them to the product: photos are resized to a square, which leaves little of these.",
    )


def _size(quality: ImageQuality) -> str:
    return f"{quality.width} \N{MULTIPLICATION SIGN} {quality.height}"


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
    bad = [(seen.photo, seen.quality) for seen in usable if seen.quality and is_bad(seen.quality)]
    if bad:
        share = (
            f", {len(bad) / len(usable):.0%} of all"
            if len(bad) > _HABIT_SHARE * len(usable)
            else ""
        )
        what = f"{format_count(len(bad), 'photo is ' + one, 'photos are ' + (many or one))}{share}."
        exhibits = tuple(Exhibit(photo.name, remark(quality), photo.path) for photo, quality in bad)
        yield Finding("photos", "warning", what, advice, exhibits)
