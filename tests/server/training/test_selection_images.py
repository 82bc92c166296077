"""The server's images that choose rounds: a fifth of each class, by content, and only where they
are needed.
"""

import pytest
import torch

from fedshelf.common.errors import ConfigError
from fedshelf.common.images.types import Images
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.training.selection_images import divide, split
from fedshelf.server.training.setup import InitialState
from tests.helpers.simulated_stores import CLASSES, settings, start

HOLDS = {"a": StoreInfo("a", {"hat": 5}, 0, 2), "b": StoreInfo("b", {"hat": 5}, 3, 0)}
HOLDS_NONE = {"a": StoreInfo("a", {"hat": 5}, 0, 2)}


def images(*per_class: int) -> Images:
    """So many images of each class, all different: their four pixels spell their number."""
    labels = torch.arange(len(per_class)).repeat_interleave(torch.tensor(per_class))
    numbers = torch.arange(len(labels))
    pixels = torch.stack([numbers // 64**place % 64 for place in range(4)], dim=1).to(torch.uint8)
    return Images.whole(pixels.view(-1, 2, 2, 1), labels)


def numbers(chosen: Images | None) -> set[int]:
    assert chosen is not None
    return {
        int(sum(int(value) * 64**place for place, value in enumerate(row.flatten())))
        for row in chosen.inputs[chosen.rows]
    }


def run(**changed: object) -> InitialState:
    return start(settings(model__name="niid-cnn", **changed))


def test_a_fifth_of_each_class_is_held_out_and_nothing_is_in_both() -> None:
    found = split(images(50, 14, 4))
    assert found.validation is not None
    assert torch.bincount(found.validation.targets()).tolist() == [10, 2]
    assert numbers(found.validation) | numbers(found.test) == set(range(68))
    assert not numbers(found.validation) & numbers(found.test)


def test_the_same_ones_in_any_order() -> None:
    whole = images(40, 30)
    turned = whole.select(torch.randperm(70, generator=torch.Generator().manual_seed(3)))
    assert numbers(split(turned).validation) == numbers(split(whole).validation)


def test_equal_images_are_on_one_side() -> None:
    one = images(20)
    twice = Images(one.inputs, one.labels, torch.cat([one.rows, one.rows]))
    found = split(twice)
    assert found.validation is not None
    assert len(found.validation) == 8
    assert not numbers(found.validation) & numbers(found.test)


def test_nothing_is_held_out_where_nobody_chooses_or_stores_can() -> None:
    own = images(50, 50, 50)
    assert divide(run(), HOLDS_NONE, own).test is own
    assert divide(run(evaluation__patience=2), HOLDS, own).test is own
    assert divide(run(run__deliver="best"), HOLDS, None).test is None
    divided = divide(run(run__deliver="best"), HOLDS_NONE, own)
    assert (len(divided.test or ()), len(divided.validation or ())) == (120, 30)
    assert (
        divide(run(evaluation__patience=2, evaluation__stores=False), HOLDS, own).validation
        is not None
    )


@pytest.mark.parametrize(
    ("changed", "own"),
    [
        ({"run__deliver": "best"}, None),
        ({"evaluation__patience": 3}, images(4, 4, 4)),
        ({"evaluation__patience": 3, "strategy__name": "fedper"}, images(50, 50, 50)),
    ],
)
def test_what_nobody_can_choose_is_refused(changed: dict[str, object], own: Images | None) -> None:
    assert len(CLASSES) == 3
    with pytest.raises(
        ConfigError, match=r"Setting .* got ('best'|3), but there is nothing to choose rounds on"
    ):
        divide(run(**changed), HOLDS_NONE, own)
