"""The page's mode "on this device": what a person sees, and what leaves the machine."""

import gzip
import hashlib
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.client.service.device_model import read_device_model
from fedshelf.client.service.page_files import PAGE_FOLDER, page_folder
from fedshelf.common.inference.loading import load
from fedshelf.common.system.files import write_folder
from tests.helpers.browser import Tab, chromium
from tests.helpers.deployed import wait_for
from tests.helpers.exported_models import save_exported
from tests.helpers.page import drop, text
from tests.helpers.services import RunningService, running_service
from tests.helpers.static_files import static_files

TAB = ("Tab", 9)
SPACE = (" ", 32)
ENTER = ("Enter", 13)
KEY = "k" * 20
CHECKED = "document.getElementById('device').checked"


def striped() -> bytes:
    rows = np.repeat(np.arange(0, 240, 6, dtype=np.uint8)[:, None], 48, axis=1)
    file = io.BytesIO()
    Image.fromarray(np.stack([rows, 255 - rows, rows // 2], axis=2)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_exported(tmp_path_factory.mktemp("model"))[1]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, onnx: Path) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("service"), onnx_file=onnx) as service:
        yield service


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser")) as tab:
        yield tab


@pytest.fixture
def tab(browser: Tab) -> Iterator[Tab]:
    """A tab that remembers nothing."""
    browser.open("about:blank", width=390)
    browser.requests.clear()
    browser.errors.clear()
    yield browser
    browser.run("sessionStorage.clear()")


def show(tab: Tab, url: str) -> None:
    tab.open(f"{url}/", width=390)
    wait_for(lambda: text(tab, "model"))


def answered(tab: Tab) -> None:
    """Drop a photo, and wait for the page's answer."""
    drop(tab, striped())
    wait_for(lambda: text(tab, "verdict"))


def expected(onnx: Path) -> list[str]:
    """The class of the photo, and its share as the page writes it."""
    predictor = load(onnx)
    pixels = np.array(Image.open(io.BytesIO(striped())))
    (shares,) = predictor.predict(pixels[None]).probabilities
    best = int(shares.argmax())
    return [predictor.description.class_names[best], f"{shares[best]:.1%}"]


def test_no_photo_leaves_the_device_once_the_switch_is_on(
    tab: Tab, running: RunningService, onnx: Path
) -> None:
    show(tab, running.url)
    assert text(tab, "privacy").startswith("The photo is sent to 127.0.0.1")
    assert not any("vendor" in url for _, url in tab.requests)  # 3.7 MB that nobody asked for
    tab.press(*TAB)
    tab.press(*TAB)
    assert tab.run("document.activeElement.id") == "device"
    assert tab.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    tab.press(*SPACE)
    wait_for(lambda: text(tab, "privacy") == "Your photos stay on this device.")
    wait_for(lambda: text(tab, "status") == "")
    tab.requests.clear()
    answered(tab)
    assert text(tab, "classes").split()[:2] == expected(onnx)
    tab.run("document.getElementById('explain').focus()")
    tab.press(*ENTER)
    wait_for(lambda: tab.run("document.getElementById('photo').naturalWidth") == 768)
    assert [url for _, url in tab.requests if not url.startswith("blob:")] == []
    assert tab.errors == []


def test_the_switch_is_remembered_and_hides_what_came_from_the_other_place(
    tab: Tab, running: RunningService
) -> None:
    show(tab, running.url)
    tab.run("document.getElementById('device').click()")
    answered(tab)
    tab.open("about:blank", width=390)
    show(tab, running.url)
    assert tab.run(CHECKED) is True
    answered(tab)
    assert [url for method, url in tab.requests if method == "POST"] == []
    tab.run("document.getElementById('device').click()")
    assert text(tab, "verdict") == ""
    wait_for(lambda: text(tab, "privacy").startswith("The photo is sent"))
    answered(tab)
    sent = [url for method, url in tab.requests if method == "POST"]
    assert sent == [f"{running.url}/v1/classify?top=3"]


def test_a_model_that_does_not_load_sends_no_photo_instead(
    tab: Tab, tmp_path: Path, onnx: Path
) -> None:
    with running_service(tmp_path, onnx_file=onnx) as running:
        show(tab, running.url)
        running.service.onnx_file = None
        tab.run("document.getElementById('device').click()")
        wait_for(lambda: text(tab, "problem"))
        drop(tab, striped())
        tab.waited_for("new Promise((resolve) => requestAnimationFrame(resolve))")
        assert text(tab, "verdict") == ""
        assert [url for method, url in tab.requests if method == "POST"] == []


def test_the_model_needs_the_services_key(tab: Tab, tmp_path: Path, onnx: Path) -> None:
    with running_service(tmp_path, key=KEY, onnx_file=onnx) as running:
        with running.client() as client:
            for name in ("model.json", "model.onnx"):
                assert client.get(f"/{name}", headers={"authorization": ""}).status_code == 401
            assert client.get("/model.onnx").content == onnx.read_bytes()
        tab.open(f"{running.url}/", width=390)
        wait_for(lambda: tab.run("document.activeElement.id") == "key")
        tab.ask("Input.insertText", text=KEY)
        tab.press(*ENTER)
        wait_for(lambda: text(tab, "where"))
        tab.run("document.getElementById('device').click()")
        answered(tab)
        assert [url for method, url in tab.requests if method == "POST"] == []


def test_a_browser_without_webassembly_is_told(tab: Tab, running: RunningService) -> None:
    source = "delete globalThis.WebAssembly"
    script = tab.ask("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    show(tab, running.url)
    tab.ask("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    assert tab.run("document.getElementById('device').disabled") is True
    assert text(tab, "privacy").endswith("This browser cannot run the model: it lacks WebAssembly.")


def test_a_browser_that_keeps_nothing_has_the_switch_all_the_same(
    tab: Tab, running: RunningService
) -> None:
    source = """Object.defineProperty(globalThis, "sessionStorage", {
      get() { throw new DOMException("", "SecurityError"); } })"""
    script = tab.ask("Page.addScriptToEvaluateOnNewDocument", source=source)["identifier"]
    show(tab, running.url)
    tab.ask("Page.removeScriptToEvaluateOnNewDocument", identifier=script)
    tab.run("document.getElementById('device').click()")
    answered(tab)
    assert [url for method, url in tab.requests if method == "POST"] == []


def test_another_model_has_no_switch(tab: Tab, tmp_path: Path) -> None:
    with running_service(tmp_path) as running:
        show(tab, running.url)
        assert text(tab, "where") == ""
        with running.client() as client:
            assert client.get("/v1/model").json()["on_device"] is False
            assert client.get("/model.onnx").status_code == 404


def test_any_web_server_can_hold_the_page(tab: Tab, tmp_path: Path, onnx: Path) -> None:
    write_folder(tmp_path / "page", page_folder(read_device_model(onnx, "shop")))
    with static_files(tmp_path / "page") as url:
        show(tab, url)
        wait_for(lambda: text(tab, "status") == "")
        assert text(tab, "model") == "shop: 3 classes"
        assert text(tab, "where") == ""
        assert text(tab, "privacy") == "Your photos stay on this device."
        own = [address for _, address in tab.requests if address.startswith(url)]
        assert own == [address for _, address in tab.requests if address != "about:blank"]
        tab.requests.clear()
        answered(tab)
        assert text(tab, "classes").split()[:2] == expected(onnx)
        assert [address for _, address in tab.requests if not address.startswith("blob:")] == []
        assert tab.errors == []


def test_files_of_two_models_do_not_go_together(tab: Tab, tmp_path: Path, onnx: Path) -> None:
    files = page_folder(read_device_model(onnx, "shop"))
    told = json.loads(files["model.json"]) | {"seal": "0" * 64}
    write_folder(tmp_path / "page", files | {"model.json": json.dumps(told).encode()})
    with static_files(tmp_path / "page") as url:
        tab.open(f"{url}/", width=390)
        assert "being restarted" in wait_for(lambda: text(tab, "problem"))


def test_vendored_files_are_those_of_the_package(running: RunningService) -> None:
    vendor = PAGE_FOLDER / "vendor"
    told = {
        name.replace(".mjs", ".js"): digest
        for digest, name in re.findall(
            r"^([0-9a-f]{64})  (\S+)$", (vendor / "README.txt").read_text(), re.MULTILINE
        )
    }
    assert len(told) == 3
    for name, digest in told.items():
        content = gzip.decompress((vendor / f"{name}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == digest
        with running.client() as client:
            answer = client.get(f"/vendor/{name}")
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.content == content
