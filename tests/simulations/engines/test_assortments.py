"""Simulated stores that lack classes: every engine masks alike, and rounds leave rows alone that
nobody has.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from fedshelf.common.config import RunConfig
from fedshelf.common.images.types import StoreData
from fedshelf.common.training.fit import Network
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.engines.sequential import SequentialEngine
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.by_hand import Notes
from tests.helpers.simulated_stores import (
    CLASSES,
    CPU,
    alone,
    batched,
    photos,
    same,
    settings,
    start,
    together,
)

ASSORTMENTS = ((0, 1), (1, 2), (0, 1, 2), (2,))


def federation(assortments: Sequence[Sequence[int]] = ASSORTMENTS) -> Federation:
    """A store for each of these sets of classes, of falling size."""
    stores = {}
    table = {}
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
    masked, full = (
        settings(model__name="niid-cnn", strategy__absent_classes=mode) for mode in ("mask", "full")
    )
    dealt = federation([(0, 1, 2)])
    found = [alone(dealt, config, tmp_path)["store-0"].params for config in (masked, full)]
    assert torch.equal(*found)


@pytest.mark.parametrize("strategy", ["fedavg", "fedavgm", "scaffold"])
@pytest.mark.parametrize("engine", ["sequential", "batched"])
def test_a_round_by_hand(strategy: str, engine: str, tmp_path: Path) -> None:
    """One store has the classes 0 and 1, the other class 1, nobody class 2. Each row of the head is
    a mean over those that have its class; the third stays; then all rows move together, which no
    softmax sees.
    """
    usual = {
        "model__name": "niid-cnn",
        "strategy__absent_classes": "mask",
        "train__weight_decay": 0.01,
    }
    dealt = federation([(0, 1), (1,)])
    config = settings(**usual, strategy__name=strategy, run__workers=1)
    state, begun = played(dealt, config, tmp_path / "rounds", engine, rounds=1)
    updates = alone(dealt, settings(**usual), tmp_path / "alone")  # all train alike in round 1
    one, other = (updates[name].params for name in ("store-0", "store-1"))
    of_one = dealt.table["store-0"][1]
    of_other = dealt.table["store-1"][1]
    expected = (
        one * updates["store-0"].num_examples + other * updates["store-1"].num_examples
    ) / sum(update.num_examples for update in updates.values())
    for span in begun.layout.head_slices():
        rows, first, second, before = (
            vector[span].view(3, -1) for vector in (expected, one, other, begun.params)
        )
        rows[0] = first[0]
        rows[1] = (of_one * first[1] + of_other * second[1]) / (of_one + of_other)
        rows[2] = before[2]
    network = Network(begun.plan.spec, CPU)
    pixels = torch.randn(9, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    sure = {}
    for name, params in (("expected", expected), ("found", state.params)):
        network.load(params)
        sure[name] = network.logits(pixels).softmax(dim=1)
    torch.testing.assert_close(sure["found"], sure["expected"], atol=1e-4, rtol=1e-4)
    for span in begun.layout.head_slices():
        assert state.params[span].view(3, -1).mean(dim=0).abs().max() < 1e-6
        assert expected[span].view(3, -1).mean(dim=0).abs().max() > 1e-3


@pytest.mark.parametrize("mode", ["mask", "weigh"])
@pytest.mark.parametrize(
    "strategy", ["fedavg", "fedprox", "scaffold", "fednova", "feddyn", "fedavgm", "fedadam"]
)
def test_rows_have_nothing_in_common_after_any_round(
    strategy: str, mode: str, tmp_path: Path
) -> None:
    config = settings(
        model__name="niid-cnn",
        strategy__name=strategy,
        strategy__absent_classes=mode,
        run__workers=1,
        train__epochs=1,
    )
    state, begun = played(federation(), config, tmp_path, "sequential", rounds=2)
    for span in begun.layout.head_slices():
        assert state.params[span].view(3, -1).mean(dim=0).abs().max() < 1e-6


def test_heads_of_the_stores_own_stay_there(tmp_path: Path) -> None:
    config = settings(
        model__name="niid-cnn",
        strategy__name="fedper",
        strategy__absent_classes="mask",
        run__workers=1,
    )
    state, begun = played(federation(), config, tmp_path, "sequential", rounds=1)
    for span in begun.layout.head_slices():
        assert torch.equal(state.params[span], begun.params[span])


def played(
    dealt: Federation, config: RunConfig, states: Path, engine: str, *, rounds: int
) -> tuple[TrainingState, InitialState]:
    """Train the initial model for some rounds."""
    begun = start(config)
    runtime = (batched if engine == "batched" else SequentialEngine)(dealt, begun, states)
    loop = RoundLoop(begun.plan, begun.layout, runtime, Notes(), lambda: False)
    state = loop.initial_state(begun.params)
    for _ in range(rounds):
        state, _ = loop.play(state)
    runtime.close()
    return state, begun
