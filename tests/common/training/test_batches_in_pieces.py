"""A batch that a device's memory does not hold trains in pieces, with the same result."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.training.fit import LocalTrainingResult, LocalTrainingTask, Network, fit

CPU = torch.device("cpu")
# two whole batches, and one of six
BATCH = 12
IMAGES = 30


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Backward(torch.autograd.Function):
    """The identity, whose backward pass runs out of memory with more than `room` rows."""

    @staticmethod
    def forward(ctx, scores: Tensor, room: int) -> Tensor:
        ctx.room = room
        return scores.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        if len(gradient) > ctx.room:
            raise torch.OutOfMemoryError("backward")
        return gradient, None


class Cramped(Network):
    """A network on a device that holds `room` images forward, and `backward` images backward."""

    room = 10**6
    backward = 10**6

    def logits(self, pixels: Tensor) -> Tensor:
        self.tried.append(len(pixels))
        scores = super().logits(pixels)  # so far dropout has counted its calls
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("forward")
        return Backward.apply(scores, self.backward)


def network(name: str = "cnn", *, dropout: float = 0.0, norm: str = "default") -> Cramped:
    spec = ModelSpec(
        name, ("a", "b", "c"), 16, 3, (0.5,) * 3, (0.25,) * 3, dropout=dropout, norm=norm
    )
    made = Cramped(spec, CPU, seed=3)
    made.tried = []
    return made


def images() -> Images:
    draws = np.random.default_rng(0)
    pixels = torch.from_numpy(draws.integers(0, 255, (IMAGES, 16, 16, 3), dtype=np.uint8))
    return Images.whole(pixels, torch.arange(IMAGES) % 3)


def trained(made: Cramped, round: int = 1, **settings: object) -> LocalTrainingResult:
    chosen = {"train.batch_size": BATCH, "train.lr": 0.02, "train.epochs": 2}
    config: RunConfig = resolve(
        chosen, {key.replace("__", "."): value for key, value in settings.items()}
    )
    task = LocalTrainingTask(
        config, strategies.build(config.strategy), "oslo", round, network().vector.clone()
    )
    if made.vector.shape != task.start.shape:
        task = LocalTrainingTask(
            config, task.strategy, "oslo", round, Network(made.spec, CPU, seed=3).vector.clone()
        )
    return fit(made, images(), task)


SETTINGS = [
    {},
    {"train__loss": "squared", "train__label_smoothing": 0.1},
    {"train__l1": 1e-3, "train__weight_decay": 1e-3, "train__clip_norm": 0.5},
    {
        "train__optimizer": "adamw",
        "train__lr": 1e-3,
        "strategy__name": "fedprox",
        "strategy__mu": 0.1,
    },
    {"data__flip": True, "data__crop": 2, "data__rotation": 10, "data__brightness": 0.2},
    {"data__mixup": 0.5, "data__cutmix": 0.5},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("room", [1, 2, 3, 5, 11])
def test_pieces_give_what_the_whole_batch_gives(settings: dict[str, object], room: int) -> None:
    whole = network(dropout=0.3)
    cramped = network(dropout=0.3)
    cramped.room = room
    expected = trained(whole, **settings)
    found = trained(cramped, **settings)
    torch.testing.assert_close(found.params, expected.params, rtol=1e-4, atol=1e-5)
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    assert set(whole.tried) == {12, 6}
    assert cramped.images_per_piece == {1: 1, 2: 1, 3: 3, 5: 3, 11: 6}[room]  # 12, 6, 3, 1
    assert max(cramped.tried[8:]) <= room


def test_memory_that_runs_out_on_the_way_back_is_the_same() -> None:
    whole = network(dropout=0.3)
    cramped = network(dropout=0.3)
    cramped.backward = 4
    torch.testing.assert_close(trained(cramped).params, trained(whole).params, rtol=1e-4, atol=1e-5)
    assert cramped.images_per_piece == 3


def test_what_fitted_is_remembered_from_round_to_round() -> None:
    cramped = network()
    cramped.room = 7
    trained(cramped)
    assert cramped.tried[0] == 12
    cramped.tried.clear()
    trained(cramped, round=2)
    assert set(cramped.tried) == {6}


def test_a_single_image_that_does_not_fit_is_a_failure() -> None:
    cramped = network()
    cramped.room = 0
    with pytest.raises(torch.OutOfMemoryError):
        trained(cramped)
    assert cramped.tried == [12, 6, 3, 1]


def test_a_device_with_room_is_asked_once_a_batch_and_gives_the_same_bits() -> None:
    plain = Network(network(dropout=0.3).spec, CPU, seed=3)
    roomy = network(dropout=0.3)
    assert torch.equal(trained(roomy).params, trained(plain).params)
    assert len(roomy.tried) == 6


def test_batch_norm_never_gets_a_single_image_and_says_no_more_than_that_it_works() -> None:
    cramped = network(norm="batch")
    cramped.room = 3
    assert torch.isfinite(trained(cramped).params).all()
    assert min(cramped.tried) >= 2
