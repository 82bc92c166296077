"""The charge of a private training."""

from fedshelf.client.privacy.charges import Charge
from fedshelf.common.protocol.messages import TrainOrder
from fedshelf.common.training.order_digest import order_digest


def training_charge(order: TrainOrder, identity: str = "") -> Charge:
    """Return the charge of a training as ordered, whose settings have `privacy.clip`.

    Args:
        order: The order.
        identity: Of the training, see `key_digest`; empty: not known yet.
    """
    privacy = order.plan.config.privacy
    assert privacy.is_on, privacy
    return Charge(
        budget="epsilon",
        identity=identity,
        order=order_digest(order),
        run=order.plan.run_id,
        round=order.round,
        noise=privacy.noise,
        rate=privacy.rate,
        steps=privacy.steps,
    )
