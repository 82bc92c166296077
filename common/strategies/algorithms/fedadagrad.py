"""FedAdagrad (Reddi et al. 2021, see `fedopt`), without momentum as in Flower.

m = d;   v <- v + d^2
"""

from torch import Tensor

from fedshelf.common.strategies.shared.fedopt import FedOpt


class FedAdagrad(FedOpt):
    """Adagrad at the server."""

    def first(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return the difference d itself, [T]."""
        return delta

    def second(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return v + d^2, [T]."""
        return moment + delta.square()
