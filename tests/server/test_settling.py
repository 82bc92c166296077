"""What is chosen from the data, where nobody asks for anything."""

import pytest

from common.config import resolve
from server.plan import settle


@pytest.mark.parametrize(
    ("native_size", "asked", "epochs", "image_size"),
    [
        (None, {}, 5, 64),  # photos
        (32, {}, 1, 32),  # CIFAR-10 and its like
        (None, {"train.epochs": 1, "data.image_size": 48}, 1, 48),
        (32, {"train.epochs": 3}, 3, 32),
    ],
)
def test_photos_get_more_epochs(native_size: int | None, asked: dict[str, int], epochs: int, image_size: int) -> None:
    settled = settle(resolve(asked), native_size, 3)
    assert (settled.train.epochs, settled.data.image_size) == (epochs, image_size)
    assert settle(settled, None, 3) == settled  # a settled run stays as it is


def test_where_nothing_is_settled_an_epoch_is_one() -> None:
    assert resolve().train.epochs == 0
    assert resolve().train.passes == 1
    assert resolve({"train.epochs": 4}).train.passes == 4
