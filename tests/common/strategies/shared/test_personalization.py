"""Parts of a model that stay at the stores: they never travel, are kept, and are what each store
judges with.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from fedshelf.client.worker.state_store import StateStore
from fedshelf.common import models, strategies
from fedshelf.common.config import RunConfig, StrategyConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import EvaluateOrder
from fedshelf.common.strategies.shared.personalization import (
    local_model,
    personal_slices,
    withhold_personal,
)
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import prepare
from fedshelf.simulations.engines.sequential import SequentialEngine
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.by_hand import Notes
from tests.helpers.simulated_stores import CLASSES, order, photos, settings, start, trained
from tests.helpers.simulation_command import run, summary


@cache
def layout_of(model: str) -> Layout:
    return prepare(settings(model__name=model, data__image_size=32), CLASSES, 3).layout


def named(name: str, layout: Layout, *layers: str) -> tuple[str, ...]:
    return strategies.build(StrategyConfig(name=name, personal=layers), layout).personal_tensors()


# --- which parts ----------------------------------------------------------------------------------


def test_fedbn_keeps_parameters_and_statistics_of_normalisation_layers() -> None:
    layout = layout_of("resnet18")
    kept = named("fedbn", layout)
    assert {
        "bn1.weight",
        "bn1.bias",
        "bn1.running_mean",
        "bn1.running_var",
        "layer1.0.bn2.weight",
    } <= set(kept)
    assert len(kept) == 20 * 4  # 20 layers of batch norm
    assert not {"conv1.weight", "fc.weight"} & set(kept)


def test_fedper_keeps_the_head_or_what_is_named_with_all_inside() -> None:
    layout = layout_of("resnet18")
    assert named("fedper", layout) == ("fc.weight", "fc.bias")
    assert set(named("fedper", layout, "fc", "layer4")) > {
        "fc.bias",
        "layer4.0.conv1.weight",
        "layer4.1.bn2.running_var",
    }
    assert named("fedper", layout, "conv1") == ("conv1.weight",)  # and not layer1.0.conv1


@pytest.mark.parametrize("name", models.names())
def test_every_network_has_a_head_to_keep(name: str) -> None:
    layout = layout_of(name)
    assert {layout.head} == {tensor.rpartition(".")[0] for tensor in named("fedper", layout)}


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("niid-cnn", {"strategy.name": "fedbn"}, "no normalisation layers"),
        (
            "cnn",
            {"strategy.name": "fedper", "strategy.personal": "head"},
            r"got 'head'; the network's layers are 0, 2,",
        ),
        (
            "cnn",
            {"strategy.name": "fedper", "strategy.personal": "0,2,4,6,8,10,14"},
            "nothing is left to share",
        ),
        (
            "cnn",
            {"strategy.name": "fedper", "evaluation.stores": False},
            "only they can judge the model",
        ),
        (
            "cnn",
            {"strategy.name": "fedavg", "strategy.personal": "0"},
            "fedavg does not use it; it is for fedper",
        ),
    ],
)
def test_what_cannot_be_kept_is_an_error(model: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        prepare(resolve({"model.name": model, "data.image_size": 32} | given), CLASSES, 3)


# --- by hand --------------------------------------------------------------------------------------


LAYOUT = Layout(("a", "b", "c"), (torch.Size([2]), torch.Size([1]), torch.Size([2])), 5, 5)


def test_a_stores_own_values_take_the_place_of_what_is_sent_and_the_other_way_round() -> None:
    sent = torch.arange(5.0)
    trained_there = torch.arange(10.0, 15.0)
    places = personal_slices(LAYOUT, ("a", "c"))
    travels, kept = withhold_personal(trained_there, sent, places)
    assert travels.tolist() == [0, 1, 12, 3, 4]
    assert local_model(torch.zeros(5), kept, places).tolist() == [10, 11, 0, 13, 14]
    assert local_model(sent, {}, places) is sent  # a store that is new
    assert trained_there.tolist() == [10, 11, 12, 13, 14]


def test_without_personal_parts_nothing_is_kept_or_copied() -> None:
    model = torch.arange(5.0)
    assert withhold_personal(model, torch.zeros(5), ())[0] is model
    assert withhold_personal(model, torch.zeros(5), ())[1] == {}


# --- in a run -------------------------------------------------------------------------------------


def two_tongues() -> Federation:
    """Two stores with the same photos of two products, which each of them names as the other names
    the other one.
    """
    stores = {}
    for number, turned in enumerate((False, True)):
        everything = photos(60, 16)
        two = everything.select(torch.nonzero(everything.labels < 2).flatten())
        labels = 1 - two.targets() if turned else two.targets()
        images = Images.whole(two.inputs[two.rows], labels)
        held_out = images.select(torch.arange(0, 40, 5))
        stores[f"store-{number}"] = StoreData(images, held_out, held_out)
    return Federation(CLASSES, stores, None, {name: [20, 20, 0] for name in stores}, "")


def config_of(name: str, **changed: object) -> RunConfig:
    usual = {
        "model__name": "cnn",
        "strategy__name": name,
        "run__workers": 1,
        "run__rounds": 4,
        "train__epochs": 4,
    }
    return settings(**usual | {"train__lr": 0.02, "data__flip": False, "data__crop": 0} | changed)


def accuracies(name: str, states: Path) -> list[float | None]:
    """Of each store after four rounds, on what it holds out."""
    begun = start(config_of(name))
    engine = SequentialEngine(two_tongues(), begun, states)
    rounds = RoundLoop(begun.plan, begun.layout, engine, Notes(), lambda: False)
    state = rounds.initial_state(begun.params)
    while state.round < 4:
        state, _ = rounds.play(state)
    return [counts.accuracy for counts in rounds.scores(state).stores.values()]


def test_stores_that_contradict_each_other_agree_on_all_but_the_head(tmp_path: Path) -> None:
    assert accuracies("fedper", tmp_path / "own") == [1.0, 1.0]
    # right here is wrong there
    assert sum(accuracy or 0 for accuracy in accuracies("fedavg", tmp_path / "one")) == 1.0


@pytest.mark.parametrize("name", ["fedbn", "fedper"])
@pytest.mark.parametrize("compression", ["none", "top-k", "int8"])
def test_what_stays_neither_leaves_nor_is_lost(name: str, compression: str, tmp_path: Path) -> None:
    config = config_of(name, messages__compression=compression)
    begun = start(config)
    states = StateStore(tmp_path)
    engine = SequentialEngine(two_tongues(), begun, tmp_path)
    places = personal_slices(
        begun.layout, strategies.build(config.strategy, begun.layout).personal_tensors()
    )
    update = trained(engine, order(begun, 1), ["store-0"])["store-0"]
    kept = states.load("run", "store-0", 2)
    first = local_model(begun.params, kept, places)
    for place in places:
        assert torch.equal(update.params[place], begun.params[place])
        assert not torch.equal(first[place], begun.params[place])
    assert not torch.equal(update.params, begun.params)
    # the same order once more goes on from there, and what the store knew before round 2 is still
    # there
    trained(engine, order(begun, 2, committed=1), ["store-0"])
    assert not torch.equal(
        local_model(begun.params, states.load("run", "store-0", 3), places), first
    )
    assert torch.equal(local_model(begun.params, states.load("run", "store-0", 2), places), first)


def test_a_store_judges_a_round_with_what_it_had_then(tmp_path: Path) -> None:
    """Three rounds; the model sent stays as it was, so all that changes from round to round is the
    store's own head.
    """
    begun = start(config_of("fedper", train__lr=0.001))
    engine = SequentialEngine(two_tongues(), begun, tmp_path)
    losses = []
    for number in (1, 2, 3):
        trained(engine, order(begun, number), ["store-0"])
    for number in (0, 1, 2, 3):
        found = list(
            engine.evaluate(EvaluateOrder(begun.plan, number, begun.params), ["store-0", "store-1"])
        )
        losses.append([evaluation.counts.loss for evaluation in found])
    own, others = zip(*losses, strict=True)
    assert sorted(own, reverse=True) == list(own)
    assert len(set(own)) == 4
    assert len(set(others)) == 1  # it never trained, and judges the model as it is sent


def test_a_run_says_what_its_model_lacks(tmp_path: Path) -> None:
    """Only stores judge; the file has the head as it began, and says so."""
    out = tmp_path / "run"
    arguments = [
        "--dataset",
        "shelf",
        "--stores",
        "3",
        "--model",
        "niid-cnn",
        "--strategy",
        "fedper",
        "--rounds",
        "1",
    ]
    refused = run("run", *arguments, "--out", out)
    assert refused.returncode == 2
    assert "data.holdout got 0 with strategy fedper" in refused.stderr
    done = run("run", *arguments, "--set", "data.holdout=0.2", "--out", out)
    assert done.returncode == 0, done.stderr
    assert "2 tensors of the model (11.weight, ...) stay at the stores" in done.stdout.replace(
        "\n", " "
    )
    told = summary(out)
    assert told["personal"] == ["11.weight", "11.bias"]
    assert told["test"] is None
    assert told["best"]["on"] == "validation"
    assert (told["per_store_from"], len(told["per_store"])) == ("validation", 3)
    begun = prepare(
        resolve({"model.name": "niid-cnn", "data.image_size": 32}), tuple("abcdefghij"), 3
    )
    assert torch.equal(
        load_file(out / "model.safetensors")["11.bias"],
        begun.layout.split_views(begun.params)["11.bias"],
    )
