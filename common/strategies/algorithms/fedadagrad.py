"""FedAdagrad (Reddi et al. 2021, see `fedopt`), without momentum as in Flower.

m = d;   v <- v + d^2
"""

from typing import ClassVar

from torch import Tensor

from fedshelf.common.strategies.shared.fedopt import FedOpt


class FedAdagrad(FedOpt):
    """Adagrad at the server."""

    uses: ClassVar = frozenset({"weighting", "absent_classes", "server_lr", "tau"})

    def first(self, moment: Tensor, delta: Tensor) -> Tensor:
        """The difference itself."""
        return delta

    def second(self, moment: Tensor, delta: Tensor) -> Tensor:
        """v + d^2."""
        return moment + delta.square()
