"""Simulated stores that lack classes: every engine masks alike, and rounds leave rows alone that nobody has."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from common.images.types import StoreData
from server.rounds import Rounds
from simulations.engines.sequential import SequentialEngine
from simulations.federation import Federation
from tests.server.by_hand import Notes
from tests.simulations.stores import CLASSES, alone, batched, photos, same, settings, start, together

ASSORTMENTS = ((0, 1), (1, 2), (0, 1, 2), (2,))


def federation(assortments: Sequence[Sequence[int]] = ASSORTMENTS) -> Federation:
    """A store for each of these sets of classes, of falling size."""
    stores, table = {}, {}
    for number, sold in enumerate(assortments):
        images = photos(40 - 9 * number, 16, seed=number)
        own = images.select(torch.isin(images.labels, torch.tensor(sold)).nonzero().flatten())
        stores[f"store-{number}"] = StoreData(own, own, own)
        table[f"store-{number}"] = torch.bincount(own.targets(), minlength=len(CLASSES)).tolist()
    return Federation(CLASSES, stores, photos(50, 16, seed=99), table, "")


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"strategy__absent_classes": "weigh", "train__label_smoothing": 0.1},
        {"train__label_smoothing": 0.1},
        {"train__loss": "squared", "train__label_smoothing": 0.1},
        {"data__mixup": 0.5, "data__cutmix": 0.5, "train__batch_size": 7},
        {"data__mixup": 0.5, "train__label_smoothing": 0.1},
        {"strategy__name": "fedprox", "strategy__mu": 0.5},
    ],
)
def test_the_engine_batched_masks_as_stores_do(changed: dict, tmp_path: Path) -> None:
    config = settings(**{"model__name": "niid-cnn", "strategy__absent_classes": "mask", **changed})
    dealt = federation()
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


def test_a_store_with_all_classes_trains_as_ever(tmp_path: Path) -> None:
    masked, full = (settings(model__name="niid-cnn", strategy__absent_classes=mode) for mode in ("mask", "full"))
    dealt = federation([(0, 1, 2)])
    found = [alone(dealt, config, tmp_path)["store-0"].params for config in (masked, full)]
    assert torch.equal(*found)


@pytest.mark.parametrize("strategy", ["fedavg", "fedavgm", "scaffold"])
@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_a_class_that_nobody_in_the_cohort_has_keeps_its_row(strategy: str, engine: str, tmp_path: Path) -> None:
    config = settings(
        model__name="niid-cnn", strategy__name=strategy, strategy__absent_classes="mask", train__weight_decay=0.01,
        run__workers=1,
    )  # fmt: skip
    dealt, begun = federation([(0, 1), (1,)]), start(config)
    runtime = (batched if engine == "batched" else SequentialEngine)(dealt, begun, tmp_path)
    rounds = Rounds(begun.plan, begun.layout, runtime, None, Notes(), lambda: False)
    state = rounds.begin(begun.params)
    for _ in range(2):
        state, _ = rounds.play(state)
    runtime.close()
    for span in begun.layout.rows():
        same_row = (state.params[span] == begun.params[span]).view(3, -1)
        assert same_row[2].all()
        assert not same_row[:2].any()
