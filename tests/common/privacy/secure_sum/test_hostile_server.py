"""A server that lies is refused by the stores, by name; and a store goes on after any kill."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from fedshelf.common.privacy.secure_sum.memory import SumMemory
from fedshelf.common.privacy.secure_sum.messages import (
    BOX_BYTES,
    Advert,
    Reveal,
    Roster,
    pack_boxes,
    unpack_boxes,
)
from fedshelf.common.privacy.secure_sum.refusals import SecureSumError, SumFault
from fedshelf.common.privacy.secure_sum.server import SumServer, make_roster
from tests.helpers.secure_sums import ADDRESS, ORDER, Office, SumChain, play

FIRST = "store-000"
SECOND_ATTEMPT = replace(ADDRESS, attempt=1)
OTHER_ORDER = "cd" * 32


def refuses(code: SumFault, ask: Callable[[], object]) -> None:
    with pytest.raises(SecureSumError) as error:
        ask()
    assert error.value.code == code


@pytest.fixture
def chain() -> SumChain:
    return SumChain(6)


def test_an_invented_store_is_refused(chain: SumChain) -> None:
    roster = chain.roster()
    invented = SumChain(7, office=Office()).store("store-006").advertise(ADDRESS)
    longer = make_roster(ORDER, {a.store: a for a in (*roster.adverts, invented)}, 3)
    refuses("unknown-store", lambda: chain.store(FIRST).share(ADDRESS, ORDER, longer))


def test_a_store_of_the_chain_cannot_appear_under_another_name(chain: SumChain) -> None:
    roster = chain.roster()
    renamed = replace(roster.adverts[1], store="store-007")
    adverts = tuple(sorted((*roster.adverts, renamed), key=lambda advert: advert.store))
    longer = replace(roster, adverts=adverts, threshold=6)
    refuses("unknown-store", lambda: chain.store(FIRST).share(ADDRESS, ORDER, longer))


@pytest.mark.parametrize(
    "other",
    [
        replace(ADDRESS, round=2),
        replace(ADDRESS, attempt=1),
        replace(ADDRESS, run="other"),
        replace(ADDRESS, purpose="validation"),
        replace(ADDRESS, chain="other"),
    ],
    ids=["round", "attempt", "run", "purpose", "chain"],
)
def test_keys_of_another_place_are_refused(chain: SumChain, other: object) -> None:
    adverts = list(chain.roster().adverts)
    signer = chain.machines["store-001"].signer
    unsigned = adverts[1]
    adverts[1] = replace(unsigned, signature=signer.sign(unsigned.statement(other)))  # type: ignore[arg-type]
    roster = make_roster(ORDER, {advert.store: advert for advert in adverts}, 3)
    refuses("unknown-store", lambda: chain.store(FIRST).share(ADDRESS, ORDER, roster))


def test_replaced_keys_are_refused(chain: SumChain) -> None:
    roster = chain.roster()
    for field in ("seal_key", "mask_key", "seed_commitment", "key_commitment"):
        forged = replace(roster.adverts[1], **{field: bytes(32)})
        changed = replace(roster, adverts=(roster.adverts[0], forged, *roster.adverts[2:]))
        refuses("unknown-store", lambda r=changed: chain.store(FIRST).share(ADDRESS, ORDER, r))
    own = replace(roster.adverts[0], mask_key=bytes(32))
    changed = replace(roster, adverts=(own, *roster.adverts[1:]))
    refuses("wrong-roster", lambda: chain.store(FIRST).share(ADDRESS, ORDER, changed))


def test_a_store_named_twice_is_refused(chain: SumChain) -> None:
    roster = chain.roster()
    twice = replace(roster, adverts=(*roster.adverts[:5], roster.adverts[4], roster.adverts[5]))
    refuses("wrong-roster", lambda: chain.store(FIRST).share(ADDRESS, ORDER, twice))


def test_a_small_cohort_and_a_low_threshold_are_refused(chain: SumChain) -> None:
    roster = chain.roster()
    pair = replace(roster, adverts=roster.adverts[:2], threshold=2)
    refuses("too-few-stores", lambda: chain.store(FIRST).share(ADDRESS, ORDER, pair))
    # 4 of 6 are two thirds, but a server that lies could get the sum of two stores
    for threshold in (0, 1, 3, 4, 7):
        low = replace(roster, threshold=threshold)
        refuses("too-few-stores", lambda r=low: chain.store(FIRST).share(ADDRESS, ORDER, r))
    with pytest.raises(SecureSumError, match="3 must"):
        make_roster(ORDER, {a.store: a for a in roster.adverts[:2]}, 3)


def test_a_second_list_of_stores_is_refused(chain: SumChain) -> None:
    roster = chain.roster()
    store = chain.store(FIRST)
    boxes = store.share(ADDRESS, ORDER, roster)
    assert chain.store(FIRST).share(ADDRESS, ORDER, roster) == boxes
    shorter = make_roster(ORDER, {a.store: a for a in roster.adverts[:5]}, 3)
    refuses("wrong-roster", lambda: chain.store(FIRST).share(ADDRESS, ORDER, shorter))


def test_another_order_is_refused(chain: SumChain) -> None:
    """A server that sends one store another model learns nothing of it."""
    roster = chain.roster()
    refuses("wrong-roster", lambda: chain.store(FIRST).share(ADDRESS, OTHER_ORDER, roster))
    # and if it shows that store another roster, the others' boxes do not open there
    server = SumServer(ADDRESS, roster, np.zeros(4, np.uint32))
    for name in chain.names:
        own = replace(roster, order=OTHER_ORDER) if name == FIRST else roster
        server.take_boxes(name, chain.store(name).share(ADDRESS, own.order, own))
    vector = np.zeros(4, np.uint32)
    for name in chain.names:
        inbox = server.inbox(name)
        refuses("changed-shares", lambda n=name, i=inbox: chain.store(n).mask(ADDRESS, i, vector))


def test_changed_and_exchanged_shares_are_refused(chain: SumChain) -> None:
    vectors = chain.vectors(4)
    server = chain.shared(vectors)
    others = server.neighbourhood(FIRST).others
    good = server.inbox(FIRST)
    boxes = unpack_boxes(good, others)
    exchanged = dict(boxes, **{others[0]: boxes[others[1]]})
    reflected = dict(
        boxes,
        **{
            others[0]: unpack_boxes(
                server.inbox(others[0]), server.neighbourhood(others[0]).others
            )[FIRST]
        },
    )
    for wrong in (exchanged, reflected):
        inbox = pack_boxes(wrong, others)
        if inbox != good:
            refuses(
                "changed-shares",
                lambda i=inbox: chain.store(FIRST).mask(ADDRESS, i, vectors[FIRST]),
            )
    for place in range(0, len(good), BOX_BYTES // 3):
        flipped = bytearray(good)
        flipped[place] ^= 1
        refuses(
            "changed-shares",
            lambda f=bytes(flipped): chain.store(FIRST).mask(ADDRESS, f, vectors[FIRST]),
        )
    chain.store(FIRST).mask(ADDRESS, good, vectors[FIRST])


def test_a_second_vector_is_refused(chain: SumChain) -> None:
    vectors = chain.vectors(4)
    server = chain.shared(vectors)
    inbox = server.inbox(FIRST)
    masked = chain.store(FIRST).mask(ADDRESS, inbox, vectors[FIRST])
    assert (chain.store(FIRST).mask(ADDRESS, inbox, vectors[FIRST]) == masked).all()
    refuses("second-vector", lambda: chain.store(FIRST).mask(ADDRESS, inbox, vectors[FIRST] + 1))
    # the same numbers as another type, or fewer of them, are another vector too
    short = vectors[FIRST].view(np.uint16)
    refuses("second-vector", lambda: chain.store(FIRST).mask(ADDRESS, inbox, short))
    fewer = unpack_boxes(inbox, server.neighbourhood(FIRST).others)
    fewer.popitem()
    inbox = pack_boxes(fewer, server.neighbourhood(FIRST).others)
    refuses("changed-shares", lambda: chain.store(FIRST).mask(ADDRESS, inbox, vectors[FIRST]))


def test_other_survivors_are_refused_and_no_store_reveals_both_shares(chain: SumChain) -> None:
    chain.masked(chain.vectors(4))
    first = chain.store(FIRST).unmask(ADDRESS, chain.names)
    assert {kind for kind, _ in first.shares.values()} == {"seed"}
    again = chain.store(FIRST).unmask(ADDRESS, tuple(reversed(chain.names)))
    assert again == first
    for survivors in (chain.names[:-1], chain.names[:5]):
        refuses("second-survivors", lambda s=survivors: chain.store(FIRST).unmask(ADDRESS, s))


def test_survivors_that_are_no_survivors_are_refused(chain: SumChain) -> None:
    chain.masked(chain.vectors(4))
    for survivors in (
        chain.names[:4],  # below the threshold
        chain.names[1:],  # without the store itself
        (*chain.names[:5], "stranger"),
        (*chain.names, FIRST),
        (),
    ):
        refuses("too-few-stores", lambda s=survivors: chain.store(FIRST).unmask(ADDRESS, s))


def test_a_new_attempt_has_new_keys_until_the_round_may_be_summed(chain: SumChain) -> None:
    vectors = chain.vectors(4)
    server = chain.masked(vectors)
    first = chain.store(FIRST).advertise(ADDRESS)
    second = chain.store(FIRST).advertise(SECOND_ATTEMPT)
    assert not {first.mask_key, first.seal_key} & {second.mask_key, second.seal_key}
    # the older attempt is over: its sum could be had beside the newer one's
    refuses("out-of-turn", lambda: chain.store(FIRST).unmask(ADDRESS, chain.names))
    refuses("out-of-turn", lambda: chain.store(FIRST).advertise(ADDRESS))
    inbox = server.inbox(FIRST)
    refuses("out-of-turn", lambda: chain.store(FIRST).mask(ADDRESS, inbox, vectors[FIRST]))
    total, _ = play(chain, vectors, {}, SECOND_ATTEMPT)
    assert (total == sum(vectors.values())).all()
    for address in (ADDRESS, replace(ADDRESS, attempt=2)):
        refuses("already-summed", lambda a=address: chain.store(FIRST).advertise(a))
    # the answer to the sum has begun the next round
    refuses("out-of-turn", lambda: chain.store("store-001").unmask(ADDRESS, chain.names))


def test_the_next_rounds_keys_ride_along(chain: SumChain) -> None:
    vectors = chain.vectors(4)
    server = chain.masked(vectors)
    follows = replace(ADDRESS, round=2)
    for name in chain.names:
        reveal = chain.store(name).unmask(ADDRESS, server.survivors)
        advert = server.take_reveal(name, reveal.to_bytes())
        assert advert == chain.store(name).advertise(follows)
    total, _ = play(chain, vectors, {"store-002": 2}, follows)
    assert (total == sum(v for name, v in vectors.items() if name != "store-002")).all()
    # asked again for the first round: the same shares, although two rounds are over
    again = chain.store(FIRST).unmask(ADDRESS, chain.names)
    assert {kind for kind, _ in again.shares.values()} == {"seed"}


def test_a_committed_round_is_forgotten_for_good(chain: SumChain) -> None:
    chain.masked(chain.vectors(4))
    chain.store(FIRST).unmask(ADDRESS, chain.names)
    before = len(chain.machines[FIRST].disk)
    chain.store(FIRST).forget(committed=1)
    assert len(chain.machines[FIRST].disk) < before
    refuses("out-of-turn", lambda: chain.store(FIRST).unmask(ADDRESS, chain.names))
    refuses("already-summed", lambda: chain.store(FIRST).advertise(SECOND_ATTEMPT))


def test_a_round_of_another_run_is_refused(chain: SumChain) -> None:
    refuses("out-of-turn", lambda: chain.store(FIRST).advertise(replace(ADDRESS, run="other")))


def test_nothing_leaves_that_is_not_on_disk(chain: SumChain) -> None:
    class FullDiskError(OSError):
        pass

    def fail(_: bytes) -> None:
        raise FullDiskError

    vectors = chain.vectors(4)
    server = chain.shared(vectors)
    for step in (
        lambda: chain.store(FIRST).mask(ADDRESS, server.inbox(FIRST), vectors[FIRST]),
        lambda: chain.store(FIRST).unmask(ADDRESS, chain.names),
    ):
        machine = chain.machines[FIRST]
        kept = machine.disk
        machine.keep = fail  # type: ignore[method-assign]
        with pytest.raises(FullDiskError):
            step()
        assert machine.disk == kept
        del machine.keep  # type: ignore[method-assign]
        step()


def test_a_damaged_memory_is_refused(chain: SumChain) -> None:
    chain.masked(chain.vectors(4))
    kept = chain.machines[FIRST].disk
    for damaged in (b"", b"{}", kept[:-10], kept.replace(b'"secret"', b'"sicret"'), b"[]"):
        refuses("malformed", lambda d=damaged: SumMemory.from_bytes(d))
    assert SumMemory.from_bytes(kept).to_bytes() == kept


def flipping(message: int, place: int) -> Callable[[bytes], bytes]:
    """Pass messages on, with a bit flipped in the one of this number, from 0 on."""
    numbers = count()

    def pass_on(data: bytes) -> bytes:
        if next(numbers) != message:
            return data
        changed = bytearray(data)
        changed[place] ^= 1
        return bytes(changed)

    return pass_on


@pytest.mark.parametrize("place", [0, 3, 8, 20, 150, 200, 250, 300, -70, -1])
def test_a_bit_that_flips_in_a_stores_keys_is_refused(place: int) -> None:
    chain = SumChain(4)
    with pytest.raises(SecureSumError):
        play(chain, chain.vectors(4), {}, pass_on=flipping(0, place))


@pytest.mark.parametrize("place", [0, 65, 80, 100, -1])
def test_a_bit_that_flips_in_sealed_shares_is_refused(place: int) -> None:
    chain = SumChain(4)
    with pytest.raises(SecureSumError, match="changed on their way"):
        play(chain, chain.vectors(4), {}, pass_on=flipping(4, place))


def test_a_bit_that_flips_in_a_vector_changes_one_coordinate() -> None:
    """It is as if the store had sent it so, which nobody could tell."""
    chain = SumChain(4)
    vectors = chain.vectors(4)
    total, _ = play(chain, vectors, {}, pass_on=flipping(8, 7))
    assert ((total ^ sum(vectors.values())) > 0).tolist() == [False, True, False, False]


@pytest.mark.parametrize("place", [0, 1, 40, 101])
def test_a_bit_that_flips_in_a_revealed_share_is_found_out(place: int) -> None:
    chain = SumChain(3)  # of which every share counts
    with pytest.raises(SecureSumError):
        play(chain, chain.vectors(4), {}, pass_on=flipping(9, place))


def test_a_wrong_share_is_found_out(chain: SumChain) -> None:
    server = chain.masked(chain.vectors(4))
    for name in chain.names[:5]:  # as many as the threshold
        reveal = chain.store(name).unmask(ADDRESS, server.survivors)
        if name == FIRST:
            kind, _ = reveal.shares["store-003"]
            reveal = replace(reveal, shares={**reveal.shares, "store-003": (kind, bytes(33))})
        server.take_reveal(name, reveal.to_bytes())
    refuses("wrong-share", server.total)
    # one share more, and the secret is found without the wrong one
    last = chain.store("store-005").unmask(ADDRESS, server.survivors)
    server.take_reveal("store-005", last.to_bytes())
    assert (server.total() == sum(chain.vectors(4).values())).all()


def test_messages_that_are_cut_or_too_long_are_malformed(chain: SumChain) -> None:
    server = chain.masked(chain.vectors(4))
    holders = list(server.neighbourhood(FIRST).points)
    reveal = chain.store(FIRST).unmask(ADDRESS, chain.names).to_bytes()
    advert = server.roster.adverts[0].to_bytes()
    roster = server.roster.to_bytes()
    assert Reveal.from_bytes(reveal, holders).to_bytes() == reveal
    assert Roster.from_bytes(roster) == server.roster
    for read, data in (
        (Advert.from_bytes, advert),
        (Roster.from_bytes, roster),
        (lambda d: Reveal.from_bytes(d, holders), reveal),
    ):
        for wrong in (data[:-1], data + b"x", b"", b"\xff" * len(data)):
            refuses("malformed", lambda r=read, w=wrong: r(w))  # type: ignore[operator]


def test_shares_that_come_after_an_inbox_was_made_are_too_late(chain: SumChain) -> None:
    roster = chain.roster()
    server = SumServer(ADDRESS, roster, np.zeros(4, np.uint32))
    boxes = {name: chain.store(name).share(ADDRESS, ORDER, roster) for name in chain.names}
    for name in chain.names[:5]:
        server.take_boxes(name, boxes[name])
    server.inbox(FIRST)
    refuses("out-of-turn", lambda: server.take_boxes("store-005", boxes["store-005"]))
