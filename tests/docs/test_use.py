"""Commands and printed lines of the pages about finished models, as they stand there."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.helpers.deployed import free_port, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.hand_made_models import write_colour_classifier
from tests.helpers.page_commands import WITH_A_CHAIN, PageCommands, run_here
from tests.helpers.product_photos import COLOURS, photos
from tests.helpers.rtsp_camera import Show, rtsp_camera
from tests.helpers.services import coloured
from tests.helpers.serving_process import serving_process
from tests.helpers.simulation_command import run
from tests.helpers.videos import picture, save_colour_model, write_video

USE, COMPARE = "docs/how-to/use.md", "docs/how-to/compare.md"
A_PAGE = "docs/tutorials/a-page.md"
WATCHES = ("flower-client watch",)
SERVES = ("flower-client serve", "curl", "flower-client page", "python -m http.server")
QUICK = ("--rounds", "3", "--model", "cnn", "--set", "data.image_size=16")
CAMERA = "rtsp://USER:PASSWORD@10.0.0.7/door"


def form(line: str) -> str:
    """A printed line without what depends on the photos: names, numbers, and a verdict."""
    line = re.sub(r"\S+\.(?:jpg|png)", "photo", " ".join(line.split()))
    line = re.sub(r" \((?:unsure|unknown)\)$", "", line)
    line = re.sub(r", (?:mostly )?because of .*\.$", ", because.", line)
    line = re.sub(r"\b[\d.]+ to [\d.]+$", "0", line)
    line = re.sub(r"(?:hat|shirt|t-shirt|dress|shoes?|skirt|pants|coat)\b", "class", line)
    return re.sub(r"[\d.]*\d", "0", line)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder with photos, three runs, and all that the commands of the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    photos(tmp_path / "photos")
    for seed, name in enumerate(("one", "two", "three")):
        done = run(
            "run", "--dataset", "photos", "--stores", "2", "--seed", str(seed), *QUICK,
            "--out", f"runs/{name}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for copy, name in (("a", "one"), ("b", "two"), ("shop", "one")):
        shutil.copytree(f"runs/{name}", f"runs/{copy}")
    for name in ("inbox", "shelf", "store", "today", "good-pieces"):
        shutil.copytree("photos/train/hat", name)
    for split in ("validation", "test"):  # 19 good pieces are the fewest for its false alarms
        for path in Path(f"photos/{split}/hat").iterdir():
            shutil.copy(path, f"good-pieces/{split}-{path.name}")
        shutil.copytree(f"photos/{split}", split)
    for name, label in zip(("scratch", "stain"), ("shoe", "coat"), strict=True):
        shutil.copytree(f"photos/train/{label}", f"defects/{name}")
    for name, label in zip(("photo", "a", "b", "c"), [*COLOURS, "hat"], strict=True):
        shutil.copy(f"photos/test/{label}/0.png", f"{name}.jpg")


@pytest.mark.slow(minutes=1)
@pytest.mark.usefixtures("runs")
def test_models_are_used_compared_and_combined_as_the_pages_say() -> None:
    here = {
        "MODEL": "runs/one",
        "PHOTOS": "photos/test",
        "sorted/undo-2026-11-30-081500.jsonl": "sorted/undo-*.jsonl",
    }
    use = PageCommands(USE, here, but=(*WITH_A_CHAIN[USE], *WATCHES, *SERVES))
    printed = ""
    # the file that commands above it use is there already for a reader
    for line in sorted(use.left, key=lambda each: "export-onnx" not in each):
        if "ed25519:..." in line:
            use.changes["ed25519:..."] = Path("release.key.pub").read_text().strip()
        printed += use.run(line)
    assert use.left == []
    shown = [line for block in use.blocks("") if "ALARM" not in block for line in block.split("\n")]
    assert len(shown) > 10
    assert {form(line) for line in shown} - {form(line) for line in printed.split("\n")} == set()
    compare = PageCommands(COMPARE)
    for start in ("flower-simulation compare", "flower-simulation compare"):
        compare.run(start, *QUICK)
    compare.run("flower-simulation ensemble")
    assert compare.left == []


def test_a_film_is_watched_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_colour_model(Path("model"), ("hat", "shirt", "shoes"))
    colours = ["grey"] * 5 + ["red"] * 6
    write_video(Path("clip.mp4"), map(picture, colours), codec="libx264")
    page = PageCommands(USE, {"MODEL": "model"}, only=WATCHES)
    (shown,) = (block.splitlines() for block in page.blocks("") if "ALARM" in block)
    # the page prints what an alarm adds to the first line
    told = run_here(page.take("flower-client watch"), "--alarm", "hat:0.9").splitlines()
    assert [span(line) for line in told] == [span(line) for line in shown]
    assert Path("events.csv").is_file()


def span(line: str) -> tuple[str, ...]:
    """The times and the number of frames in a line, and whether it is an alarm."""
    return (line[:5], *re.findall(r"\d:\d\d:\d\d\.\d|\d+ frames", line))


@pytest.mark.slow
def test_a_camera_is_watched_until_ctrl_c(
    command: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_colour_model(Path("model"), ("hat", "shirt", "shoes"))
    show = Show([picture("red")] * 4)
    show.may_begin.set()
    with rtsp_camera([show]) as url:
        here = {"MODEL": "model", CAMERA.partition("@")[2]: url.partition("//")[2]}
        page = PageCommands(USE, here, only=WATCHES)
        page.take("flower-client watch MODEL clip.mp4")
        watching = command(*shlex.split(page.take("flower-client watch")), "--frames", "1")
        watching.says("ALARM at ")
        watching.interrupt()
        assert watching.ends() == 130, watching.text
    assert page.left == []


def test_a_service_answers_the_pages_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    monkeypatch.chdir(tmp_path)
    write_colour_classifier(Path("shop.onnx"))
    shutil.copy("shop.onnx", "first.onnx")
    for name in ("photo", "1", "2"):
        Path(f"{name}.jpg").write_bytes(coloured(200, 0, 0, "JPEG"))
    for name, asked in ((USE, ((1, 3), (2, 1))), (A_PAGE, ((1, 3),))):
        page = PageCommands(name, only=SERVES[:2], but=WITH_A_CHAIN[USE])
        _, _, model = shlex.split(page.take("flower-client serve"))
        with serving_process(Path(model)) as service:
            page.changes["http://127.0.0.1:8080"] = service.url
            for sent, guesses in asked:
                curl = [*shlex.split(page.take("curl ")), "--silent"]
                done = subprocess.run(curl, capture_output=True, check=True)
                results = json.loads(done.stdout)["results"]
                assert [len(result["guesses"]) for result in results] == [guesses] * sent
                assert {result["guesses"][0]["class"] for result in results} == {"red"}
        assert page.left == []


def test_a_web_server_shows_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_colour_classifier(Path("shop.onnx"))
    page = PageCommands(USE, only=SERVES[2:])
    page.run("flower-client page")
    port = free_port()
    program, *words = shlex.split(page.take("python -m http.server"))
    assert program == "python"
    server = subprocess.Popen([sys.executable, *words, "--bind", "127.0.0.1", str(port)])
    try:
        wait_for(lambda: reachable(port))
        with urlopen(f"http://127.0.0.1:{port}/shop/") as answer:
            assert b"<html" in answer.read()
    finally:
        server.kill()
        server.wait()
    assert page.left == []


def reachable(port: int) -> bool:
    """Return whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
