import hashlib
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from common.images.split import split_of


def digest(number: int) -> bytes:
    return hashlib.blake2b(str(number).encode(), digest_size=20).digest()


def test_numbers_by_hand() -> None:
    at = {share: int(share * 2**64).to_bytes(8) for share in (0.0, 0.05, 0.15, 0.5, 0.99)}
    assert [split_of(at[share]) for share in at] == ["validation", "validation", "test", "train", "train"]
    assert [split_of(at[share], test=0) for share in at] == ["validation", "validation", "train", "train", "train"]
    assert [split_of(at[share], validation=0) for share in at] == ["test", "test", "train", "train", "train"]


def test_proportions_are_80_10_10() -> None:
    counts = Counter(split_of(digest(number)) for number in range(10_000))
    for split, share in {"train": 0.8, "validation": 0.1, "test": 0.1}.items():
        # Four standard deviations of a binomial count of 10,000.
        assert abs(counts[split] - 10_000 * share) < 4 * (10_000 * share * (1 - share)) ** 0.5


@given(st.binary(min_size=8, max_size=32), st.floats(0, 0.5))
def test_validation_photos_do_not_depend_on_the_test_share(content: bytes, test: float) -> None:
    assert (split_of(content, test=test) == "validation") == (split_of(content) == "validation")
