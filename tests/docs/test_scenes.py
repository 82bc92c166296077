"""Commands and snippets of docs/how-to/scenes.md, as they stand there."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from fedshelf.common.scenes.formats.read import read_scenes
from tests.helpers.deployed import free_port
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.hand_made_models import write_colour_classifier, write_square_locator
from tests.helpers.page_commands import PageCommands, run_here
from tests.helpers.scene_files import save_photo, save_sheets, save_text
from tests.helpers.serving_process import serving_process
from tests.helpers.simulation_command import summary
from tests.helpers.squares import write_shelf, write_squares

PAGE = "docs/how-to/scenes.md"
A_PAGE = "docs/tutorials/a-page.md"
SHELF_PAGE = (
    "flower-simulation run --dataset shelf-scenes", "flower-client export-onnx runs/shelves",
    "flower-client page first.onnx --locator",
)  # fmt: skip
USES = tuple(f"flower-client {name}" for name in ("locate", "planogram", "track", "serve", "page"))
JOINS = ("flower-client join", "flower-server start")
QUICK = ("--rounds", "1", "--set", "train.epochs=1", "--set", "data.image_size=48")
MODELS = {"LOCATOR": "locator.onnx", "MODEL": "model.onnx"}


@pytest.fixture
def shelves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with a locator, a classifier, a photo of shelves and its plan."""
    monkeypatch.chdir(tmp_path)
    write_square_locator(tmp_path / "locator.onnx")
    write_colour_classifier(tmp_path / "model.onnx")
    write_shelf(tmp_path / "shelf.jpg")
    write_shelf(tmp_path / "shelves" / "1.jpg")
    places = ["shelf,column,product", "1,1,red", "1,2,green", "1,3,blue"]
    places += ["2,1,blue", "2,2,blue", "2,3,blue"]
    (tmp_path / "plan.csv").write_text("\n".join(places))
    return tmp_path


def test_a_finished_locator_is_used_as_the_page_says(shelves: Path) -> None:
    page = PageCommands(PAGE, MODELS, only=USES)
    planned, alarmed = (block for block in page.blocks("") if not block.startswith("0 "))
    page.run("flower-client locate")
    assert list((shelves / "drawn").iterdir())
    found = page.run("flower-client locate")
    assert json.loads(found.splitlines()[0])
    assert (shelves / "boxes.csv").is_file()
    assert (shelves / "boxes").exists()
    assert page.run("flower-client planogram") == planned
    # a red square in the zone, an item from its third frame on
    write_squares(Path("belt.mp4"), 12, [(0, lambda at: (46 + 4 * at, 70))])
    counted = page.run("flower-client track")
    assert "red" in counted
    told = page.run("flower-client track")
    assert share(alarmed.strip()) in map(share, told.splitlines())
    serve = page.take("flower-client serve")
    words = serve.split()
    assert words[:3] == ["flower-client", "serve", "model.onnx"]
    with serving_process(Path(words[2]), *words[3:]) as service:
        answer = service.locate((shelves / "shelf.jpg").read_bytes())
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["products"]) == 5
    page.run("flower-client page")
    assert (shelves / "www" / "index.html").is_file()
    assert page.left == []


def share(line: str) -> str:
    """A line without the figure of its probability."""
    return re.sub(r"[\d.]+%", "%", line)


def test_lines_of_yolo_are_read_as_the_page_has_them(tmp_path: Path) -> None:
    (lines,) = (block for block in PageCommands(PAGE).blocks("") if block.startswith("0 "))
    save_photo(tmp_path / "images" / "1.jpg")
    save_text(tmp_path / "labels" / "1.txt", lines)
    save_text(tmp_path / "classes.txt", "can\nbox\n")
    (scene,) = read_scenes(tmp_path).scenes
    shown = [[45, 15, 55, 25], [10, 10, 30, 30]]  # of 100 x 50 pixels
    assert scene.boxes.corners.round().tolist() == shown
    assert scene.boxes.classes.tolist() == [0, 1]


@pytest.mark.slow(minutes=1)
def test_networks_train_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one short round each."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("FEDSHELF_RECIPE")  # that of scenes is chosen by the data set
    save_sheets(Path("photos"))
    page = PageCommands(PAGE, but=(*USES, *JOINS, "flower-client check"))
    drawing, reading = page.blocks("python")
    a_page = PageCommands(A_PAGE, only=SHELF_PAGE)
    assert a_page.take("flower-simulation run") == page.left[0]
    page.run("flower-simulation run --dataset shelf-scenes", *QUICK)
    assert Path("runs/shelves/report.html").is_file()
    write_colour_classifier(Path("first.onnx"))
    a_page.run("flower-client export-onnx")
    a_page.run("flower-client page")
    assert Path("www/shelves/index.html").is_file()
    assert a_page.left == []
    page.run("flower-simulation scenes", "--side", "64")
    page.run("flower-simulation run --dataset scenes --model locator", *QUICK)
    assert summary(Path("runs/own"))["status"] == "finished"
    exec(drawing, {})
    exec(reading, {})
    page.run("flower-simulation run --dataset scenes --model locator", *QUICK)
    page.run("flower-simulation run --dataset shelf-scenes", *QUICK)
    assert summary(Path("runs/named"))["test"]["per_class"].keys() >= {"bag", "tube"}
    page.run("flower-simulation run --dataset shelf-scenes", *QUICK)
    write_shelf(Path("shelves/1.png"))
    page.run("flower-client segment")
    assert list(Path("masks").rglob("*.png"))
    page.run("flower-client export-onnx")
    assert Path("masks.onnx").is_file()
    run_here("flower-server release-key release.key")
    (release,) = re.findall(r"`(flower-server release [^`]+)`", page.text)
    run_here(release.replace("RUN", "runs/shelves"))
    key = Path("release.key.pub").read_text().strip()
    run_here(f"flower-client pin-release-key {key}")
    page.run("flower-simulation run --dataset scenes --weights", *QUICK)
    assert summary(Path("runs/next"))["status"] == "finished"
    assert page.left == []


@pytest.mark.slow(minutes=0.5)
def test_stores_with_scenes_join_as_the_page_says(
    command: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    del command.environment["FEDSHELF_RECIPE"]  # that of scenes is chosen by the objective
    stores = ("oslo", "lyon", "rome")
    provision = ("flower-server", "provision", "--out", "chain", "--stores", ",".join(stores))
    port = str(free_port())
    assert command(*provision, "--host", "localhost", "--port", port).ends() == 0
    write_scenes(Path("scenes"))
    page = PageCommands(PAGE, only=(*JOINS, "flower-client check"))
    checked = command(*shlex.split(page.take("flower-client check")))
    assert checked.ends() == 0, checked.text
    assert "20 photos" in checked.text
    join = page.take("flower-client join")
    for store in stores:
        shutil.copy(f"chain/kits/{store}.kit", ".")
        command(*shlex.split(join.replace("oslo", store)))
    here = ("--host", "127.0.0.1", "--live-port", "0")
    server = command(*shlex.split(page.take("flower-server start")), *QUICK, *here)
    assert server.ends() == 0, server.text
    assert summary(Path("runs/shelves"))["stores"] == 3
    assert page.left == []


def write_scenes(folder: Path) -> None:
    """Write twenty photos with a can each, as labelling tools do in YOLO's form."""
    for number in range(20):
        save_photo(folder / "images" / f"{number}.jpg")
        save_text(folder / "labels" / f"{number}.txt", f"0 0.5 0.5 0.{1 + number % 4} 0.4\n")
    save_text(folder / "classes.txt", "can\n")
