"""The images on which models are judged: no image of them was trained or chosen on, and each store
has its own.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.errors import DataError
from fedshelf.common.images.types import StoreData
from fedshelf.simulations.compare import held_out
from fedshelf.simulations.compare.arms.arms import POOLED, Options, lone_rounds, plan_arms
from fedshelf.simulations.compare.held_out import hold_out
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.partitioned import pool_images
from tests.helpers.frozen_backbone import closed_form
from tests.helpers.simulated_stores import federation, photos, settings

NONE = torch.empty(0, dtype=torch.int64)


def without_tests(validation: bool = True) -> Federation:
    """Stores as a data set is dealt: no test images of their own."""
    dealt = federation([30, 12, 6])
    stores = {
        name: StoreData(
            data.train,
            data.validation if validation else data.test.select(NONE),
            data.test.select(NONE),
        )
        for name, data in dealt.stores.items()
    }
    return replace(dealt, stores=stores)


def test_a_stores_own_test_images_come_first() -> None:
    dealt = federation([30, 12, 6])
    stores, found = hold_out(dealt, seed=1)
    assert found.origin == held_out.OWN_TEST
    assert [len(images) for images in found.own.values()] == [0, 1, 2]
    assert found.server is dealt.test
    assert stores.test is None


def test_else_the_servers_are_dealt_each_to_one_store_as_the_training_images_were() -> None:
    dealt = without_tests()
    assert dealt.test is not None
    stores, found = hold_out(dealt, seed=1)
    assert found.origin == held_out.DEALT
    rows = torch.cat([images.rows for images in found.own.values()])
    assert sorted(rows.tolist()) == dealt.test.rows.tolist()
    # 48 training images and 50 test images, a third of each class: a store's share differs by an
    # image a class at most
    for (_, images), trained in zip(found.own.items(), [30, 12, 6], strict=True):
        assert abs(len(images) - 50 * trained / 48) <= 4
    for name, data in stores.stores.items():
        assert data.test is found.own[name]
        assert data.train is dealt.stores[name].train


def test_else_validation_images_are_taken_and_then_choose_nothing() -> None:
    stores, found = hold_out(replace(without_tests(), test=None), seed=1)
    assert found.origin == held_out.VALIDATION
    assert found.server is None
    assert [len(images) for images in found.own.values()] == [0, 1, 2]
    assert all(len(data.validation) == 0 for data in stores.stores.values())


def test_an_image_has_one_number_in_all_seeds() -> None:
    dealt, other = (hold_out(without_tests(), seed=seed)[1] for seed in (1, 2))
    pixels = without_tests().test
    assert pixels is not None
    for found in (dealt, other):
        for name, numbers in found.image_numbers().items():
            assert torch.equal(
                pixels.inputs[torch.from_numpy(numbers)],
                found.own[name].inputs[found.own[name].rows],
            )
    assert [len(part) for part in dealt.image_numbers().values()] != [0, 0, 0]
    # stores with arrays of their own: none, one and two test images
    own = hold_out(federation([30, 12, 6]), seed=1)[1].image_numbers()
    assert {name: numbers.tolist() for name, numbers in own.items()} == {
        "store-0": [], "store-1": [0], "store-2": [1, 2],
    }  # fmt: skip


def test_the_server_judges_rounds_only_where_nobody_else_can_and_nothing_stops_by_it() -> None:
    chosen = Options((5,), 2, 0.01, leave_one_out=False)
    for validation in (True, False):
        stores, _ = hold_out(without_tests(validation), seed=1)
        for patience in (0, 2):
            parts = plan_arms(settings(evaluation__patience=patience), stores, chosen, Path("here"))
            judged = {part.kind for part in parts if part.federation.test is not None}
            assert judged == (set() if validation or patience else {"federated", "pooled"})


def test_nothing_held_out_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"neither test nor validation images; .* data\.holdout"):
        hold_out(replace(without_tests(validation=False), test=None), seed=1)


def test_pooled_sets_hold_the_same_images_whether_they_share_an_array_or_not() -> None:
    whole = photos(20, 8)
    halves = [whole.select(torch.arange(12)), whole.select(torch.arange(12, 20))]
    assert pool_images(halves).inputs is whole.inputs
    apart = pool_images([halves[0], photos(7, 8, seed=3).select(torch.tensor([5, 2]))])
    assert apart.targets().tolist() == [*whole.targets()[:12].tolist(), 2, 2]
    assert len(apart.inputs) == 14


class TestParts:
    def parts(self, changed: dict | None = None, **options: object) -> list:
        usual: dict = {"seeds": (5,), "tune_epochs": 2, "tune_lr": 0.01, "leave_one_out": False}
        chosen = Options(**(usual | options))
        usual_settings = {
            "strategy__name": "fedprox", "cohort__min_stores": 3, "train__lr": 0.05,
        }  # fmt: skip
        config = settings(**usual_settings | (changed or {}))
        stores, _ = hold_out(without_tests(), seed=1)
        return plan_arms(config, stores, chosen, Path("here"))

    def test_are_one_federation_one_pool_and_three_of_each_store(self) -> None:
        parts = self.parts()
        of_stores = dict.fromkeys(("alone", "alone-longer", "fine-tuned"), 3)
        assert Counter(part.kind for part in parts) == {"federated": 1, "pooled": 1} | of_stores
        assert parts[0].kind == "federated"
        assert {part.kind for part in parts[-6:]} == {"fine-tuned", "alone-longer"}

    def test_solve_for_the_head_alone_and_pooled_too_where_the_federation_does(self) -> None:
        parts = self.parts(closed_form() | {"strategy__ridge_penalty": 0.3})
        assert {part.kind: part.config.strategy.name for part in parts} == {
            "federated": "ridge", "pooled": "ridge", "alone": "ridge",
            "fine-tuned": "fedavg", "alone-longer": "fedavg",
        }  # fmt: skip
        for part in parts:
            strategies.check(part.config)
            assert part.config.strategy.ridge_penalty == (0.3 if part in parts[:5] else 0)

    def test_what_is_fine_tuned_and_what_it_is_compared_with_get_the_same_work(self) -> None:
        parts = {part.name: part for part in self.parts()}
        for store in ("store-0", "store-1", "store-2"):
            tuned = parts[f"fine-tuned/{store}"]
            longer = parts[f"alone-longer/{store}"]
            assert (tuned.after, longer.after) == ("federated", f"alone/{store}")
            assert tuned.config.model.weights == "here/federated/model.safetensors"
            assert longer.config.model.weights == f"here/alone/{store}/model.safetensors"
            same = [
                part.config.model_copy(update={"model": None, "strategy": None})
                for part in (tuned, longer)
            ]
            assert same[0] == same[1]
            assert tuned.federation.stores == longer.federation.stores

    def test_without_fine_tuning_nothing_trains_longer(self) -> None:
        assert {part.kind for part in self.parts(tune_epochs=0)} == {"federated", "pooled", "alone"}

    def test_a_store_alone_learns_its_mix_and_the_others_have_it_taken_out(self) -> None:
        for part in self.parts({"strategy__absent_classes": "mask"}):
            learns = part.kind in ("alone", "alone-longer")
            assert part.config.strategy.absent_classes == ("full" if learns else "mask")

    def test_all_deliver_the_same_mean_of_rounds(self) -> None:
        shared = {"strategy__average": "ema", "strategy__average_decay": 0.5}
        for part in self.parts(shared):
            strategy = part.config.strategy
            averaged = "none" if part.kind in ("fine-tuned", "alone-longer") else "ema"
            assert (strategy.average, strategy.average_decay) == (averaged, 0.5)

    def test_the_pool_has_every_image(self) -> None:
        (pool,) = [part for part in self.parts() if part.kind == POOLED]
        (store,) = pool.federation.stores.values()
        assert (len(store.train), len(store.validation), len(store.test)) == (48, 0 + 1 + 2, 50)

    def test_whoever_is_alone_trains_plainly_and_for_as_long(self) -> None:
        for part in self.parts():
            if part.kind in ("alone", "pooled"):
                assert part.config.strategy.name == "fedavg"
                assert (part.config.run.rounds, part.config.train) == (
                    3,
                    settings(train__lr=0.05).train,
                )
            if part.kind == "fine-tuned":
                assert (part.config.run.rounds, part.config.train.epochs, part.config.train.lr) == (
                    2,
                    1,
                    0.01,
                )

    def test_each_store_is_left_out_once(self) -> None:
        parts = [
            part for part in self.parts(leave_one_out=True, tune_epochs=0) if part.kind == "without"
        ]
        assert sorted(part.store for part in parts) == ["store-0", "store-1", "store-2"]
        for part in parts:
            assert part.store not in part.federation.stores
            assert len(part.federation.stores) == 2
            assert part.config.cohort.min_stores == 2
            assert part.config.strategy.name == "fedprox"


@pytest.mark.parametrize(
    ("rounds", "fraction", "stores", "expected"),
    [(10, 1.0, 4, 10), (10, 0.25, 4, 3), (30, 0.1, 100, 3), (1, 0.1, 10, 1)],
)
def test_alone_sees_its_images_as_often_as_the_federation_does(
    rounds: int, fraction: float, stores: int, expected: int
) -> None:
    assert lone_rounds(settings(run__rounds=rounds, cohort__fraction=fraction), stores) == expected
