"""Reports of small runs on scenes show the server's photos, curves, counts and stores."""

import base64
import html.parser
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from fedshelf.server.report.page import write_report
from tests.helpers.scene_run import make_scene_run

KINDS = ("found", "missed", "wrong")


class Found(html.parser.HTMLParser):
    """Tags with attributes, and the text of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += f" {data.strip()}"

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module", params=["boxes", "masks"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = tmp_path_factory.mktemp(request.param) / "run"
    return request.param, directory, make_scene_run(directory, request.param)


def page_of(directory: Path) -> Found:
    return Found((directory / "report.html").read_text(encoding="utf-8"))


def test_every_test_photo_of_the_server_is_shown_once(run: Any) -> None:
    objective, directory, summary = run
    content = json.loads((directory / summary["scenes_file"]).read_text())
    assert sorted(example["place"] for example in content["examples"]) == list(range(7))
    page = page_of(directory)
    photos = [found for found in page.of("image") if found.get("class") != "overlay"]
    assert len(photos) == 7
    for found in photos:
        address = found["href"] or ""
        picture = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert (picture.format, picture.size) == ("JPEG", (16, 16))
    drawn = [found["aria-label"] or "" for found in page.of("svg") if "aria-label" in found]
    assert sum(label.startswith("Test photo ") for label in drawn) == 7
    assert len(page.of("image")) == (7 if objective == "boxes" else 14)


def test_the_figures_are_told(run: Any) -> None:
    objective, directory, summary = run
    page = page_of(directory)
    sections = [found.get("id") for found in page.of("section")]
    assert sections[:4] == ["curves", "pictures", "precision", "stores"]
    assert "confusion" not in sections
    for row in summary["per_store"].values():
        assert f"{100 * row['ap' if objective == 'boxes' else 'iou']:.1f}%" in page.text
    titles = ("Precision by recall", "Recall by wrong boxes a photo", "Counted and true numbers")
    assert all((title in page.text) == (objective == "boxes") for title in titles)
    assert not (directory / "confusion.png").exists()


def test_boxes_counted_on_the_photos_are_those_of_the_metric(tmp_path: Path) -> None:
    """Over all photos, the pictures and the sums tell the same numbers."""
    summary = make_scene_run(tmp_path, "boxes")
    content = json.loads((tmp_path / summary["scenes_file"]).read_text())
    counting = summary["counting"]
    pairs = content["counts"]
    assert sum(photos for _, _, photos in pairs) == 7
    off = sum(abs(counted - true) * photos for true, counted, photos in pairs) / 7
    bias = sum((counted - true) * photos for true, counted, photos in pairs) / 7
    assert off == pytest.approx(counting["count_error"])
    assert bias == pytest.approx(counting["count_bias"])
    assert content["threshold"] == counting["threshold"]
    tallies = [
        sum(example[kind] for example in content["examples"]) for kind in ("right", "missed")
    ]
    products = json.loads((tmp_path / "evaluation.json").read_text())["scenes"]["products"]
    assert sum(tallies) == products
    for example in content["examples"]:
        drawn = [len(example["boxes"][kind]) for kind in KINDS]
        assert drawn == [example["right"], example["missed"], example["wrong"]]


def test_a_server_without_photos_shows_none_and_tells_the_stores_sums(tmp_path: Path) -> None:
    summary = make_scene_run(tmp_path, "boxes", server_tests=False)
    assert "scenes_file" not in summary
    assert not (tmp_path / "test-scenes.json").exists()
    page = page_of(tmp_path)
    assert page.of("image") == []
    sections = [found.get("id") for found in page.of("section")]
    assert sections[:3] == ["curves", "precision", "stores"]
    assert "On the stores' 6 test photos" in page.text


def test_a_page_written_again_is_the_same(run: Any) -> None:
    _, directory, _ = run
    before = (directory / "report.html").read_bytes()
    assert write_report(directory).read_bytes() == before
