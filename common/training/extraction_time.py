"""The time that the features of a set of images take, expected from its first images.

    seconds left = seconds of the first images / their number x images left

The time depends on the machine, so it chooses no setting: the same command would have another image
size, and so another model, on another machine. A person who finds it long can choose.
"""

import time
from collections.abc import Callable

from fedshelf.common.config import RunConfig
from fedshelf.common.wording import format_duration

MEASURED_IMAGES = 64  # after the first pass through the network, which is slower than others
MIN_SECONDS = 60.0  # shorter times are not told
LONG_SECONDS = 600.0  # from here on a smaller image size is worth a thought
SMALLER_SIZE = 160  # pixels a side; docs/results.md has its accuracy
WITH_SMALLER_SIZE = ("ridge", "head")  # recipes whose network was measured at that size


class ExtractionTime:
    """Tells the expected time of an extraction, once for each set of images.

    Args:
        config: the run's settings
        whose: a word before the option that a person can give, such as "the server's"
        clock: returns seconds since some moment
    """

    def __init__(
        self, config: RunConfig, whose: str = "", clock: Callable[[], float] = time.monotonic
    ) -> None:
        is_free = config.run.recipe in WITH_SMALLER_SIZE and not config.model.resume_from
        option = f"--set data.image_size={SMALLER_SIZE}"
        self._option = f"{whose} {option}".lstrip() if is_free else ""
        self._image_size = config.data.image_size
        self._clock = clock
        self._began = 0.0

    def tell(self, done: int, total: int) -> str:
        """Return a sentence on the time that is left; mostly empty.

        It has to be called after each image of a set, see `feature_file.Progress`.

        Args:
            done: images of the set that are done
            total: images of the set that have to be computed
        """
        if done == 1:
            self._began = self._clock()
        if done != 1 + MEASURED_IMAGES:
            return ""
        seconds = (self._clock() - self._began) / MEASURED_IMAGES * (total - done)
        return describe_time(seconds, self._image_size, self._option)


def describe_time(seconds: float, image_size: int, option: str) -> str:
    """Return a sentence on the time of an extraction; empty if it is short.

    Args:
        seconds: expected
        image_size: pixels, side of the images; a network's time grows with its square
        option: chooses `SMALLER_SIZE`; empty: there is no choice
    """
    if seconds < MIN_SECONDS:
        return ""
    told = f"This takes about {format_duration(seconds)} at the speed of the first images."
    if seconds < LONG_SECONDS or image_size <= SMALLER_SIZE or not option:
        return told
    smaller = seconds * (SMALLER_SIZE / image_size) ** 2
    return (
        f"{told} With {SMALLER_SIZE} instead of {image_size} pixels ({option}) it would take about"
        f" {format_duration(smaller)}, and fewer photos would be named right (docs/results.md has"
        " figures)."
    )
