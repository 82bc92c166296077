import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.server.report.charts.colours import class_colours
from fedshelf.server.report.png import draw_confusion, draw_partition, draw_stores, write_pictures
from tests.helpers.sample_run import make_run, partition

ALL = ["curves.png", "confusion.png", "partition.png", "stores.png", "reliability.png"]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def share_of(picture: np.ndarray, colour: str) -> float:
    wanted = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)])
    return float((np.abs(picture.astype(int) - wanted) <= 1).all(axis=-1).mean())


def test_a_finished_run_gives_five_pictures(finished_run: Path) -> None:
    written = write_pictures(finished_run)
    assert [path.name for path in written] == ALL
    for path in written:
        assert pixels(path).std() > 10  # not blank


@pytest.mark.parametrize(("stores", "classes"), [(1, 1), (50, 30)])
def test_sizes(tmp_path: Path, stores: int, classes: int) -> None:
    written = write_pictures(make_run(tmp_path / "run", stores=stores, rounds=1, classes=classes))
    assert [path.name for path in written] == ALL


def test_only_what_there_are_numbers_for_is_drawn(tmp_path: Path) -> None:
    assert write_pictures(tmp_path) == []
    directory = make_run(tmp_path / "run", rounds=2)
    summary = json.loads((directory / "summary.json").read_text())
    (directory / "summary.json").write_text(
        json.dumps(summary | {"test": None, "evaluation_file": None})
    )
    (directory / "partition.json").unlink()
    assert [path.name for path in write_pictures(directory)] == ["curves.png", "stores.png"]


def test_partition_colours_cover_what_the_classes_hold(tmp_path: Path) -> None:
    """One store with three times as many cups as lamps: three times the area (the legend adds a
    little).
    """
    draw_partition(
        {"classes": ["cup", "lamp"], "stores": {"a": [300, 100]}}, tmp_path / "partition.png"
    )
    cup, lamp = (
        share_of(pixels(tmp_path / "partition.png"), colour) for colour in class_colours(2)
    )
    assert cup / lamp == pytest.approx(3, rel=0.03)


def test_a_model_that_is_always_right_has_no_orange(tmp_path: Path) -> None:
    draw_confusion(["cup", "lamp"], [[10, 0], [0, 7]], tmp_path / "right.png")
    draw_confusion(["cup", "lamp"], [[0, 10], [7, 0]], tmp_path / "wrong.png")
    right = pixels(tmp_path / "right.png")
    wrong = pixels(tmp_path / "wrong.png")
    assert share_of(right, "#1f6fd0") > 0.2
    assert share_of(right, "#d9730d") == 0
    assert share_of(wrong, "#d9730d") > 0.2
    assert share_of(wrong, "#1f6fd0") == 0


def test_of_thousands_of_stores_every_so_many_is_drawn(tmp_path: Path) -> None:
    """Every tenth store has cups, all others have lamps: only cups are seen, but for the lamps'
    mark in the legend.
    """
    stores = {f"s{number:04d}": [7, 0] if number % 10 == 0 else [0, 7] for number in range(3000)}
    draw_partition({"classes": ["cup", "lamp"], "stores": stores}, tmp_path / "partition.png")
    cup, lamp = (
        share_of(pixels(tmp_path / "partition.png"), colour) for colour in class_colours(2)
    )
    assert cup > 0.1
    assert lamp < 0.001


def test_accuracies_of_many_stores_that_hardly_differ_are_few_columns(tmp_path: Path) -> None:
    """Nine stores in ten within a millionth of 0.5 and the others anywhere: no column for each
    millionth.
    """
    accuracies = [0.5 + number * 1e-10 if number % 10 else number / 5000 for number in range(5000)]
    draw_stores(
        {f"s{n:04d}": {"accuracy": accuracy} for n, accuracy in enumerate(accuracies)},
        tmp_path / "stores.png",
    )
    assert pixels(tmp_path / "stores.png").std() > 10


@pytest.mark.filterwarnings("error")
def test_names_in_any_script_and_with_formulas(tmp_path: Path) -> None:
    table = partition(["$\\frac{$", "店舗"], ["shirt $5_x$", "ランプ"])
    draw_partition(table, tmp_path / "partition.png")
    draw_stores({name: {"accuracy": 0.5} for name in table["stores"]}, tmp_path / "stores.png")
    assert pixels(tmp_path / "partition.png").std() > 10


def test_nothing_is_drawn_without_stores(tmp_path: Path) -> None:
    draw_partition({"classes": [], "stores": {}}, tmp_path / "partition.png")
    assert pixels(tmp_path / "partition.png").ndim == 3


def test_matplotlib_keeps_its_font_list_in_our_cache(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "MPLCONFIGDIR"}
    environment |= {"FEDSHELF_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path / "home")}
    code = "import fedshelf.server.report.png, matplotlib; print(matplotlib.get_cachedir())"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == str(tmp_path / "cache" / "matplotlib")
    assert not (tmp_path / "home").exists()
