"""FedPer. Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers.
2019, Algorithm 1 and 2.

    w = (u, v_i):   u <- sum_i q_i u_i,   v_i <- v_i           v_i: the layers of `personal`, by default the head

For stores that name or sort products each in its own way: they share how to see, and each decides for itself.
"""

from typing import ClassVar

from fedshelf.common.errors import ConfigError
from fedshelf.common.strategies.shared.base import Strategy


class FedPer(Strategy):
    """FedAvg, but for named layers, which are each store's own."""

    one_model: ClassVar = False
    uses: ClassVar = frozenset({"weighting", "absent_classes", "personal"})

    def personal(self) -> tuple[str, ...]:
        """All tensors of the layers named. Raises ConfigError for a name that none has, and if nothing is left."""
        if (layout := self.layout) is None:
            return ()
        given = self.config.personal or (layout.head,)
        for layer in given:
            if not any(_belongs(name, layer) for name in layout.names):
                known = dict.fromkeys(name.rpartition(".")[0] for name in layout.names)
                raise ConfigError(
                    f"Setting strategy.personal got {layer!r}; the network's layers are {', '.join(known)}."
                )
        chosen = tuple(name for name in layout.names if any(_belongs(name, layer) for layer in given))
        if len(chosen) == len(layout.names):
            raise ConfigError("Setting strategy.personal names all that trains, so that nothing is left to share.")
        return chosen


def _belongs(name: str, layer: str) -> bool:
    """Whether a tensor belongs to a layer, or to one inside it."""
    return name == layer or name.startswith(f"{layer}.")
