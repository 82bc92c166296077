"""FedYogi (Reddi et al. 2021, see `fedopt`).

v <- v - (1 - beta2) d^2 sign(v - d^2)
"""

from torch import Tensor

from fedshelf.common.strategies.shared.fedopt import DecayingMoments


class FedYogi(DecayingMoments):
    """Yogi at the server: the second moment moves by no more than d^2 a round."""

    def second(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return v - (1 - beta2) d^2 sign(v - d^2), [T]."""
        square = delta.square()
        return moment - (1 - self.settings.beta2) * square * (moment - square).sign()
