"""An index follows its folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.errors import DataError
from fedshelf.common.inference.search import updating
from fedshelf.common.inference.search.index_file import read_index
from fedshelf.common.inference.search.query import read_query, search
from fedshelf.common.inference.search.updating import IndexChanges, update_index
from tests.helpers.colour_predictor import ColourPredictor


def photo(path: Path, colour: tuple[int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20), colour).save(path)
    return path


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for number in range(5):
        photo(tmp_path / "shop" / "hat" / f"{number}.png", (255, 20 * number, 0))
    return tmp_path / "shop"


def updated(shop: Path, predictor: ColourPredictor) -> IndexChanges:
    return update_index(shop.parent / "shop.index", shop, predictor, [])[1]


def test_photos_are_added_changed_and_removed(shop: Path) -> None:
    model = ColourPredictor()
    assert updated(shop, model) == IndexChanges(added=5, changed=0, removed=0)
    assert model.photos_seen == 5
    assert updated(shop, model) == IndexChanges(added=0, changed=0, removed=0)
    assert model.photos_seen == 5  # nothing is decoded again

    photo(shop / "hat" / "0.png", (0, 0, 255))
    photo(shop / "boot" / "new.png", (0, 255, 0))
    (shop / "hat" / "1.png").unlink()
    assert updated(shop, model) == IndexChanges(added=1, changed=1, removed=1)
    assert model.photos_seen == 7

    index = read_index(shop.parent / "shop.index")
    assert [index.names(row) for row in range(5)] == [
        ["shop/boot/new.png"],
        ["shop/hat/0.png"],
        ["shop/hat/2.png"],
        ["shop/hat/3.png"],
        ["shop/hat/4.png"],
    ]
    assert np.linalg.norm(index.embeddings, axis=1) == pytest.approx(np.ones(5))
    assert index.embeddings[:2] == pytest.approx(np.array([[0, 1, 0], [0, 0, 1]]), abs=0.01)


def test_copies_are_one_photo_with_several_files(shop: Path) -> None:
    (shop / "sale").mkdir()
    (shop / "sale" / "same.png").write_bytes((shop / "hat" / "0.png").read_bytes())
    model = ColourPredictor()
    assert updated(shop, model).added == 6
    assert model.photos_seen == 5
    index = read_index(shop.parent / "shop.index")
    assert index.names(0) == ["shop/hat/0.png", "shop/sale/same.png"]
    (shop / "hat" / "0.png").unlink()
    assert updated(shop, model) == IndexChanges(added=0, changed=0, removed=1)
    assert model.photos_seen == 5


def test_files_that_are_no_photos_are_named(shop: Path) -> None:
    (shop / "hat" / "broken.jpg").write_bytes(b"rubbish")
    left_out: list[tuple[str, str]] = []
    index, _ = update_index(shop.parent / "shop.index", shop, ColourPredictor(), left_out)
    assert [name for name, _ in left_out] == ["shop/hat/broken.jpg"]
    assert len(index.photos) == 5


def test_an_index_of_another_model_is_refused(shop: Path) -> None:
    updated(shop, ColourPredictor())
    with pytest.raises(DataError, match="made by another model"):
        updated(shop, ColourPredictor(sha256="cd" * 32))


def test_a_folder_that_lost_its_photos_leaves_the_index(shop: Path) -> None:
    """As of a disk that is not mounted."""
    updated(shop, ColourPredictor())
    before = (shop.parent / "shop.index").read_bytes()
    for file in (shop / "hat").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="No photo of"):
        updated(shop, ColourPredictor())
    assert (shop.parent / "shop.index").read_bytes() == before


class _Stopped(ColourPredictor):
    """A machine that stops after some photos."""

    def predict(self, pixels):
        if self.photos_seen >= 64:
            raise KeyboardInterrupt
        return super().predict(pixels)


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updating, "PHOTOS_PER_SAVE", 32)
    for number in range(80):
        photo(tmp_path / "shop" / f"{number:02}.png", (255, number, 0))
    with pytest.raises(KeyboardInterrupt):
        updated(tmp_path / "shop", _Stopped())
    half = read_index(tmp_path / "shop.index")
    assert (len(half.photos), half.is_complete, half.threshold) == (64, False, None)
    model = ColourPredictor()
    assert updated(tmp_path / "shop", model).added == 16
    assert model.photos_seen == 16
    whole = read_index(tmp_path / "shop.index")
    assert (len(whole.photos), whole.is_complete) == (80, True)


def test_what_a_killed_writer_left_is_removed(shop: Path) -> None:
    (shop.parent / ".shop.index.abc.tmp").write_bytes(b"half")
    (shop.parent / ".other.index.abc.tmp").write_bytes(b"another's")
    updated(shop, ColourPredictor())
    assert not (shop.parent / ".shop.index.abc.tmp").exists()
    assert (shop.parent / ".other.index.abc.tmp").exists()


def test_several_photos_count_together_and_their_copies_are_left_out(shop: Path) -> None:
    photo(shop / "green.png", (0, 255, 0))
    photo(shop / "blue.png", (0, 0, 255))
    photo(shop / "cyan.png", (0, 255, 255))
    model = ColourPredictor()
    index, _ = update_index(shop.parent / "shop.index", shop, model, [])
    green = read_query(shop / "green.png", 1, model)
    blue = read_query(shop / "blue.png", 1, model)
    (cyan, *_) = search(index, [green, blue], 3)
    assert cyan.names == ("shop/cyan.png",)
    assert cyan.similarity == pytest.approx(np.sqrt(0.5))
    outside = photo(shop.parent / "lime.png", (10, 255, 0))
    like = [read_query(outside, 1, model), replace(blue, weight=3)]
    assert search(index, like, 1)[0].names == ("shop/cyan.png",)
    assert search(index, like, 9)[-1].names == ("shop/hat/0.png",)


def test_the_heavier_photo_counts_more(shop: Path) -> None:
    photo(shop / "green.png", (0, 255, 0))
    photo(shop / "blue.png", (0, 0, 255))
    model = ColourPredictor()
    index, _ = update_index(shop.parent / "shop.index", shop, model, [])
    lime = photo(shop.parent / "lime.png", (10, 255, 0))
    sea = photo(shop.parent / "sea.png", (10, 0, 255))
    for weights, first in (((1, 2), "shop/blue.png"), ((2, 1), "shop/green.png")):
        query = [read_query(lime, weights[0], model), read_query(sea, weights[1], model)]
        assert search(index, query, 1)[0].names == (first,)
