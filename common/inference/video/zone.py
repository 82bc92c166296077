"""A part of a camera's picture, which alone is looked at."""

from dataclasses import dataclass

from PIL import Image

from fedshelf.common.errors import ConfigError


@dataclass(frozen=True)
class Zone:
    """A rectangle in upright frames.

    Attributes:
        left, top, width, height: in fractions of the frame if `is_relative`, else in pixels
        is_relative: see there
    """

    left: float
    top: float
    width: float
    height: float
    is_relative: bool

    def crop(self, image: Image.Image) -> Image.Image:
        """Return the part of a frame that lies in the zone. Raises ConfigError; see `in_pixels`."""
        return image.crop(self.in_pixels(*image.size))

    def in_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom edge in pixels of a frame of this size.

        Raises:
            ConfigError: the zone does not lie in the frame, or is smaller than a pixel.
        """
        across, down = (width, height) if self.is_relative else (1, 1)
        box = (
            round(self.left * across),
            round(self.top * down),
            round((self.left + self.width) * across),
            round((self.top + self.height) * down),
        )
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ConfigError(
                f"--zone is smaller than a pixel of the frames of {width} x {height} pixels."
            )
        if box[2] > width or box[3] > height:
            raise ConfigError(
                f"--zone reaches to {box[2]},{box[3]}; the frames have {width} x {height} pixels."
            )
        return box

    def contains(self, point: tuple[float, float], width: int, height: int) -> bool:
        """Return whether a point, x and y in pixels, lies in the zone of a frame of this size."""
        across, down = (width, height) if self.is_relative else (1, 1)
        x, y = point[0] / across, point[1] / down
        return self.left <= x < self.left + self.width and self.top <= y < self.top + self.height


def parse_zone(text: str) -> Zone:
    """Return the zone that a person gave: x,y,width,height.

    Numbers that are all at most 1 are fractions; else all must be whole pixels.

    Raises:
        ConfigError: it is neither.
    """
    expected = (
        "expected x,y,width,height of the upper left corner, all in pixels (200,100,640,480) or"
        " all in fractions of the frame (0.25,0.1,0.5,0.5)"
    )
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    # also refuses nan
    if len(numbers) != 4 or not all(0 <= number < 1e6 for number in numbers):
        raise ConfigError(f"--zone got {text!r}; {expected}.")
    left, top, width, height = numbers
    is_relative = max(numbers) <= 1
    if not is_relative and not all(number.is_integer() for number in numbers):
        raise ConfigError(f"--zone got {text!r}, a mixture of pixels and fractions; {expected}.")
    if width == 0 or height == 0 or (is_relative and max(left + width, top + height) > 1 + 1e-9):
        raise ConfigError(f"--zone got {text!r}, which is empty or leaves the frame; {expected}.")
    return Zone(left, top, width, height, is_relative)
