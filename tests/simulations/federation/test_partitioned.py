"""Stores made when asked for are those that dealing one after another makes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw

from fedshelf.common.config import resolve
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.seeding import rng
from fedshelf.simulations.federation.federation import build, store_names
from fedshelf.simulations.federation.partitioned import PartitionedImages, PartitionedStores

CLASSES = 3


def images(labels: list[int]) -> Images:
    """Images whose one pixel is their number; the array holds one more, which belongs to no
    store.
    """
    pixels = torch.arange(len(labels) + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
    whole = Images.whole(pixels, torch.tensor([*labels, 0]))
    return whole.select(torch.arange(len(labels)))


def one_by_one(
    train: Images, parts: list[np.ndarray], share: float, seed: int
) -> dict[str, StoreData]:
    """The plain way: each store's images selected, and its share drawn from its own address."""
    stores = {}
    for name, part in zip(store_names(len(parts)), parts, strict=True):
        own = train.select(torch.from_numpy(part))
        count = min(int(share * len(own)), len(own) - 1)
        order = rng(seed, "holdout", name).permutation(len(own))
        kept, held = (
            torch.from_numpy(np.sort(positions)) for positions in (order[count:], order[:count])
        )
        stores[name] = StoreData(
            own.select(kept) if count else own,
            own.select(held[:count]),
            own.select(torch.empty(0, dtype=torch.int64)),
        )
    return stores


@given(
    owners=draw.lists(draw.integers(0, 4), min_size=1, max_size=60).map(
        lambda found: [*range(5), *found]
    ),
    share=draw.sampled_from([0.0, 0.2, 0.5, 1.0]),
    seed=draw.integers(0, 9),
)
def test_lazy_stores_equal_those_dealt_one_by_one(
    owners: list[int], share: float, seed: int
) -> None:
    train = images([owner % CLASSES for owner in range(len(owners))])
    parts = [np.flatnonzero(np.array(owners) == store) for store in range(5)]
    lazy = PartitionedStores(
        store_names(5), *PartitionedImages.of(train, parts).hold_out(share, seed, store_names(5))
    )
    eager = one_by_one(train, parts, share, seed)
    assert list(lazy) == list(eager)
    for name, data in eager.items():
        for split in ("train", "validation", "test"):
            mine = getattr(lazy[name], split)
            plain = getattr(data, split)
            assert mine.rows.tolist() == plain.rows.tolist()
            assert mine.targets().tolist() == plain.targets().tolist()
        counts = torch.bincount(data.train.targets(), minlength=CLASSES).tolist()
        assert lazy.table(CLASSES)[name] == counts


def test_a_store_that_does_not_exist_is_a_key_error() -> None:
    train = images([0, 1])
    nothing = PartitionedImages.of(train, [np.empty(0, np.int64)] * 2)
    lazy = PartitionedStores(
        ["a", "b"], PartitionedImages.of(train, [np.array([0]), np.array([1])]), nothing
    )
    assert "c" not in lazy
    assert len(lazy) == 2
    with pytest.raises(KeyError):
        lazy["c"]


def test_what_stores_say_of_themselves_is_what_they_hold() -> None:
    dealt = build(resolve({"data.stores": 30, "data.holdout": 0.3}), image_size=32, channels=3)
    infos = dealt.infos()
    assert list(infos) == list(dealt.stores)
    for name, info in infos.items():
        data = dealt.stores[name]
        assert (info.name, info.num_examples) == (name, len(data.train))
        assert (info.validation, info.test) == (len(data.validation), 0)
        assert sum(dealt.table[name]) == info.num_examples
    assert infos["store-00"] is infos["store-00"]
