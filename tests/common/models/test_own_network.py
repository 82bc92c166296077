"""Networks of a person's own: how they are made, and what each must obey."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fedshelf.common.errors import ConfigError
from fedshelf.common.models.own_network import check_network, describe_network

CLASSES = 3
SHAPE = (8, 3)  # side in pixels, channels


class Linear(nn.Module):
    def __init__(self, num_classes: int, channels: int = 3, image_size: int = 8) -> None:
        super().__init__()
        self.head = nn.Linear(channels * image_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


class Counting(Linear):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.register_buffer("seen", torch.tensor(0))

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        return super().forward(images)


class Tied(Linear):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.again = self.head


class Double(Linear):
    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        self.double()


class Drifting(Linear):
    made = 0

    def __init__(self, num_classes: int) -> None:
        super().__init__(num_classes)
        Drifting.made += 1
        nn.init.constant_(self.head.weight, Drifting.made)


class Headless(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(num_classes))

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))[:, None] * self.scale


def lazy(num_classes: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(num_classes))


def other_rows(num_classes: int) -> nn.Module:
    return Linear(num_classes + 1)


def other_input(num_classes: int) -> nn.Module:
    return Linear(num_classes, image_size=9)


def needs_width(width: int) -> nn.Module:
    return Linear(width)


def two_outputs(num_classes: int) -> nn.Module:
    return nn.Sequential(Linear(num_classes), nn.Unflatten(1, (1, num_classes)))


def check(own: Any) -> str:
    return check_network(describe_network("mylab:Own", own), "mylab:Own", CLASSES, SHAPE)


def test_a_builder_gets_the_parameters_that_it_has() -> None:
    got: list[dict[str, Any]] = []

    def build(classes: int, **others: int) -> nn.Module:
        got.append({"classes": classes, **others})
        return Linear(classes)

    describe_network("mylab:build", build).build(CLASSES, 8, 3)
    describe_network("mylab:Linear", Linear).build(CLASSES, 8, 1)
    assert got == [{"classes": CLASSES}]
    assert check(Linear) == ""


def test_a_module_gives_the_initial_weights_and_stays_as_it_is() -> None:
    mine = Linear(CLASSES)
    built = describe_network("mylab:mine", mine).build(CLASSES, 8, 3)
    assert built is not mine
    torch.testing.assert_close(built.state_dict(), mine.state_dict(), rtol=0, atol=0)
    assert check(mine) == ""


def test_batch_norm_gets_a_note() -> None:
    norm = nn.Sequential(nn.BatchNorm2d(3), Linear(CLASSES))
    assert "batch norm (in 1 layers)" in check(norm)


def test_the_check_leaves_the_random_generator_as_it_was() -> None:
    before = torch.get_rng_state()
    check(Linear)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (Counting, "counts in seen, a buffer of whole numbers"),
        (Tied, "uses a parameter in two places"),
        (Double, r"head\.weight of the model mylab:Own is torch\.float64 on cpu; expected"),
        (Drifting, r"built another way each time \(head\.weight differs"),
        (Headless, "has 0 rows; expected one for each of the 3 classes"),
        (lazy, "has a lazy layer"),
        (other_rows, "has 4 rows"),
        (other_input, r"fails on images \[2, 3, 8, 8\]: RuntimeError"),
        (two_outputs, r"returns torch\.float32 \[2, 1, 3\] for images .* scores \[2, 3\]"),
        (lambda num_classes: num_classes, "makes a int; expected an nn.Module"),
        (needs_width, "must be given width; expected no parameters but num_cl"),
        (7, "is a int; expected an nn.Module, or a class or function"),
    ],
)
def test_what_a_network_must_obey_is_said(own: Callable[..., Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check(own)
