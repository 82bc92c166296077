"""Addressed randomness: the same address, the same numbers; another address, others."""

from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.seeding import derive, rng

parts = draw.lists(
    draw.one_of(draw.integers(0, 10**6), draw.text(max_size=8)), min_size=1, max_size=4
)


def test_is_the_same_on_every_machine() -> None:
    assert derive(1, "fit", 3, "store-07") == 8824256267612905119
    assert rng(1, "fit", 3, "store-07").integers(0, 1000, 4).tolist() == [630, 698, 617, 758]


@given(parts, parts)
def test_addresses_do_not_collide(one: list, other: list) -> None:
    assert (derive(0, *one) == derive(0, *other)) == (one == other)


def test_number_and_text_are_different_addresses() -> None:
    assert derive(0, 1) != derive(0, "1")
    assert derive(0, "a", "b") != derive(0, "a\x1fstr:b")
