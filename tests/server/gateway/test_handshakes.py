"""Limits on TLS handshakes: numbers by hand."""

from fedshelf.server.gateway.handshakes import Handshakes, TokenBucket


def begun(
    handshakes: Handshakes, address: str, count: int, now: float, *, is_familiar: bool = False
) -> int:
    return sum(
        handshakes.may_begin(address, is_familiar=is_familiar, now=now) for _ in range(count)
    )


def test_an_owner_may_have_so_many_at_once_and_so_many_a_second_then() -> None:
    allowance = TokenBucket(burst=4, rate=2)
    assert [allowance.take("a", 100.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert allowance.take("b", 100.0)
    assert [allowance.take("a", 101.0) for _ in range(3)] == [True, True, False]
    assert [allowance.take("a", 200.0) for _ in range(6)] == [True] * 4 + [False] * 2


def test_one_address_takes_nothing_from_another() -> None:
    handshakes = Handshakes()
    assert begun(handshakes, "10.0.0.1", 5000, 100.0) == 512
    assert begun(handshakes, "10.0.0.2", 10, 100.0) == 10
    # 100 s at 20 a second, but no more than at once
    assert begun(handshakes, "10.0.0.1", 5000, 200.0) == 512


def test_many_strangers_together_leave_room_for_addresses_of_stores() -> None:
    handshakes = Handshakes()
    assert sum(begun(handshakes, f"10.0.{number}.1", 300, 100.0) for number in range(10)) == 2048
    assert begun(handshakes, "10.9.9.9", 1, 100.0) == 0
    assert begun(handshakes, "10.0.0.1", 2000, 100.0, is_familiar=True) == 2000


def test_a_network_of_ipv6_is_one_owner_and_a_mapped_address_is_the_one_of_ipv4() -> None:
    handshakes = Handshakes()
    assert begun(handshakes, "2001:db8::1", 512, 100.0) == 512
    assert begun(handshakes, "2001:db8::ffff:2", 1, 100.0) == 0
    assert begun(handshakes, "2001:db8:0:1::1", 1, 100.0) == 1
    assert begun(handshakes, "fe80::1%eth0", 1, 100.0) == 1
    assert begun(handshakes, "::ffff:10.0.0.1", 512, 100.0) == 512
    assert begun(handshakes, "10.0.0.1", 1, 100.0) == 0
