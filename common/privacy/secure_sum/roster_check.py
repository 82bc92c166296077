"""A store's check of the stores that the server shows it, before it shares its keys with them."""

from fedshelf.common.privacy.secure_sum.identities import SumVerifier
from fedshelf.common.privacy.secure_sum.messages import Advert, Roster, SumAddress
from fedshelf.common.privacy.secure_sum.neighbourhoods import (
    holders,
    smallest_group,
    smallest_threshold,
)
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError


def check_roster(
    roster: Roster, own: Advert, address: SumAddress, verify: SumVerifier, least: int
) -> None:
    """Check that a roster hides a store well enough, among stores of its chain alone.

    Args:
        roster: the stores as the server shows them
        own: the keys of the store that checks
        address: the attempt
        verify: recognises other stores
        least: stores that must hide each other at least

    Raises:
        SecureSumError: too-few-stores, wrong-roster or unknown-store
    """
    _check_size(roster, least)
    names = roster.stores
    if list(names) != sorted(set(names)) or own not in roster.adverts:
        raise SecureSumError(
            "wrong-roster",
            "The list of stores names one twice, or does not have this one with its keys.",
        )
    for advert in roster.adverts:
        statement = advert.statement(address)
        if not verify(advert.store, advert.certificate, statement, advert.signature):
            raise SecureSumError(
                "unknown-store",
                f"{advert.store} is no store of this chain, or these are not its keys of this"
                " round.",
            )


def _check_size(roster: Roster, least: int) -> None:
    count = len(roster.adverts)
    low = smallest_threshold(count) if count else 1
    if not low <= roster.threshold <= holders(count) or (
        smallest_group(count, roster.threshold) < least
    ):
        raise SecureSumError(
            "too-few-stores",
            f"A secure sum of {count} stores with threshold {roster.threshold} hides this"
            f" store's update too little; it must be among {least} or more, and the"
            f" threshold {low} or more. With few stores the threshold must be higher, so that"
            " fewer may drop out.",
        )
