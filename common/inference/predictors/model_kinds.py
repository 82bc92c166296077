"""The kinds of finished models, and the refusal of one where another is needed."""

from pathlib import Path

from fedshelf.common.errors import DataError
from fedshelf.common.models.spec import Output

_KINDS: dict[Output, str] = {
    "classes": "a classifier, which names the product on a photo",
    "boxes": "a locator, which finds the products of a scene",
    "masks": "a mask network, which tells the pixels of products",
}
_USES: dict[Output, str] = {
    "classes": "use it with flower-client classify, or as --classifier of locate",
    "boxes": "use it with flower-client locate, or as --locator of count, serve and page",
    "masks": "use it with flower-client segment",
}


def check_kind(found: Output, wanted: Output, file: Path) -> None:
    """Refuse a model of another kind than the one that is needed.

    Args:
        found: the result of its network
        wanted: the result that is needed
        file: where it lies, for the error

    Raises:
        DataError: it is of another kind.
    """
    if found != wanted:
        raise DataError(
            f"The model in {file} is {_KINDS[found]}; expected {_KINDS[wanted]} ({_USES[found]})."
        )
