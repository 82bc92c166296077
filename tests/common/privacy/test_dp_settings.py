"""Settings that do not go with private training are refused in one sentence that names them."""

import pytest

from fedshelf.common import strategies
from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.privacy.dp_settings import check_settings
from fedshelf.server.training.setup import prepare, settle

PRIVATE = {
    "privacy.clip": 1.0, "privacy.noise": 1.0, "privacy.rate": 0.1, "privacy.steps": 20,
    "data.dataset": "cifar10",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"privacy.clip": 0.0}, "privacy.noise got 1 without privacy.clip"),
        ({"privacy.rate": 0.0}, "without privacy.rate"),
        ({"privacy.steps": 0}, "without privacy.steps"),
        ({"privacy.noise": 0.0, "data.dataset": "stores"}, "without privacy.noise"),
        ({"privacy.noise": 0.001}, "privacy.noise got 0.001; expected 0.01 to"),
        ({"privacy.clip": 1e-9}, "privacy.clip got 1e-09; expected"),
        ({"data.mixup": 0.5}, "data.mixup 0.5"),
        ({"data.cutmix": 0.5}, "data.cutmix 0.5"),
        ({"train.seconds": 2.0}, "train.seconds 2.0"),
        ({"train.epochs": 2}, "train.epochs 2"),
        ({"train.batch_size": 16}, "train.batch_size 16"),
        ({"train.clip_norm": 1.0}, "train.clip_norm 1.0"),
        ({"train.precision": "mixed"}, "train.precision mixed"),
        ({"strategy.absent_classes": "mask"}, "strategy.absent_classes mask"),
        ({"strategy.absent_classes": "weigh"}, "strategy.absent_classes weigh"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_one_sentence_names_what_does_not_go_with_privacy(changed: dict, named: str) -> None:
    check_settings(resolve(PRIVATE))
    with pytest.raises(ConfigError) as caught:
        check_settings(resolve(PRIVATE | changed))
    sentence = str(caught.value)
    assert named in sentence
    assert ". " not in sentence
    assert sentence.endswith(".")


def test_clipping_alone_is_for_simulations() -> None:
    check_settings(resolve(PRIVATE | {"privacy.noise": 0.0}))


def test_without_privacy_nothing_is_refused() -> None:
    check_settings(resolve({"data.mixup": 0.5, "train.seconds": 1.0, "train.clip_norm": 1.0}))


@pytest.mark.parametrize("name", ["ridge", "prototypes"])
def test_strategies_that_sum_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}.*privacy.clip is 1"):
        strategies.check(resolve(PRIVATE | {"strategy.name": name, "model.freeze": "backbone"}))


@pytest.mark.parametrize("native_size", [None, 32])
def test_a_run_settles_without_epochs_batches_and_offsets(native_size: int | None) -> None:
    asked = PRIVATE | {"train.precision": "auto", "model.name": "cnn", "data.image_size": 32}
    settled = settle(resolve(asked), native_size, 3)
    train = settled.train
    assert (train.epochs, train.batch_size, train.precision) == (0, 0, "float32")
    assert settled.strategy.absent_classes == "full"
    assert settle(settled, None, 3) == settled  # a settled run stays as it is
    assert (settled.fewest_steps(1), settled.most_steps(10**6)) == (20, 20)


@pytest.mark.parametrize(
    ("model", "refused"),
    [
        ({"model.name": "resnet18"}, True),
        ({"model.name": "resnet18", "model.norm": "group"}, False),
        ({"model.name": "cnn", "model.norm": "batch"}, True),
    ],
)
def test_batch_norm_is_refused(model: dict, refused: bool) -> None:
    config = resolve(PRIVATE | {"data.image_size": 32} | model)
    if refused:
        with pytest.raises(ConfigError, match=r"batch norm mixes.*model\.norm=group"):
            prepare(config, ("a", "b"), 3)
    else:
        prepare(config, ("a", "b"), 3)
