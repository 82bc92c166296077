"""FedBN: federated averaging with normalisation layers that stay at the stores.

Li, Jiang, Zhang, Kamp, Dou: FedBN: Federated Learning on Non-IID Features via Local Batch
Normalization. ICLR 2021, Algorithm 1.

    w = (u, v_i):   u <- sum_i q_i u_i,   v_i <- v_i

v_i: parameters and statistics of normalisation layers.

It is for stores whose photos look different: lighting, background, camera. Batch, group and layer
normalisation are all kept.
"""

from typing import ClassVar

from fedshelf.common.errors import ConfigError
from fedshelf.common.strategies.shared.base import Strategy


class FedBN(Strategy):
    """FedAvg with normalisation layers that are each store's own."""

    one_model: ClassVar = False
    uses: ClassVar = frozenset({"weighting", "absent_classes"})

    def personal_tensors(self) -> tuple[str, ...]:
        """Return the names of all tensors of normalisation layers.

        Raises:
            ConfigError: the network has none.
        """
        if self.layout is None:
            return ()
        if not self.layout.norms:
            raise ConfigError(
                "Setting strategy.name got 'fedbn' with a network that has no normalisation layers"
                " to keep at the stores; choose another network (model.name) or strategy."
            )
        return tuple(name for name in self.layout.names if name in self.layout.norms)
