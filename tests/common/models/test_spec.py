"""A specification settles size, normalisation, and errors in one sentence."""

import pytest

from fedshelf.common import models
from fedshelf.common.config import ModelConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.models.spec import ModelSpec


def settle(
    name: str, image_size: int = 0, native_size: int | None = None, channels: int = 3
) -> ModelSpec:
    return models.specify(
        ModelConfig(name=name),
        ("hat", "shoe"),
        image_size=image_size,
        native_size=native_size,
        channels=channels,
    )


@pytest.mark.parametrize(
    ("name", "native_size", "expected"),
    [
        ("cnn", None, 64),
        ("cnn", 28, 28),
        ("niid-cnn", 32, 32),
        ("resnet18", 32, 32),
        ("resnet18", None, 224),
        ("vgg16", 28, 224),  # five poolings need 32 px
        ("efficientnet_b1", None, 240),
        ("inception_v3", 32, 299),
        ("vit_b_16", 32, 224),
        ("vit_b_16", 300, 224),
        ("vit_h_14", None, 518),
        ("swin_v2_t", None, 256),
    ],
)
def test_chooses_the_size_of_the_data_or_else_of_the_model(
    name: str, native_size: int | None, expected: int
) -> None:
    assert settle(name, native_size=native_size).image_size == expected


def test_keeps_an_explicit_size() -> None:
    assert settle("resnet18", image_size=96, native_size=32).image_size == 96


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("niid-cnn", 12, "16 px or more"),
        ("inception_v3", 64, "75 px or more"),
        ("vit_b_16", 256, "exactly 224 px"),
    ],
)
def test_refuses_an_explicit_size_that_the_model_does_not_take(
    name: str, size: int, expected: str
) -> None:
    with pytest.raises(
        ConfigError, match=f"Model {name} takes images of {expected}, but data.image_size is {size}"
    ):
        settle(name, image_size=size)


@pytest.mark.parametrize(
    ("got", "nearest"),
    [("resnet81", "resnet18"), ("nid-cnn", "niid-cnn"), ("CNN", "Fedshelf's are")],
)
def test_names_the_nearest_models(got: str, nearest: str) -> None:
    with pytest.raises(ConfigError, match=f"Unknown model '{got}'.*{nearest}"):
        settle(got)


def test_normalisation_never_depends_on_photos() -> None:
    assert (settle("cnn").mean, settle("cnn").std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert (settle("cnn", channels=1).mean, settle("cnn", channels=1).std) == ((0.5,), (0.25,))
    imagenet = settle("resnet18")  # torchvision documents these with its weights
    assert (imagenet.mean, imagenet.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert settle("resnet18", channels=1).mean == pytest.approx((0.449,))


def test_travels_as_json() -> None:
    spec = settle("cnn")
    assert ModelSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        ("imagenet", "Model cnn has no published weights"),
        ("torchvision", "Model cnn has no published weights"),
        ("image-net", "expected none, imagenet or a .safetensors file"),
    ],
)
def test_refuses_weights_that_do_not_go_with_the_model(weights: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        models.initial_weights(resolve({"model.name": "cnn", "model.weights": weights}).model)


@pytest.mark.parametrize(
    ("name", "norm"), [("niid-cnn", "group"), ("squeezenet1_1", "group"), ("fashion-cnn", "batch")]
)
def test_refuses_a_norm_that_the_model_has_no_place_for(name: str, norm: str) -> None:
    config = ModelConfig.model_validate({"name": name, "norm": norm})
    spec = models.specify(config, ("hat", "shoe"), image_size=32, native_size=None, channels=3)
    with pytest.raises(ConfigError, match=f"Model {name} has no batch or group norm"):
        models.build(spec)
