"""What a server has beside its stores: a place where their updates wait, and images to judge single updates on."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from common.metrics import Counts
from server.spool import Held, Memory

Judge = Callable[[Tensor], Counts]


@dataclass(frozen=True)
class Gate:
    """What updates pass before they count.

    held:   where they wait until their round has all of them
    sample: judges parameters (float32 [P]) on a few of the server's test images; None: it has none
    """

    held: Held = field(default_factory=Memory)
    sample: Judge | None = None
