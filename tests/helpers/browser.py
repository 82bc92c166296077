"""A real Chromium without a window, driven through its DevTools port, to see what a person sees."""

import base64
import itertools
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.helpers.deployed import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome")


class Tab:
    """One page.

    errors: what its console and its security policy complained of
    requests: the addresses that it asked for, with their method: (POST, http://...)
    choosers: file inputs whose dialogue was opened, once they are intercepted
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self.errors: list[str] = []
        self.requests: list[tuple[str, str]] = []
        self.choosers: list[int] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Carry out a DevTools command."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (answer := json.loads(self._connection.recv(timeout=30))).get("id") != number:
            self._heard(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, url: str, *, width: int, dark: bool = False) -> None:
        """Show `url` in a window of that width, and wait until it is there."""
        height = 900
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])
        self.ask("Page.navigate", url=url)
        wait_for(
            lambda: (
                self.run("document.readyState") == "complete" and self.run("location.href") == url
            )
        )

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def waited_for(self, script: str) -> Any:
        """The value of a promise, the expression of which is given."""
        answer = self.ask(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def choose_file(self, file: Path) -> None:
        """Give a file to the input that was opened last, as the system's dialogue does."""
        self.ask("DOM.setFileInputFiles", backendNodeId=self.choosers.pop(), files=[str(file)])

    def press(self, key: str, code: int) -> None:
        """Press a key; `code` is its Windows virtual key code."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.ask(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code="Space" if key == " " else key,
                windowsVirtualKeyCode=code,
                **({"text": text} if text and kind == "keyDown" else {}),
            )

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(
            self.run("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )

    def picture(self, path: Path) -> None:
        """Save the whole page as PNG."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _heard(self, event: dict[str, Any]) -> None:
        match event:
            case {
                "method": "Log.entryAdded",
                "params": {"entry": {"level": "error", "text": text}},
            }:
                self.errors.append(text)
            case {
                "method": "Network.requestWillBeSent",
                "params": {"request": {"method": method, "url": url}},
            }:
                self.requests.append((method, url))
            case {"method": "Page.fileChooserOpened", "params": {"backendNodeId": node}}:
                self.choosers.append(node)
            case {"method": "Runtime.exceptionThrown", "params": {"exceptionDetails": details}}:
                self.errors.append(str(details.get("exception", details)))
            case {
                "method": "Runtime.consoleAPICalled",
                "params": {"type": "error" | "warning", "args": told},
            }:
                self.errors.append(str(told))


@contextmanager
def chromium(home: Path) -> Iterator[Tab]:
    """A tab of a fresh Chromium whose files are in `home`; skips the test where there is none."""
    connect = pytest.importorskip("websockets.sync.client").connect
    binary = next(filter(None, map(shutil.which, NAMES)), None)
    if binary is None:
        pytest.skip("no Chromium on this machine")
    flags = [
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-port=0",
        f"--user-data-dir={home}",
    ]
    process = subprocess.Popen(
        [binary, *flags, "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        told = home / "DevToolsActivePort"
        port = wait_for(lambda: told.exists() and told.read_text().partition("\n")[0])
        pages = httpx.get(f"http://127.0.0.1:{port}/json/list", trust_env=False).json()
        address = next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
        with connect(address, max_size=None, proxy=None) as connection:
            yield Tab(connection)
    finally:
        process.terminate()
        process.wait(20)
