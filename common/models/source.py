"""The facts about a network that the registry knows before it is built."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelInfo:
    """The builder of a network, and the images it is made for.

    build:      (classes, image side in pixels, channels) -> module
    usual_size: pixels, the side to use if the data has none of its own
    least_size: pixels, the smallest side it takes
    fixed_size: True if `usual_size` is the only side it takes
    mean, std:  red, green and blue, of intensities scaled to 0..1
    """

    build: "Callable[[int, int, int], nn.Module]"
    usual_size: int
    least_size: int
    fixed_size: bool = False
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.25, 0.25, 0.25)

    def takes(self, size: int) -> bool:
        """Return whether the network works on square images with this side in pixels."""
        return size == self.usual_size if self.fixed_size else size >= self.least_size

    def sizes(self) -> str:
        """Return the sizes that `takes` accepts, in words."""
        return (
            f"exactly {self.usual_size} px" if self.fixed_size else f"{self.least_size} px or more"
        )
