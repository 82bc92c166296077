"""Private training at a store: its checks, and the key of its random numbers."""

from collections.abc import Mapping

from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.images.types import Images
from fedshelf.common.privacy import dp_settings
from fedshelf.common.privacy.randomness import simulated_secret, training_key
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.training.fit import Network, check_privacy
from fedshelf.common.training.order_digest import order_digest, training_digest


def check_again(config: RunConfig, network: Network) -> None:
    """Check at the store what the server has checked: the claim is the store's.

    Raises:
        ConfigError: The settings do not go with private training.
    """
    dp_settings.check_settings(config)
    if config.privacy.is_on:
        strategies.check(config)
        check_privacy(network, config)


def key_of(
    order: TrainOrder,
    store: str,
    kept: Mapping[str, Tensor],
    images: Images,
    secret: bytes | None,
) -> bytes | None:
    """Return the key of the random numbers of a training; None if it is not private.

    Args:
        order: The order.
        store: Name of the store.
        kept: Tensors that the store keeps between rounds, as they are before this one.
        images: The training images.
        secret: Of the store, 32 bytes; None: of a simulated one, whose secret is derived from the
            run's seed.
    """
    config = order.plan.config
    if not config.privacy.is_on:
        return None
    if secret is None:
        assert config.data.dataset != STORES_OWN, "a store draws from a secret of its own"
        secret = simulated_secret(config.run.seed, store)
    return training_key(secret, training_digest(order_digest(order), kept, images))
