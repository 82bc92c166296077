"""The keys of boxes and masks, each for one purpose, between two stores or of one."""

from fedshelf.common.privacy.secure_sum import ciphers
from fedshelf.common.privacy.secure_sum.messages import Advert, Roster, SumAddress
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError


def box_key(
    private_key: bytes,
    other: Advert,
    address: SumAddress,
    roster: Roster,
    *,
    sender: str,
    receiver: str,
) -> bytes:
    """Return the key of the one box that goes from a sender to a receiver.

    Args:
        private_key: the X25519 sealing key of the store here, 32 bytes
        other: the keys of the store there
        address: the attempt
        roster: its stores, and the order
        sender, receiver: the names of the two stores

    Raises:
        SecureSumError: unknown-store
    """
    label = ("box", *address.label, roster.digest, sender, receiver)
    return _agreed(private_key, other.seal_key, label, other.store)


def mask_key(
    private_key: bytes, own: str, other: Advert, address: SumAddress, roster: Roster
) -> bytes:
    """Return the key of the mask that two stores share; the one whose name is first adds it.

    Args:
        private_key: the X25519 masking key of the store `own`, 32 bytes
        own: its name
        other: the keys of the other store
        address: the attempt
        roster: its stores, and the order: stores with others make masks that do not cancel out

    Raises:
        SecureSumError: unknown-store
    """
    label = ("mask", *address.label, roster.digest, *sorted((own, other.store)))
    return _agreed(private_key, other.mask_key, label, other.store)


def self_mask_key(seed: bytes, address: SumAddress, roster: Roster) -> bytes:
    """Return the key of a store's own mask."""
    return ciphers.derive(seed, ("self", *address.label, roster.digest))


def _agreed(private_key: bytes, public_key: bytes, label: ciphers.Label, store: str) -> bytes:
    try:
        return ciphers.agree(private_key, public_key, label)
    except ValueError:
        raise SecureSumError("unknown-store", f"{store} has a key that hides nothing.") from None
