"""Refusal of an order by a key of the policy."""

import math
from typing import NoReturn

from fedshelf.client.failures import StoreError
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS


def refuse(key: str, why: str, retry_after: float = MAX_RETRY_AFTER_SECONDS) -> NoReturn:
    """Raise the StoreError that tells the server the key, and the store's person the reason.

    Args:
        key: The policy's key.
        why: The reason, after a colon.
        retry_after: Seconds for which it is of no use to ask again.
    """
    raise StoreError(
        "policy",
        f"The store's policy does not allow the order ({key}): {why}.",
        key.replace("_", "-"),
        min(math.ceil(retry_after), MAX_RETRY_AFTER_SECONDS),
    )
