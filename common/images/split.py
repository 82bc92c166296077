"""Which split a photo belongs to, by its content alone: adding photos reshuffles nothing."""

from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_of(digest: bytes, *, validation: float = 0.1, test: float = 0.1) -> Split:
    """The split of the photo whose content hashes to `digest` (at least 8 uniformly distributed bytes).

    The hash is read as a number in [0, 1): below `validation` is validation, the next `test` is test,
    the rest train. Equal photos are on one side, and no photo's split depends on another photo. With
    `test=0` the validation photos are the same ones, so a test folder that appears moves none of them.
    """
    position = int.from_bytes(digest[:8]) / 2**64
    if position < validation:
        return "validation"
    return "test" if position < validation + test else "train"
