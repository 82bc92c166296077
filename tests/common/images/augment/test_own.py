"""An augmentation of one's own: its numbers, its place, and all that it must obey."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fedshelf.common import own_objects, plugins
from fedshelf.common.config import DataConfig
from fedshelf.common.errors import ConfigError
from fedshelf.common.images.augment.own import check_augmentation
from fedshelf.common.seeding import rng
from tests.helpers.drawn import augmented, noise, stream

NAME = "python:mine"
CONFIG = DataConfig(flip=False, augmentation=NAME)


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_objects, "_registered", {})


def known(augmentation: Any) -> None:
    own_objects.register(plugins.AUGMENTATION.group, NAME, augmentation)


class Brighter:
    """Add 10 to the images whose second number is below a half."""

    draws = 2

    def __call__(self, pixels: Tensor, numbers: Tensor) -> Tensor:
        more = 10.0 * (numbers[:, 1] < 0.5)[:, None, None, None]
        return (pixels + more).clamp(0, 255)


@pytest.mark.parametrize("given", [Brighter, Brighter(), Brighter().__call__])
def test_it_gets_numbers_of_its_own_and_comes_after_the_others(given: Any) -> None:
    known(given)
    pixels = noise(40)
    draws = getattr(given, "draws", 8)
    numbers = rng(7, "augment own", 1, "store").random((40, draws))
    expected = pixels + 10.0 * torch.from_numpy(numbers[:, 1] < 0.5)[:, None, None, None]
    assert torch.equal(augmented(pixels, CONFIG)[0], expected.clamp(0, 255))
    mirrored = rng(7, "augment", 1, "store").random((40, 9))[:, 0] < 0.5
    turned = torch.where(
        torch.from_numpy(mirrored)[:, None, None, None], expected.flip(2), expected
    )
    flipped = augmented(pixels, DataConfig(augmentation=NAME))[0]
    assert torch.equal(flipped, turned.clamp(0, 255))
    check_augmentation(NAME, 8, 3)


def test_batches_take_the_numbers_that_one_large_batch_takes() -> None:
    known(Brighter)
    whole, in_parts = stream(CONFIG), stream(CONFIG)
    parts = np.vstack([in_parts.take(5), in_parts.take(3)])
    assert np.array_equal(whole.take(8)[:, -2:], parts[:, -2:])


def changes_in_place(pixels: Tensor, _: Tensor) -> Tensor:
    return pixels.clamp_(0, 100)


def draws_itself(pixels: Tensor, _: Tensor) -> Tensor:
    return (pixels * torch.rand(())).clamp(0, 255)


def looks_at_others(pixels: Tensor, _: Tensor) -> Tensor:
    return pixels.flip(0)


class Counter:
    draws = -1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changes_in_place, "changes the pixels that it is given"),
        (draws_itself, "gives other pixels for the same numbers"),
        (looks_at_others, "in another way if others are beside it"),
        (lambda pixels, _: pixels.float() * 2, "returned values from 0 to 510"),
        (lambda pixels, _: pixels[:, :-1], r"returned torch.uint8 \[16, 7, 8, 3\] on cpu"),
        (lambda pixels, _: pixels.numpy(), "returned a ndarray"),
        (lambda pixels, _: pixels.double(), "returned torch.float64"),
        (lambda pixels: pixels, r"fails on pixels \[16, 8, 8, 3\] .* TypeError"),
        (3, "is a int; expected a function of"),
        (Counter, "is a Counter; expected a function of"),
        (type("Many", (Brighter,), {"draws": 5000}), "has draws = 5000; expected"),
    ],
)
def test_all_that_it_must_obey(wrong: Callable[..., Any], words: str) -> None:
    known(wrong)
    with pytest.raises(ConfigError, match=words):
        check_augmentation(NAME, 8, 3)


def test_an_unknown_one_is_a_mistake_of_the_setting() -> None:
    with pytest.raises(ConfigError, match=r"data\.augmentation got 'fade'; allowed: module:Object"):
        check_augmentation("fade", 8, 3)
