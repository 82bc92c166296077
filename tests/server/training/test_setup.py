"""Settings are chosen from the data where nobody asks for them."""

import pytest

from fedshelf.common.config import resolve
from fedshelf.server.training.setup import settle


@pytest.mark.parametrize(
    ("native_size", "asked", "epochs", "batch_size", "image_size"),
    [
        (None, {}, 5, 16, 64),  # photos
        (32, {}, 1, 32, 32),  # CIFAR-10 and its like
        (None, {"train.epochs": 1, "train.batch_size": 8, "data.image_size": 48}, 1, 8, 48),
        (None, {"train.batch_size": 32}, 5, 32, 64),
        (32, {"train.epochs": 3}, 3, 32, 32),
    ],
)
def test_photos_get_more_steps(
    native_size: int | None, asked: dict[str, int], epochs: int, batch_size: int, image_size: int
) -> None:
    settled = settle(resolve(asked), native_size, 3)
    assert (settled.train.epochs, settled.train.batch_size) == (epochs, batch_size)
    assert settled.data.image_size == image_size
    assert settle(settled, None, 3) == settled  # a settled run stays as it is


def test_where_nothing_is_settled_an_epoch_is_one_and_a_batch_32() -> None:
    train = resolve().train
    assert (train.epochs, train.passes, train.batch_size, train.batch) == (0, 1, 0, 32)
    train = resolve({"train.epochs": 4, "train.batch_size": 10}).train
    assert (train.passes, train.batch) == (4, 10)


@pytest.mark.parametrize(
    ("native_size", "asked", "expected"),
    [
        (None, {}, "weigh"),
        (32, {}, "full"),  # papers' data sets and papers' FedAvg
        (None, {"strategy.absent_classes": "full"}, "full"),
        (32, {"strategy.absent_classes": "mask"}, "mask"),
        (None, {"strategy.name": "scaffold"}, "weigh"),
        (None, {"strategy.name": "fedper"}, "full"),  # each store's own model is for its own shares
        # has no rows of its own, and is told nothing of it
        (None, {"strategy.name": "median"}, "auto"),
        (None, {"train.objective": "turns"}, "full"),  # knows no products
    ],
)
def test_photos_scores_count_by_a_stores_shares(
    native_size: int | None, asked: dict[str, str], expected: str
) -> None:
    settled = settle(resolve(asked), native_size, 3)
    assert settled.strategy.absent_classes == expected
    assert settled.strategy.absent == expected.replace("auto", "full")
    assert settle(settled, None, 3) == settled
