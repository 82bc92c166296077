"""Training and evaluation on features against the same through the whole network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.system.device import has_bfloat16
from fedshelf.common.training.evaluate import evaluate, features
from fedshelf.common.training.features import extractor
from fedshelf.common.training.fit import LocalTrainingResult, LocalTrainingTask, Network, fit
from fedshelf.common.training.predict import log_probabilities

CPU = torch.device("cpu")
SPEC = ModelSpec("resnet18", ("a", "b", "c"), 32, 3, (0.5,) * 3, (0.25,) * 3, norm="frozen")


def images(count: int) -> Images:
    """Class k is a grey of its own, brighter to the right, with noise."""
    draws = np.random.default_rng(count)
    labels = torch.arange(count) % 3
    noise = torch.from_numpy(draws.integers(0, 50, (count, 32, 32, 3), dtype=np.uint8))
    slope = torch.arange(32, dtype=torch.uint8).view(1, 1, 32, 1)
    return Images.whole(noise + slope + (labels * 80).to(torch.uint8).view(-1, 1, 1, 1), labels)


def network(freeze: str = "backbone") -> Network:
    return Network(replace(SPEC, freeze=freeze), CPU, seed=5)


def config_of(**settings: object) -> RunConfig:
    given = {key.replace("__", "."): value for key, value in settings.items()}
    return resolve({"train.batch_size": 8, "train.epochs": 2, "train.lr": 0.01} | given)


def with_features(model: Network, config: RunConfig, data: Images) -> Images:
    make = extractor(model, config)
    assert make is not None
    (found,) = make.training([data])
    assert found.are_features
    return found


def trained(model: Network, config: RunConfig, data: Images) -> LocalTrainingResult:
    strategy = strategies.build(config.strategy, model.layout)
    start = network(model.spec.freeze).vector.detach().clone()
    return fit(model, data, LocalTrainingTask(config, strategy, "oslo", 2, start))


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("freeze", ["backbone", "last:1"])
def test_training_equals_that_through_the_network(freeze: str, flip: bool) -> None:
    data = images(21)
    model = network(freeze)
    config = config_of(data__flip=flip)
    through = trained(model, config, data)
    on_features = trained(model, config, with_features(model, config, data))
    moved = (through.params - network(freeze).vector).abs().max()
    assert (on_features.params - through.params).abs().max() < 1e-3 * moved
    assert on_features.loss == pytest.approx(through.loss, rel=1e-4)
    assert (on_features.steps, on_features.num_examples) == (through.steps, through.num_examples)


def test_training_equals_that_through_a_network_whose_head_looks_at_several_depths() -> None:
    spec = replace(SPEC, name="efficientnet-lite0-depths", image_size=64, freeze="last:1")
    small = images(9)
    data = replace(small, inputs=small.inputs.repeat_interleave(2, 1).repeat_interleave(2, 2))
    model = Network(spec, CPU, seed=5)
    start = model.vector.detach().clone()
    config = config_of()
    on_pixels, on_features = (
        fit(
            model,
            given,
            LocalTrainingTask(
                config, strategies.build(config.strategy, model.layout), "oslo", 2, start
            ),
        )
        for given in (data, with_features(model, config, data))
    )
    moved = (on_pixels.params - start).abs().max()
    assert moved > 0
    assert (on_features.params - on_pixels.params).abs().max() < 1e-3 * moved
    assert on_features.loss == pytest.approx(on_pixels.loss, rel=1e-4)


def test_features_are_the_inputs_of_the_head_for_a_photo_and_its_mirror_image() -> None:
    data = images(7)
    model = network()
    found = with_features(model, config_of(), data).inputs
    mirrored = replace(data, inputs=data.inputs.flip(2))
    assert found.shape == (7, 2, 512)
    for view, of_view in ((0, data), (1, mirrored)):
        expected = features(model, of_view, 4)
        largest = float(expected.abs().max())
        torch.testing.assert_close(found[:, view], expected, rtol=0, atol=1e-5 * largest)


def test_evaluation_equals_that_through_the_network() -> None:
    data = images(17).select(torch.tensor([3, 1, 16, 8, 8]))
    model = network()
    make = extractor(model, config_of())
    assert make is not None
    (found,) = make.held_out([data])
    assert found.inputs.shape == (17, 1, 512)
    (on_pixels,) = evaluate(model, [data], 2)
    (on_features,) = evaluate(model, [found], 2)
    assert (on_pixels.confusion == on_features.confusion).all()
    assert on_features.loss == pytest.approx(on_pixels.loss, rel=1e-5)
    torch.testing.assert_close(
        log_probabilities(model, found, 2), log_probabilities(model, data, 2), rtol=1e-4, atol=1e-4
    )


def test_grey_photos_have_the_features_of_the_network_for_colour() -> None:
    colour = images(9)
    data = replace(colour, inputs=colour.inputs[..., :1].contiguous())
    spec = replace(SPEC, freeze="backbone", channels=1, mean=(0.5,), std=(0.25,))
    model = Network(spec, CPU, seed=5)
    make = extractor(model, config_of())
    assert make is not None
    (found,) = make.held_out([data])
    expected = features(model, data, 4)
    largest = float(expected.abs().max())
    torch.testing.assert_close(found.inputs[:, 0], expected, rtol=0, atol=1e-5 * largest)


def test_mixed_precision_trains_on_the_features_that_float32_has() -> None:
    """Both are float32 on a machine without bfloat16."""
    data = images(21)
    model = network("last:1")
    plain, mixed = config_of(), config_of(train__precision="mixed")
    kept = with_features(model, plain, data)
    again = with_features(model, mixed, data)
    assert torch.equal(again.inputs, kept.inputs)
    in_float32 = trained(model, plain, kept)
    in_bfloat16 = trained(model, mixed, again)
    assert in_bfloat16.params.dtype == torch.float32
    moved = (in_float32.params - network("last:1").vector).norm()
    error = (in_bfloat16.params - in_float32.params).norm() / moved
    assert error < 0.1
    assert bool(error > 0) == has_bfloat16(CPU)


def test_sets_of_one_array_share_their_features_and_keep_their_rows() -> None:
    data = images(12)
    first = data.select(torch.tensor([0, 5]))
    second = data.select(torch.tensor([7]))
    make = extractor(network(), config_of())
    assert make is not None
    one, two = make.training([first, second])
    assert one.inputs is two.inputs
    assert (one.rows.tolist(), two.rows.tolist()) == ([0, 5], [7])
    assert one.inputs[[1, 2]].eq(0).all()  # nobody asked for them
    (again,) = make.training([second])
    assert again.inputs is two.inputs


def test_a_store_has_views_to_train_on_and_none_held_out() -> None:
    data = images(12)
    parts = [data.select(torch.tensor(rows, dtype=torch.int64)) for rows in ([0, 1], [2], [])]
    make = extractor(network(), config_of())
    assert make is not None
    store = make.store(StoreData(*parts))
    assert store.train.inputs.shape[1] == 2
    assert store.validation.inputs.shape[1] == 1
    assert len(store.test) == 0


def test_other_weights_have_other_features() -> None:
    data = images(4)
    one = with_features(network(), config_of(), data).inputs
    other = Network(replace(SPEC, freeze="backbone"), CPU, seed=6)
    assert not torch.equal(one, with_features(other, config_of(), data).inputs)
    frozen = other.frozen()
    assert frozen is not None
    received = network()
    assert received.frozen_part is not None  # of the weights before those that come
    received.load_frozen(frozen)
    again = with_features(received, config_of(), data).inputs
    assert torch.equal(again, with_features(other, config_of(), data).inputs)


@pytest.mark.parametrize("option", ["crop", "rotation", "mixup", "trivial_augment"])
def test_more_augmentation_than_views_needs_pixels(option: str) -> None:
    value = {"crop": 2, "rotation": 5.0, "mixup": 0.5, "trivial_augment": True}[option]
    assert extractor(network(), config_of(**{f"data__{option}": value})) is None


def test_a_network_that_trains_as_a_whole_has_no_features() -> None:
    assert extractor(Network(SPEC, CPU), config_of()) is None


def test_features_lie_in_the_cache_of_images(cache_folder: Path) -> None:
    with_features(network(), config_of(), images(4))
    (path,) = cache_folder.glob("*.features")
    assert path.stat().st_size > 4 * 2 * 512 * 4


def test_no_images_have_no_features_of_the_same_shape() -> None:
    model = network()
    make = extractor(model, config_of())
    assert make is not None
    empty = images(6).select(torch.arange(0))
    some, none = make.held_out([images(3), empty])
    assert (len(none), none.inputs.shape[1:]) == (0, some.inputs.shape[1:])
