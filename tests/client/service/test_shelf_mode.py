"""The page's mode for shelves: boxes, names and counts, by the service and on the device."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fedshelf.client.service.device_model import read_device_locator, read_device_model
from fedshelf.client.service.page_files import page_folder
from fedshelf.common.scenes.boxes import Boxes
from fedshelf.common.scenes.centre_map import boxes_of_map
from fedshelf.common.scenes.tiles import PhotoTile, cut_tiles, merge_tiles
from fedshelf.common.system.files import write_folder
from fedshelf.simulations.datasets.scenes import draw_scenes
from tests.helpers.browser import Tab, chromium
from tests.helpers.coloured_shelf import coloured_shelf, png
from tests.helpers.deployed import wait_for
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.page import drop, text
from tests.helpers.services import RunningService, running_service
from tests.helpers.static_files import static_files

TAB = ("Tab", 9)
RIGHT = ("ArrowRight", 39)
DOWN = ("ArrowDown", 40)
END = ("End", 35)
ENTER = ("Enter", 13)
SHELF = "document.querySelector('#mode input[value=shelf]').click()"
CHOSEN = "[...document.querySelectorAll('#products [aria-selected=true]')].map((e) => e.innerText)"


@dataclass
class Files:
    """A locator, and the classifier that names what it finds."""

    locator: Path
    classifier: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("models")
    return Files(
        write_square_locator(folder / "locator.onnx", provenance={"counting": {"threshold": 0.24}}),
        write_colour_classifier(folder / "colours.onnx"),
    )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("service")
    with running_service(folder, onnx_file=files.classifier, locator=files.locator) as service:
        yield service


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser")) as tab:
        tab.ask("Page.setInterceptFileChooserDialog", enabled=True)
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """A tab that remembers nothing."""
    browser.open("about:blank", width=390)
    browser.requests.clear()
    browser.errors.clear()
    yield browser
    browser.run("sessionStorage.clear()")


def show(tab: Tab, url: str, width: int = 390, *, dark: bool = False) -> None:
    tab.open(f"{url}/", width=width, dark=dark)
    wait_for(lambda: text(tab, "model"))


def counts(tab: Tab) -> list[list[str]]:
    """The rows of the table of counts, without its header."""
    return [line.split("\t") for line in text(tab, "counts").splitlines()[1:]]


FOUND = [
    ["red", "2"], ["blue", "1"], ["green", "1"], ["Perhaps red", "1"], ["All", "5"],
]  # fmt: skip
IN_ROWS = ["red", "red", "blue", "green", "Perhaps red"]


@pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)])
def test_products_are_boxed_named_and_counted(
    tab: Tab, running: RunningService, width: int, dark: bool
) -> None:
    show(tab, running.url, width, dark=dark)
    tab.run(SHELF)
    drop(tab, coloured_shelf())
    assert wait_for(lambda: text(tab, "found")) == "Products found: 5"
    assert "score of 24% or more" in text(tab, "found-meaning")
    assert counts(tab) == FOUND
    names = "[...document.querySelectorAll('#products .name')].map((each) => each.innerText)"
    assert tab.run(names) == IN_ROWS
    wait_for(lambda: tab.run("document.getElementById('scene-photo').complete"))
    photo, frame = (
        tab.run(f"(({{x, y, width}}) => [x, y, width])({part}.getBoundingClientRect())")
        for part in (
            "document.getElementById('scene-photo')",
            "document.querySelectorAll('#boxes g')[0].lastChild",
        )
    )
    scale = photo[2] / 160  # screen for a pixel of the photo
    assert frame == pytest.approx([photo[0] + 22 * scale, photo[1] + 30 * scale, 16 * scale], abs=1)
    assert tab.run("document.querySelector('h1').innerText") == "What is on the shelf?"
    assert tab.overflow() == 0
    assert tab.errors == []
    sent = [url for method, url in tab.requests if method == "POST"]
    assert sent == [f"{running.url}/v1/locate?tiles=auto"]


def test_a_keyboard_and_a_screen_reader_are_enough(
    tab: Tab, running: RunningService, tmp_path: Path
) -> None:
    (tmp_path / "shelf.png").write_bytes(coloured_shelf())
    show(tab, running.url, 1280)
    tab.press(*TAB)
    tab.press(*RIGHT)
    assert tab.run("document.activeElement.value") == "shelf"
    tab.press(*TAB)
    tab.press(*ENTER)
    wait_for(lambda: tab.run("1") and tab.choosers)
    tab.choose_file(tmp_path / "shelf.png")
    wait_for(lambda: text(tab, "found"))
    assert tab.run("document.activeElement.id") == "found"
    tab.press(*TAB)
    tab.press(*DOWN)
    tab.press(*DOWN)
    assert tab.run(CHOSEN)[0].startswith("blue")
    assert tab.run("document.querySelectorAll('#boxes .chosen').length") == 1
    tab.press(*END)
    assert tab.run(CHOSEN)[0].startswith("Perhaps red")
    tree = tab.ask("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored") and "role" in node
    }
    assert {
        ("group", "The photo shows"),
        ("listbox", "Each product"),
        ("region", "Products found: 5"),
        ("image", "Your photo, with a box around each product"),
    } <= named
    options = [name for role, name in named if role == "option"]
    assert any(name.startswith("Perhaps red") for name in options)


def test_the_other_mode_looks_at_the_same_photo(tab: Tab, running: RunningService) -> None:
    show(tab, running.url)
    drop(tab, coloured_shelf())
    wait_for(lambda: text(tab, "verdict"))
    tab.run(SHELF)
    assert text(tab, "verdict") == ""
    wait_for(lambda: text(tab, "found"))
    show(tab, running.url)  # remembered
    drop(tab, png(np.zeros((160, 160, 3), np.uint8)))
    assert wait_for(lambda: text(tab, "found")) == "Products found: 0"
    assert text(tab, "found-meaning").startswith("No box has a score of 24%")
    assert text(tab, "counts") == ""


def test_no_photo_of_a_shelf_leaves_the_device(tab: Tab, tmp_path: Path, files: Files) -> None:
    folder = page_folder(
        read_device_model(files.classifier, "shop", has_locator=True),
        read_device_locator(files.locator),
    )
    write_folder(tmp_path / "page", folder)
    with static_files(tmp_path / "page") as url:
        show(tab, url)
        tab.run(SHELF)
        tab.requests.clear()
        drop(tab, coloured_shelf())
        wait_for(lambda: text(tab, "found"))
        assert counts(tab) == FOUND
        assert [address for _, address in tab.requests if not address.startswith("blob:")] == []
        assert tab.errors == []


def test_a_locator_with_classes_names_its_boxes_there_and_here(
    tab: Tab, tmp_path: Path, files: Files
) -> None:
    """The yellow square may be a cherry or a leaf: it counts once, as the surer one."""
    names = ("cherry", "leaf", "sky")
    locator = write_square_locator(tmp_path / "named.onnx", classes=names)
    with running_service(tmp_path, onnx_file=files.classifier, locator=locator) as running:
        with running.client() as client:
            products = client.post("/v1/locate", content=coloured_shelf()).json()["products"]
        assert {product["verdict"] for product in products} == {"sure"}
        assert [product["score"] for product in products] == [
            guess["probability"] for product in products for guess in product["guesses"]
        ]
        show(tab, running.url)
        tab.run(SHELF)
        told = []
        for place in ("service", "device"):
            if place == "device":
                tab.run("document.getElementById('device').click()")
                wait_for(lambda: text(tab, "privacy").startswith("Your photos stay"))
            drop(tab, coloured_shelf())
            wait_for(lambda: text(tab, "found"))
            told.append(sorted(counts(tab)))
            assert tab.errors == []
    assert (
        told[0] == told[1] == sorted([["cherry", "3"], ["leaf", "1"], ["sky", "1"], ["All", "5"]])
    )


def test_a_locator_without_an_onnx_file_has_no_mode_on_the_device(
    tab: Tab, tmp_path: Path, files: Files
) -> None:
    with running_service(tmp_path, onnx_file=files.classifier, locator=files.locator) as running:
        running.service.locator_onnx_file = None
        show(tab, running.url)
        assert text(tab, "mode") != ""
        tab.run("document.getElementById('device').click()")
        wait_for(lambda: text(tab, "mode") == "")
        with running.client() as client:
            assert client.get("/locator.onnx").status_code == 404


def test_a_locator_that_only_the_service_can_use_has_none_either(
    tmp_path: Path, files: Files
) -> None:
    """Browsers have no median filter."""
    locator = write_square_locator(tmp_path / "locator.onnx", denoise=3)
    with (
        running_service(tmp_path, onnx_file=files.classifier, locator=locator) as running,
        running.client() as client,
    ):
        assert client.get("/v1/model").json()["has_locator"] is True
        assert client.get("/model.json").json()["has_locator"] is False
        assert client.get("/locator.json").status_code == 404


def near(found: list[list[float]], expected: list[list[float]]) -> None:
    """Check that boxes agree one to one, within a pixel."""
    left = [np.array(box) for box in expected]
    for box in found:
        place = int(np.argmin([np.abs(other - box).max() for other in left]))
        assert np.abs(left.pop(place) - box).max() <= 1, (box, expected)
    assert left == []


def imported(tab: Tab, module: str, script: str) -> Any:
    return tab.waited_for(f"import('./{module}').then((module) => {{ {script} }})")


def test_drawn_shelves_have_the_services_boxes(tab: Tab, tmp_path: Path, files: Files) -> None:
    """A locator of small photos that finds all that is bright, so that tiles matter."""
    [photo] = draw_scenes(1, side=160, seed=7).photos
    locator = write_square_locator(tmp_path / "bright.onnx", side=64, least=0.4)
    with running_service(tmp_path, onnx_file=files.classifier, locator=locator) as running:
        show(tab, running.url)
        tab.waited_for(
            """(async () => {
              const { Connection } = await import("./connection.js");
              const { DeviceBackend } = await import("./device_backend.js");
              globalThis.backend = new DeviceBackend(new Connection());
              globalThis.file = (text) =>
                new Blob([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]);
              await backend.model();
            })()"""
        )
        for content in (png(photo), png(photo[:120])):
            with running.client() as client:
                told = client.post("/v1/locate?tiles=auto", content=content).json()
            encoded = base64.b64encode(content).decode()
            found = tab.waited_for(f'backend.locate(file("{encoded}"), () => true)')
            assert (found["width"], found["height"]) == (told["width"], told["height"])
            assert found["score"] == told["score"]
            assert len(told["products"]) > 3
            near(*([product["box"] for product in each["products"]] for each in (found, told)))
        assert tab.waited_for(f'backend.locate(file("{encoded}"), () => false)') is None


@pytest.mark.parametrize("classes", [1, 3])
def test_a_map_is_read_as_by_python(tab: Tab, running: RunningService, classes: int) -> None:
    """Also where neighbouring scores are equal, because their logits are large or the same."""
    show(tab, running.url)
    draws = np.random.default_rng(classes)
    for _ in range(10):
        rows, columns = draws.integers(1, 12, 2)
        logits = draws.normal(0, 8, (classes, rows, columns)).round(1)
        edges = draws.normal(0.5, 0.7, (4, rows, columns))
        whole = np.concatenate([logits, edges]).astype(np.float32)
        expected = boxes_of_map(whole, 4, least_score=0.1)
        values = {"channels": classes + 4, "rows": int(rows), "columns": int(columns)}
        found = imported(
            tab,
            "centre_map.js",
            f"const data = Float32Array.from({json.dumps(whole.ravel().tolist())});"
            f"return module.boxesOfMap({{ data, ...{json.dumps(values)} }},"
            f" {4 * columns}, {4 * rows}, 0.1);",
        )
        assert [box["label"] for box in found] == expected.classes.tolist()
        assert [box["score"] for box in found] == pytest.approx(expected.scores.tolist(), abs=1e-6)
        corners = np.array([box["corners"] for box in found]).reshape(-1, 4)
        np.testing.assert_allclose(corners, expected.corners, atol=1e-3)


@pytest.mark.parametrize(
    ("sure", "views", "best"),
    [((5, 9, 7, 6, 10), 4, 2), ((0, 3, 0, 0, 8, 7, 6, 10), 7, 5)],
)
def test_the_page_looks_closer_as_long_as_python(
    tab: Tab, running: RunningService, sure: tuple[float, ...], views: int, best: int
) -> None:
    """Of ten boxes in each tile, as many are sure on the average as `sure` says of each view."""
    show(tab, running.url)
    scores = [
        0.9 if place < round(count * min(view, 3) ** 2) else 0.2
        for view, count in enumerate(sure, start=1)
        for place in range(10 * min(view, 3) ** 2)
    ]
    looked = imported(
        tab,
        "locating.js",
        f"""
        const logits = {json.dumps(scores)}.map((score) => Math.log(score / (1 - score)));
        const [channels, rows, columns] = [5, 1, 19];
        let tiles = 0;
        const mapOf = async () => {{
          const data = new Float32Array(channels * columns).fill(-9);
          for (let box = 0; box < 10; box++) data[2 * box] = logits[10 * tiles + box] ?? -1;
          tiles++;
          return {{ data, channels, rows, columns }};
        }};
        const [width, height] = [128, 128];
        const pixels = {{ data: new Uint8Array(width * height), width, height, channels: 1 }};
        const locator = {{ image_size: 16, counting_score: 0.3, least_score: 0.1 }};
        return module.locateScene(pixels, locator, mapOf, () => true).then(() => tiles);
        """,
    )
    judged = [min(view, 3) ** 2 for view in range(1, views + 1)]
    assert looked == sum(judged) + best**2 - judged[best - 1]


def test_tiles_are_cut_and_merged_as_by_python(tab: Tab, running: RunningService) -> None:
    show(tab, running.url)
    draws = np.random.default_rng(3)
    for count in (1, 2, 3, 5):
        width, height = (int(size) for size in draws.integers(120, 700, 2))
        tiles = cut_tiles(width, height, count)
        items = draws.uniform(0, 1, (30, 2)) * (width, height)
        items = np.concatenate([items, items + draws.uniform(10, 60, (30, 2))], axis=1)
        parts = [_seen(items, tile, draws) for tile in tiles]
        expected = merge_tiles(tiles, parts, width, height)
        found = imported(
            tab,
            "tiles.js",
            f"const tiles = module.cutTiles({width}, {height}, {count});"
            f"const merged = module.mergeTiles(tiles, {json.dumps(_plain(parts))}, {width},"
            f" {height}); return {{ tiles, merged }};",
        )
        assert [PhotoTile(**tile) for tile in found["tiles"]] == tiles
        assert [box["score"] for box in found["merged"]] == pytest.approx(expected.scores.tolist())
        assert [box["label"] for box in found["merged"]] == expected.classes.tolist()
        near([box["corners"] for box in found["merged"]], expected.corners.tolist())


def _seen(items: NDArray[np.float64], tile: PhotoTile, draws: np.random.Generator) -> Boxes:
    """The items in a tile, a little off, with scores of their own."""
    part = np.array([tile.left, tile.top, tile.right, tile.bottom])
    off = items + draws.normal(0, 1, items.shape)
    low, high = np.tile(part[:2], 2), np.tile(part[2:], 2)
    inside = off.clip(low, high) - np.tile(part[:2], 2)
    shown = (inside[:, 2:] - inside[:, :2] > 4).all(axis=1)
    corners = inside[shown].astype(np.float32)
    scores = draws.uniform(0.1, 1, len(corners)).astype(np.float32)
    return Boxes(corners, draws.integers(-1, 3, len(corners)), scores)


def _plain(parts: list[Boxes]) -> list[list[dict[str, Any]]]:
    """Boxes as the page has them."""
    return [
        [
            {"corners": corners, "label": label, "score": score}
            for corners, label, score in zip(
                boxes.corners.tolist(), boxes.classes.tolist(), boxes.scores.tolist(), strict=True
            )
        ]
        for boxes in parts
    ]
