"""The benchmarks of search and explanation, on little."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.unknown import auroc
from fedshelf.common.inference.loading import load
from fedshelf.common.inference.search.updating import update_index
from tests.helpers.benchmark_command import play
from tests.helpers.saved_models import save_model


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    for row, label in enumerate(("boot", "hat", "shirt")):
        (tmp_path / "shop" / label).mkdir(parents=True)
        for number in range(4):
            image = Image.new("RGB", (32, 32), (60 * number, 90 * row, 100))
            image.paste((255, 255, 0), (0, 0, 8 + number, 24))
            image.save(tmp_path / "shop" / label / f"{number}.png")
    return tmp_path / "shop"


def test_the_area_under_the_curve_is_the_share_of_pairs() -> None:
    assert auroc(np.array([3.0, 2.0, 1.0], np.float32), np.array([2.0, 0.0], np.float32)) == (
        pytest.approx((2 + 1.5 + 1) / 6)
    )


def test_search_is_measured_with_and_without_faiss() -> None:
    pytest.importorskip("faiss")
    told, _ = play("nearest_photos", "--photos", "300", "--dimensions", "8", "--queries", "3")
    assert "faiss: " in told
    assert "NumPy: " in told
    assert "both find the same, to the last bit: yes" in told


def test_foreign_photos_are_told(shop: Path) -> None:
    model = save_model(shop.parent / "model")
    index = shop.parent / "shop.index"
    update_index(index, shop, load(model), [])
    told, _ = play("unknown", str(model), str(index), str(shop), "--foreign", str(shop))
    assert f"{shop}: 12 photos, AUROC 0.500" in told
    assert "one colour: 100 photos" in told


def test_the_pointing_game_is_played(shop: Path) -> None:
    model = save_model(shop.parent / "model", seed=1)
    told, _ = play(
        "pointing", str(model), str(shop), "--photos", "4", "--games", "alone on grey,among others"
    )
    assert told.count("4 photos, recognised") == told.count("  occlusion: hits") == 2
    assert told.count("grad-cam: hits") == 2
