"""The live page as programs see it; `tests/end_to_end/test_live_page.py` has it in a browser."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
import uvicorn

from fedshelf.server.monitor.web import LivePage
from tests.helpers.live_runs import LiveRun

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "'{{7*7}}",
    "\x1b[31m\u202ered",
]


class Page(HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def run(tmp_path: Path) -> LiveRun:
    return LiveRun(tmp_path / "chain", stores=["lyon-2", "oslo-7", "süd 2"])


@contextmanager
def served(run: LiveRun) -> Iterator[httpx.Client]:
    """The page of `run` behind a real socket."""
    server = uvicorn.Server(uvicorn.Config(LivePage(run.path).app, ws="none", log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        with httpx.Client(base_url=address, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def client(run: LiveRun) -> Iterator[httpx.Client]:
    with served(run) as client:
        yield client


def test_the_page_shows_the_run(run: LiveRun, client: httpx.Client) -> None:
    run.joined()
    run.play(1, 12)
    run.tell(**{"lyon-2": {"state": "away", "why": "no sign of life"}})
    run.say(training=[13, 1, 3])
    with run.at_work():
        page = Page(client.get("/").text)
    for words in (
        "Round 13 of 20: 1 of 3 stores have answered.",
        "12 / 20",
        "2 / 3",
        "no sign of life",
        "Accuracy",
    ):
        assert words in page.text


@pytest.mark.parametrize("state", ["nothing", "one round", "finished", "failed"])
def test_every_state_has_a_page(run: LiveRun, client: httpx.Client, state: str) -> None:
    if state != "nothing":
        run.play(1, 1)
    if state == "finished":
        run.end()
    if state == "failed":
        run.fail("Too few stores.")
    words = {
        "nothing": "Not running",
        "one round": "Not running",
        "finished": "Finished",
        "failed": "Too few stores.",
    }
    assert words[state] in Page(client.get("/").text).text


def test_names_of_stores_are_text_and_nothing_else(tmp_path: Path) -> None:
    run = LiveRun(tmp_path / "chain", stores=HOSTILE, rounds=30)
    run.joined()
    run.play(1, 30)
    run.tell(**{HOSTILE[0]: {"state": HOSTILE[1], "why": HOSTILE[0]}})
    run.say(note=HOSTILE[1])
    with run.at_work(), served(run) as client:
        first = client.get("/").text
        news = client.get("/news").json()
    for markup in (first, *news["parts"].values()):
        page = Page(markup)
        assert set(page.tags).isdisjoint({"img", "iframe", "object", "form"})
        assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert Page(first).tags.count("script") == 1, "our own"
    shown = Page(news["parts"]["stores"]).text
    assert all(name in shown for name in HOSTILE[:3])
    assert "\x1b" not in first
    assert "\u202e" not in first


def test_the_page_asks_nothing_of_anybody_else(run: LiveRun, client: httpx.Client) -> None:
    run.play(1, 3)
    page = Page(client.get("/").text)
    loaded = [value for name, value in page.attributes if name in {"src", "href", "action", "data"}]
    assert sorted(loaded) == ["data:,", "live.css", "live.js"]
    for path in ("/live.css", "/live.js"):
        assert not re.findall(
            r"(https?:)?//\w|@import|url\(", client.get(path).text.replace("// ", "")
        ), path


def test_headers_keep_others_out(client: httpx.Client) -> None:
    for path in ("/", "/news", "/metrics", "/health", "/live.css", "/live.js", "/nowhere"):
        headers = client.get(path).headers
        policy = dict(
            part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";")
        )
        assert (policy["default-src"], policy["script-src"], policy["frame-ancestors"]) == (
            "'none'",
            "'self'",
            "'none'",
        )
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert not {"set-cookie", "access-control-allow-origin"} & set(headers)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.7:8444", ""])
def test_other_names_are_refused(client: httpx.Client, host: str) -> None:
    for path in ("/", "/news", "/metrics", "/health"):
        assert client.get(path, headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:9000"])
def test_names_of_this_machine_are_not(client: httpx.Client, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(client: httpx.Client, method: str) -> None:
    for path in ("/", "/news", "/metrics", "/health"):
        assert client.request(method, path).status_code == 405
    assert client.head("/").status_code == 200


def test_looking_changes_no_file(run: LiveRun, client: httpx.Client) -> None:
    run.play(1, 3)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*")}
    for path in ("/", "/news", "/metrics", "/health"):
        client.get(path)
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*")} == before


def test_news_come_once(run: LiveRun, client: httpx.Client) -> None:
    run.play(1, 1)
    first = client.get("/news").json()
    seen = {"seen": first["version"]}
    assert client.get("/news", params=seen).status_code == 204
    run.play(2, 2)
    second = client.get("/news", params=seen).json()
    assert second["version"] != first["version"]
    assert "2 / 20" in second["parts"]["tiles"]


def test_what_an_earlier_server_showed_is_not_taken_for_ours(
    run: LiveRun, client: httpx.Client
) -> None:
    seen = client.get("/news").json()["version"]
    with served(run) as restarted:
        assert restarted.get("/news", params={"seen": seen}).status_code == 200


def test_health_is_for_machines(run: LiveRun, client: httpx.Client) -> None:
    with run.at_work():
        assert client.get("/health").status_code == 200
    run.fail("Too few stores.")
    answer = client.get("/health")
    assert (answer.status_code, answer.json()) == (503, {"status": "failed", "round": 0})


def test_metrics_are_in_the_format_of_prometheus(client: httpx.Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'fedshelf_status{status="dead"} 1.0' in answer.text
