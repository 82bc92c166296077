"""FedPer: federated averaging with personal layers.

Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers. 2019,
Algorithms 1 and 2.

    w = (u, v_i):   u <- sum_i q_i u_i,   v_i <- v_i

v_i: the layers of `personal`, by default the head.

It is for stores that name or sort products each in its own way: they share the features, and each
store decides for itself.
"""

from typing import ClassVar

from pydantic import Field

from fedshelf.common.config.field_types import StrategySettings
from fedshelf.common.errors import ConfigError
from fedshelf.common.strategies.shared.base import Strategy


class FedPerSettings(StrategySettings):
    """The setting of FedPer."""

    personal: tuple[str, ...] = Field(
        (),
        description=(
            "names of the layers that stay at the store, each with all layers inside it;"
            " empty: the head"
        ),
    )


class FedPer(Strategy):
    """FedAvg with named layers that are each store's own."""

    one_model: ClassVar = False
    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    settings: FedPerSettings

    def personal_tensors(self) -> tuple[str, ...]:
        """Return the names of all tensors of the named layers.

        Raises:
            ConfigError: no layer has a given name, or nothing is left to share.
        """
        if (layout := self.layout) is None:
            return ()
        layers = self.settings.personal or (layout.head,)
        for layer in layers:
            if not any(_belongs(name, layer) for name in layout.names):
                known_layers = dict.fromkeys(name.rpartition(".")[0] for name in layout.names)
                raise ConfigError(
                    f"Setting strategy.personal got {layer!r}; the network's layers are"
                    f" {', '.join(known_layers)}."
                )
        personal = tuple(
            name for name in layout.names if any(_belongs(name, layer) for layer in layers)
        )
        if len(personal) == len(layout.names):
            raise ConfigError(
                "Setting strategy.personal names all that trains, so that nothing is left to share."
            )
        return personal


def _belongs(name: str, layer: str) -> bool:
    """Return whether a tensor belongs to a layer, or to one inside it."""
    return name == layer or name.startswith(f"{layer}.")
