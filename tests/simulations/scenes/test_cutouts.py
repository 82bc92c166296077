"""A product is what lies within a plain margin; else the reason is told."""

import numpy as np
import pytest

from fedshelf.simulations.scenes.cutouts import NOT_PLAIN, NOT_WHOLE, cut_out


def photo(background: int = 240, noise: int = 10) -> np.ndarray:
    """A grey sheet, not quite even."""
    random = np.random.default_rng(0)
    return (background - random.integers(0, noise, (80, 60, 1)) + np.zeros((1, 1, 3))).astype(
        np.uint8
    )


def test_a_product_keeps_what_looks_like_the_margin_within_it() -> None:
    picture = photo()
    picture[20:60, 15:45] = (200, 30, 30)
    picture[30:40, 20:40] = 240  # white print
    picture[60:75, 30] = (90, 90, 90)  # a thread
    picture[5:8, 5:8] = (0, 0, 0)  # a speck
    found = cut_out(picture)
    assert not isinstance(found, str)
    assert abs(found.shape[0] - 40) <= 2
    assert abs(found.shape[1] - 30) <= 2
    middle = found[12:18, 10:20]
    assert (middle[..., 3] == 255).all()
    assert (middle[..., :3] == 240).all()


@pytest.mark.parametrize(
    ("draw", "reason"),
    [
        (lambda picture: picture.__setitem__((slice(0, 45), slice(None)), 20), NOT_PLAIN),
        (lambda _: None, NOT_WHOLE),
        (lambda picture: picture.__setitem__((slice(30, 34), slice(20, 24)), 20), NOT_WHOLE),
        # a net of bars as thin as what a leak leaves
        (lambda picture: picture[20:60:6, 15:45].fill(20), NOT_WHOLE),
    ],
)
def test_what_cannot_be_cut_out(draw, reason: str) -> None:
    picture = photo()
    draw(picture)
    assert cut_out(picture) == reason


def test_a_pair_is_one_product() -> None:
    picture = photo()
    picture[20:60, 10:25] = picture[20:60, 35:50] = (30, 30, 200)
    found = cut_out(picture)
    assert not isinstance(found, str)
    assert abs(found.shape[1] - 40) <= 2
