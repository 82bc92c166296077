"""Assignment of photos to splits by content: the same everywhere, and stable as photos are added.

A photo's hash is a place in [0, 1). Validation is the tenth below 0.1, test the tenth above it,
training the rest:

    0        0.1       0.2                                              1
    |--------|---------|------------------------------------------------|
    validation   test                    training

By the rule `class`, each class of n photos holds out n / 10, rounded down or up, for each of the
two. If the hashes give one of them too few, its part of this circle grows at the end towards
training; if too many, it shrinks there. So an added photo moves at most one other photo across each
of these two ends, and none between validation and test. By the rule `hash`, that of earlier
versions, a photo's hash decides alone: nothing ever moves, but a class of ten has no validation
photo in 35% of cases.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
HeldOut = Literal["validation", "test"]
SplitRule = Literal["class", "hash"]

ONE_IN = 10  # one in ten photos of a class is for validation, and one for test
HELD_OUT_SHARE = 1 / ONE_IN


def splits_by_content(
    labels: Sequence[str],
    digests: Sequence[bytes],
    held_out: Set[HeldOut],
    rule: SplitRule = "class",
) -> list[Split]:
    """Return the split of each photo, by its class and the hash of its content.

    Equal photos are in one split, whatever their classes. By the rule `class`, a class trains on at
    least one photo, and with ten or more has all three splits, unless its photos lie in other
    classes, too.

    Args:
        labels: the class of each photo
        digests: at least 8 uniformly distributed bytes for each photo
        held_out: the splits to fill beside training, a tenth each
        rule: `class` or `hash`, as described above
    """
    if rule == "hash":
        return [_by_hash(digest, held_out) for digest in digests]
    contents: dict[str, set[bytes]] = {}
    for label, digest in zip(labels, digests, strict=True):
        contents.setdefault(label, set()).add(digest)
    split_of: dict[bytes, Split] = {}
    # a photo of several classes counts in each; the first one decides
    for label in sorted(contents):
        split_of |= _split_class(contents[label], held_out, split_of)
    return [split_of[digest] for digest in digests]


def _split_class(
    contents: Set[bytes], held_out: Set[HeldOut], split_of: Mapping[bytes, Split]
) -> dict[bytes, Split]:
    """Return the splits of those photos of a class that are not assigned yet."""
    assigned = Counter(split_of[digest] for digest in contents if digest in split_of)
    waiting = sorted(
        (digest for digest in contents if digest not in split_of),
        key=lambda digest: (_circle_position(digest), digest),
    )
    natural = Counter(_by_hash(digest, held_out) for digest in waiting)
    decided: dict[bytes, Split] = {}
    for name in sorted(held_out, reverse=True):  # validation first: of two photos, it may get one
        at_least = len(contents) // ONE_IN
        at_most = -(-len(contents) // ONE_IN)
        wanted = min(max(natural[name] + assigned[name], at_least), at_most) - assigned[name]
        # a class trains on one photo at least
        spare = len(waiting) if assigned["train"] else len(waiting) - 1
        # validation lies at the end of the circle, test at its beginning
        in_turn = waiting[::-1] if name == "validation" else waiting
        selected = in_turn[: max(0, min(wanted, spare))]
        decided |= dict.fromkeys(selected, name)
        waiting = [digest for digest in waiting if digest not in decided]
    return decided | dict.fromkeys(waiting, "train")


def _by_hash(digest: bytes, held_out: Set[HeldOut]) -> Split:
    """Return the split by a photo's hash alone."""
    position = _position(digest)
    if "validation" in held_out and position < HELD_OUT_SHARE:
        return "validation"
    if "test" in held_out and HELD_OUT_SHARE <= position < 2 * HELD_OUT_SHARE:
        return "test"
    return "train"


def _position(digest: bytes) -> float:
    """Return the hash as a number in [0, 1)."""
    return int.from_bytes(digest[:8]) / 2**64


def _circle_position(digest: bytes) -> float:
    """Return the position on a circle that begins with test and ends with validation."""
    return (_position(digest) - HELD_OUT_SHARE) % 1
