"""The engine `batched` against stores trained alone: the same batches, masks and images, so the
same weights.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.common import models, own_objects, strategies
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.protocol.messages import EvaluateOrder, Evaluation, Failure, Update
from fedshelf.simulations import engines
from fedshelf.simulations.engines.batched import convolution, device_worker, layers
from fedshelf.simulations.engines.batched.engine import BatchedEngine
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.simulated_stores import (
    CLASSES,
    CPU,
    TOLERANCE,
    Remembering,
    alone,
    batched,
    difference,
    federation,
    order,
    same,
    settings,
    start,
    together,
    trained,
)
from tests.helpers.simulation_command import SMALL, history, run

# batches of 8: up to 24 steps, one image, one full batch, a last batch of one
SIZES = (13, 1, 61, 8, 17)


@pytest.mark.parametrize("name", models.names())
def test_our_networks_train_as_they_do_alone(name: str, tmp_path: Path) -> None:
    sizes = (13, 1, 30) if name == "moderate-cnn" else SIZES
    config = settings(model__name=name, model__dropout=0.2)
    dealt = federation(sizes)
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


def test_a_residual_network_trains_as_it_does_alone(tmp_path: Path) -> None:
    config = settings(
        model__name="resnet18", model__norm="group", data__image_size=32, train__epochs=1,
        train__batch_size=4, train__lr=0.003,
    )  # fmt: skip
    dealt = federation((6, 3), 32)
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


@pytest.mark.parametrize(
    "changed",
    [
        {"train__optimizer": "adam", "train__lr": 0.001, "train__weight_decay": 0.01},
        {"train__optimizer": "adamw", "train__lr": 0.001, "train__weight_decay": 0.01},
        {"train__backbone_lr": 0.1, "train__weight_decay": 0.01},
        {
            "train__backbone_lr": 0.3,
            "train__optimizer": "adamw",
            "train__lr": 0.001,
            "train__weight_decay": 0.1,
        },
        {"train__momentum": 0, "train__loss": "squared", "train__label_smoothing": 0.1},
        {
            "train__l1": 1e-3,
            "train__clip_norm": 0.5,
            "train__label_smoothing": 0.1,
            "train__weight_decay": 0.01,
        },
        {"strategy__name": "fedprox", "strategy__mu": 0.5},
        {"data__rotation": 20, "data__translate": 0.1, "data__scale": 0.2, "data__brightness": 0.3},
        {"data__contrast": 0.3, "data__crop": 0},
        {"data__trivial_augment": True, "data__erasing": 0.5},
        {"data__mixup": 0.7, "train__label_smoothing": 0.1},
        {"data__augmentation": "tests.helpers.own_augmentation:Fade", "data__mixup": 0.3},
        {"data__cutmix": 0.5, "data__mixup": 0.5, "train__loss": "squared", "train__batch_size": 5},
        {
            "data__flip": False,
            "data__crop": 0,
            "train__schedule": "cosine",
            "train__batch_size": 100,
        },
    ],
)
def test_every_way_to_train_is_the_same(changed: dict, tmp_path: Path) -> None:
    own_objects.allow(changed.get("data__augmentation", ""))
    config = settings(model__name="niid-cnn", **changed)
    dealt = federation(SIZES)
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


def test_convolutions_as_on_a_gpu_train_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(model__name="cnn", model__dropout=0.3)
    dealt = federation(SIZES)
    monkeypatch.setattr(layers, "fastest_form", lambda *_: convolution.columns)
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


@pytest.mark.parametrize("fitting", [1, 2, 3])
def test_groups_of_any_size_are_the_same(
    fitting: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(model__name="cnn", model__dropout=0.3)
    dealt = federation(SIZES)
    monkeypatch.setattr(device_worker, "stores_that_fit", lambda *_, **__: fitting)
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


def test_two_devices_are_the_same_as_one(tmp_path: Path) -> None:
    config = settings(model__name="cnn", model__dropout=0.3)
    dealt = federation(SIZES)
    one = together(dealt, config, tmp_path / "a")
    two = together(dealt, config, tmp_path / "b", devices=2)
    assert same(two, one, tolerance=1e-6)


def test_updates_stay_valid_and_rounds_follow_each_other(tmp_path: Path) -> None:
    """The second round is planned ahead during the first; the third is not the cohort expected."""
    config = settings(model__name="cnn", cohort__fraction=0.6)
    dealt = federation(SIZES)
    begun = start(config)
    engine = batched(dealt, begun, tmp_path / "a")
    trainer = Trainer(CPU, StateStore(tmp_path / "b"))
    everyone = list(dealt.stores)
    kept = []
    for round, cohort in ((1, everyone), (2, everyone[:2]), (3, everyone[1:])):
        answers = trained(engine, order(begun, round), cohort)
        kept += [
            (update.params, update.params.clone())
            for update in answers.values()
            if isinstance(update, Update)
        ]
        expected = {
            name: trainer.train(order(begun, round), name, dealt.stores[name].train)
            for name in cohort
        }
        assert same(answers, expected)
    assert all(torch.equal(params, before) for params, before in kept)


def test_what_stores_remember_is_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "fedshelf.common.strategies.STRATEGIES",
        {**strategies.STRATEGIES, "remembering": Remembering},
    )
    config = settings(model__name="cnn", strategy__name="remembering", train__lr=0.003)
    dealt = federation(SIZES)
    begun = start(config)
    extras = {"drift": torch.full_like(begun.params, 1e-3)}
    engine = batched(dealt, begun, tmp_path / "a")
    trainer = Trainer(CPU, StateStore(tmp_path / "b"))
    everyone = list(dealt.stores)
    # in round 2 two stores are new
    for round, cohort in ((1, everyone[:3]), (2, everyone), (3, everyone)):
        asked = order(begun, round, extras=extras, committed=round - 1)
        expected = {name: trainer.train(asked, name, dealt.stores[name].train) for name in cohort}
        found = trained(engine, asked, cohort)
        assert same(found, expected)
        for name in cohort:
            assert difference(found[name].extras["change"], expected[name].extras["change"]) < 1e-2
    states = [StateStore(tmp_path / folder).load("run", "store-2", 4) for folder in "ab"]
    assert states[0]["weight"] == states[1]["weight"]
    assert difference(states[0]["own"], states[1]["own"]) < 1e-2


def test_stores_without_images_say_so(tmp_path: Path) -> None:
    dealt = federation((4, 0, 3))
    found = together(dealt, settings(model__name="cnn"), tmp_path)
    assert isinstance(found["store-1"], Failure)
    assert found["store-1"].code == "no-images"
    assert isinstance(found["store-2"], Update)


def test_a_device_without_memory_takes_fewer_stores_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(model__name="cnn")
    dealt = federation(SIZES)
    expected = alone(dealt, config, tmp_path / "b")
    run = device_worker.StackedTraining.run
    asked = []

    def with_room_for(stores: int):
        def limited(self, group, *rest):
            asked.append(len(group.names))
            result = run(self, group, *rest)  # the group is well under way when memory runs out
            if len(group.names) > stores:
                raise torch.OutOfMemoryError
            return result

        return limited

    monkeypatch.setattr(device_worker.StackedTraining, "run", with_room_for(2))
    assert same(together(dealt, config, tmp_path / "a"), expected)
    assert asked == [5, 2, 2, 1]
    monkeypatch.setattr(device_worker.StackedTraining, "run", with_room_for(0))
    failures = together(dealt, config, tmp_path / "c").values()
    assert {failure.code for failure in failures} == {"out-of-memory"}


@pytest.mark.parametrize("devices", [1, 2])
def test_judging_counts_what_stores_count(devices: int, tmp_path: Path) -> None:
    config = settings(model__name="cnn", evaluation__batch_size=7)
    dealt = federation(SIZES)
    begun = start(config)
    engine = batched(dealt, begun, tmp_path, devices)
    trainer = Trainer(CPU, StateStore(tmp_path))
    asked = EvaluateOrder(begun.plan, 1, begun.params)
    found = {answer.store: answer for answer in engine.evaluate(asked, list(dealt.stores))}
    for name, data in dealt.stores.items():
        expected = trainer.evaluate(asked, {name: data.validation})[0].counts
        assert isinstance(found[name], Evaluation)
        assert (found[name].counts.confusion == expected.confusion).all()
        assert found[name].counts.loss_sum == pytest.approx(expected.loss_sum, rel=1e-5)
    assert dealt.test is not None
    asked = replace(asked, temperatures=(1.0, 2.0))
    judged = engine.evaluate_test_set(begun.params, (1.0, 2.0))
    expected = trainer.evaluate(asked, {"": dealt.test})[0].counts
    assert (judged.confusion == expected.confusion).all()
    assert judged.loss_sum == pytest.approx(expected.loss_sum, rel=1e-5)
    told = judged.reliability
    reliability = expected.reliability
    assert told is not None
    assert reliability is not None
    np.testing.assert_array_equal(told.images, reliability.images)
    assert told.energies.sum() == reliability.energies.sum() == expected.num_examples
    np.testing.assert_allclose(told.nll, reliability.nll, rtol=1e-5)
    assert reliability.loss(0) == pytest.approx(expected.loss, rel=1e-5)
    engine.close()


def test_stores_with_arrays_of_their_own(tmp_path: Path) -> None:
    """As those of a folder of stores."""
    parts = [federation((size,)).stores["store-0"] for size in (9, 4, 11)]
    table = {f"store-{number}": [len(part.train), 0, 0] for number, part in enumerate(parts)}
    dealt = Federation(CLASSES, dict(zip(table, parts, strict=True)), None, table, "")
    config = settings(model__name="cnn")
    assert same(together(dealt, config, tmp_path / "a"), alone(dealt, config, tmp_path / "b"))


def test_a_network_with_batch_norm_is_refused_in_one_sentence(tmp_path: Path) -> None:
    begun = start(settings(model__name="cnn", model__norm="batch"))
    with pytest.raises(ConfigError, match=r"layers of kind BatchNorm2d.*--engine sequential"):
        batched(federation((4, 3)), begun, tmp_path)


def test_auto_takes_it_on_a_gpu_where_it_pays() -> None:
    def chosen(**changed: object) -> str:
        return engines.choose(start(settings(**{"model__name": "cnn", **changed})))

    assert chosen() == "sequential"  # on a CPU
    assert chosen(run__engine="batched") == "batched"
    assert chosen(run__device="cuda") == "batched"
    assert chosen(run__device="cuda", model__norm="batch") == "sequential"
    assert chosen(run__device="cuda", data__stores=1) == "sequential"
    assert engines.find("batched") is BatchedEngine


def test_a_gpu_that_is_kept_from_many_stores_by_batch_norm_says_so() -> None:
    def told(**changed: object) -> str:
        return engines.advice(
            start(settings(**{"model__name": "cnn", "model__norm": "batch", **changed}))
        )

    assert "model.norm=group" in told(run__device="cuda")
    assert told() == ""  # a CPU has no such choice
    assert told(run__device="cuda", model__norm="default") == ""
    assert told(run__device="cuda", run__engine="sequential") == ""  # as asked
    assert told(run__device="cuda", data__stores=1) == ""


@pytest.mark.parametrize("loss", ["cross-entropy", "squared"])
def test_what_overflows_at_one_store_is_nothing_to_another(loss: str, tmp_path: Path) -> None:
    """The second store's batch is filled up to the first one's size; what fills it must count for
    nothing.
    """
    pixels = torch.cat([torch.full((8, 16, 16, 3), 255), torch.zeros(3, 16, 16, 3)]).to(torch.uint8)
    whole = Images.whole(pixels, torch.arange(11) % len(CLASSES))
    bright, dark = (
        StoreData(whole.select(rows), whole, whole)
        for rows in (torch.arange(8), torch.arange(8, 11))
    )
    table = {"store-0": [8, 0, 0], "store-1": [3, 0, 0]}
    dealt = Federation(CLASSES, {"store-0": bright, "store-1": dark}, None, table, "")
    begun = start(settings(model__name="cnn", data__flip=False, data__crop=0, train__loss=loss))
    # what is not black becomes infinite
    spec = replace(begun.plan.spec, mean=(0.0,) * 3, std=(1e-38,) * 3)
    begun = replace(begun, plan=replace(begun.plan, spec=spec))
    expected = Trainer(CPU, StateStore(tmp_path / "b")).train(order(begun), "store-1", dark.train)
    found = trained(batched(dealt, begun, tmp_path / "a"), order(begun), list(dealt.stores))
    assert isinstance(found["store-0"], Update)
    assert not found["store-0"].params.isfinite().all()
    assert same({"store-1": found["store-1"]}, {"store-1": expected})


@pytest.mark.slow
def test_a_run_of_the_command_line_ends_as_the_sequential_one(tmp_path: Path) -> None:
    outs = {engine: tmp_path / engine for engine in ("sequential", "batched")}
    settled = [
        "--rounds",
        "2",
        "--lr",
        "0.003",
        "--batch-size",
        "100",
        "--set",
        "data.holdout=0.1",
        "--set",
        "model.dropout=0.2",
    ]
    for engine, out in outs.items():
        done = run("run", *SMALL, *settled, "--engine", engine, "--device", "cpu", "--out", out)
        assert done.returncode == 0, done.stderr
    models = [load_file(out / "model.safetensors") for out in outs.values()]
    one, other = (torch.cat([tensor.flatten() for tensor in model.values()]) for model in models)
    assert difference(one, other) < TOLERANCE
    rows = [history(out) for out in outs.values()]
    for first, second in zip(*rows, strict=True):
        assert second["train"]["loss"] == pytest.approx(first["train"]["loss"], rel=1e-3)
        assert second["test"]["accuracy"] == pytest.approx(first["test"]["accuracy"], abs=0.01)
        assert second["validation"]["images"] == first["validation"]["images"]
