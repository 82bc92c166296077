"""What a server has beside its stores: a place where their updates wait, and images to judge single updates and to
choose rounds on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor

from common.metrics import Counts
from server.spool import Held, Memory


class Judge(Protocol):
    """What judges models on the server's own test set."""

    def __call__(self, params: Tensor, temperatures: Sequence[float] = ()) -> Counts:
        """Counts of the model `params` (float32 [P]); with `temperatures`, how sure it is at them."""


@dataclass(frozen=True)
class Gate:
    """What updates pass before they count, and rounds before they are chosen.

    held:   where they wait until their round has all of them
    sample: judges parameters (float32 [P]) on a few of the server's test images; None: it has none
    validation: judges them on images that the server holds out to choose rounds by; None: stores do, or nobody asks
    """

    held: Held = field(default_factory=Memory)
    sample: Judge | None = None
    validation: Judge | None = None
