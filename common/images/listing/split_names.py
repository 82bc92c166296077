"""The usual names of the splits of a data set, in folders and files."""

from fedshelf.common.images.listing.split import Split

SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""Lower-case name -> the split that it means.

A prefix (`seg_train`) is no name: nobody can tell what it means.
"""


def split_named(name: str) -> Split | None:
    """Return the split that a folder or file of this name holds; None if the name means none.

    Args:
        name: in upper or lower case
    """
    return SPLIT_NAMES.get(name.casefold())
