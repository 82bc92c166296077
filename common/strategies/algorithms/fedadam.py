"""FedAdam (Reddi et al. 2021, see `fedopt`), with Flower's correction of the bias of both moments.

v <- beta2 v + (1 - beta2) d^2;   eta_t = eta sqrt(1 - beta2^(t+1)) / (1 - beta1^(t+1)),  t from 1
"""

from torch import Tensor

from fedshelf.common.strategies.shared.fedopt import DecayingMoments


class FedAdam(DecayingMoments):
    """Adam at the server."""

    def second(self, moment: Tensor, delta: Tensor) -> Tensor:
        """Return beta2 v + (1 - beta2) d^2, [T]."""
        return self.settings.beta2 * moment + (1 - self.settings.beta2) * delta.square()

    def rate(self, steps: int) -> float:
        """Return eta_t, with the exponents that Flower uses."""
        beta1 = self.settings.beta1
        beta2 = self.settings.beta2
        exponent = steps + 1
        return float(super().rate(steps) * (1 - beta2**exponent) ** 0.5 / (1 - beta1**exponent))
