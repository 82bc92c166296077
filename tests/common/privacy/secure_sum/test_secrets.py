"""The secrets behind a sum: shares, masks, and the graph of stores that share masks."""

import secrets
from itertools import combinations

import numpy as np
import pytest

from fedshelf.common.privacy.secure_sum import ciphers, shamir
from fedshelf.common.privacy.secure_sum.neighbourhoods import (
    choose_threshold,
    degree,
    holders,
    neighbours,
    smallest_group,
    smallest_threshold,
)
from fedshelf.common.privacy.secure_sum.shamir import PRIME
from tests.helpers.secure_sums import ADDRESS, SumChain, play

SECRET = bytes(range(32))
POINTS = [1, 2, 3, 4, 5]


def is_prime(number: int) -> bool:
    """Miller and Rabin's test with 64 random bases: wrong in 1 of 2^128 cases."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(64):
        power = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if power in (1, number - 1):
            continue
        for _ in range(twos - 1):
            power = power * power % number
            if power == number - 1:
                break
        else:
            return False
    return True


def test_the_modulus_is_the_smallest_prime_above_2_to_the_256() -> None:
    assert PRIME == 2**256 + 297
    assert is_prime(PRIME)
    assert not any(is_prime(2**256 + step) for step in range(1, 297))


@pytest.mark.parametrize("secret", [SECRET, bytes(32), b"\xff" * 32])
def test_any_shares_of_the_threshold_give_the_secret(secret: bytes) -> None:
    shares = shamir.split(secret, 3, POINTS, secrets.token_bytes)
    for points in combinations(POINTS, 3):
        assert shamir.join({point: shares[point] for point in points}) == secret
    assert shamir.join(shares) == secret


def test_fewer_shares_than_the_threshold_go_with_every_secret() -> None:
    """Given two shares of three, for any other secret there is a third share that gives it."""
    shares = shamir.split(SECRET, 3, POINTS, secrets.token_bytes)
    known = {point: shares[point] for point in (2, 5)}
    assert shamir.join(known) != SECRET
    for other in (bytes(32), b"\x01" * 32, secrets.token_bytes(32)):
        # the value at 1 of the polynomial through (0, other), (2, ...) and (5, ...)
        nodes = {0: int.from_bytes(other, "big")} | {
            point: int.from_bytes(share, "big") for point, share in known.items()
        }
        third = 0
        for node, value in nodes.items():
            term = value
            for apart in nodes:
                if apart != node:
                    term = term * (1 - apart) * pow(node - apart, -1, PRIME) % PRIME
            third += term
        made = (third % PRIME).to_bytes(shamir.SHARE_BYTES, "big")
        assert shamir.join({**known, 1: made}) == other


def test_the_mask_is_aes_in_counter_mode() -> None:
    """Known answer: the block of zeros under the key of zeros."""
    assert ciphers.stream(bytes(32), 16).hex() == "dc95c078a2408989ad48a21492842087"
    vector = np.zeros(100_000, np.uint32)
    ciphers.add_masks(vector, [(bytes(32), True)])
    assert vector.tobytes() == ciphers.stream(bytes(32), 400_000)
    ciphers.add_masks(vector, [(bytes(32), False)])
    assert not vector.any()


def test_a_label_gives_a_key_of_its_own() -> None:
    labels = [["a"], ["b"], ["a", 1], ["a", "1"], ["a", 1, ""], ["a1"]]
    assert len({ciphers.derive(SECRET, label) for label in labels}) == len(labels)


def test_boxes_go_in_one_direction_with_one_key() -> None:
    """With one key for both directions and a zero nonce, the server could tell the texts."""
    chain = SumChain(3)
    server = chain.shared(chain.vectors(4))
    one, other = chain.names[:2]
    sent = server.inbox(other)
    received = server.inbox(one)
    assert sent[:66] != received[:66]


def test_a_masked_vector_looks_random() -> None:
    chain = SumChain(3)
    zeros = {name: np.zeros(100_000, np.uint32) for name in chain.names}
    server = chain.shared(zeros)
    first = chain.names[0]
    masked = chain.store(first).mask(ADDRESS, server.inbox(first), zeros[first])
    counts = np.bincount(masked >> 28, minlength=16)
    # 6,250 expected in each of 16 parts, with a deviation of 77
    assert abs(counts - 6250).max() < 8 * 77


def test_the_sum_of_one_missing_share_stays_hidden() -> None:
    """The server has all masked vectors, and one share too few: what it can add up looks random."""
    chain = SumChain(3)
    zeros = {name: np.zeros(100_000, np.uint32) for name in chain.names}
    server = chain.masked(zeros)
    for name in chain.names[:2]:
        server.take_reveal(name, chain.store(name).unmask(ADDRESS, server.survivors).to_bytes())
    assert not server.is_ready
    counts = np.bincount(server.masked_total >> 28, minlength=16)
    assert abs(counts - 6250).max() < 8 * 77


@pytest.mark.parametrize("stores", [3, 4, 7, 100, 101, 150, 300])
def test_neighbours_are_mutual_and_as_many_as_said(stores: int) -> None:
    around = [set(neighbours(position, stores)) for position in range(stores)]
    assert {len(found) for found in around} == {degree(stores)}
    assert all(place not in found for place, found in enumerate(around))
    assert all(place in around[other] for place, found in enumerate(around) for other in found)


def test_a_mask_costs_no_more_in_a_larger_chain() -> None:
    assert (degree(100), degree(101), degree(300), degree(1000)) == (99, 40, 50, 60)


def test_thresholds_hide_a_store_among_as_many_as_it_wants() -> None:
    assert [choose_threshold(n, 3) for n in (2, 3, 4, 5, 6, 7, 9, 10)] == [
        None, 3, 3, 4, 5, 5, 6, 7,
    ]  # fmt: skip
    assert choose_threshold(10, 10) == 10
    for stores in (*range(3, 101), 150, 300):
        for threshold in range(smallest_threshold(stores), holders(stores) + 1):
            group = smallest_group(stores, threshold)
            assert 2 * threshold > holders(stores)
            assert 1 <= group <= stores
            assert 3 * group >= stores


def test_no_two_runs_of_neighbours_can_lose_their_keys() -> None:
    """A run that would cut the circle needs more shares than the stores around it reveal."""
    for stores in range(101, 3000):
        count = holders(stores)
        reach = (count - 1) // 2
        threshold = smallest_threshold(stores)
        revealed = 0
        for place in range(-reach, 2 * reach):  # the run is at 0 .. reach - 1
            low, high = max(0, place - reach), min(reach - 1, place + reach)
            revealed += min(count - threshold, high - low + 1)
        assert revealed < reach * threshold, stores


@pytest.mark.slow
def test_a_large_chain_sums_around_the_circle() -> None:
    chain = SumChain(101, least=3)
    vectors = chain.vectors(3)
    total, survivors = play(chain, vectors, {"store-010": 2, "store-050": 3})
    assert len(survivors) == 100
    assert (total == sum(vectors[name] for name in survivors)).all()
