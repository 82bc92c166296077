"""The classes of masks: the background first and once, however the settings name them."""

import pytest

from fedshelf.common.tasks.masks import REGIONS, PixelMasks


@pytest.mark.parametrize(
    ("named", "outputs"),
    [
        ((), REGIONS),
        (("product",), REGIONS),
        (("background",), REGIONS),
        (("milk", "tea"), ("background", "milk", "tea")),
        (("background", "milk", "tea"), ("background", "milk", "tea")),
        (("milk", "background"), ("background", "milk")),
    ],
)
def test_the_background_is_the_first_class_and_once(
    named: tuple[str, ...], outputs: tuple[str, ...]
) -> None:
    """As some tools list it among the classes, alone or last."""
    assert PixelMasks().own_classes(named) == outputs
