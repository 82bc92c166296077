"""The site builds strictly, its links lead somewhere, and its pages ask for nothing elsewhere."""

import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
# what a browser fetches by itself, and what a reader may click
FETCHED = {
    ("script", "src"),
    ("img", "src"),
    ("link", "href"),
    ("source", "src"),
    ("iframe", "src"),
}
CLICKED = ("a", "href")


class _Page(HTMLParser):
    """The anchors of a page, and the addresses that it fetches and links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.clicked: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if (tag, name) in FETCHED and value:
                self.fetched.append(value)
            if (tag, name) == CLICKED and value:
                self.clicked.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site as `make docs` does."""
    (options,) = re.findall(
        r"^\t\$\(BIN\)/python -m sphinx (.*) docs site$", (ROOT / "Makefile").read_text(), re.M
    )
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "sphinx", *options.split()]
    done = subprocess.run(
        [*build, "-d", folder / "doctrees", ROOT / "docs", folder / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "html"


def pages(site: Path) -> Iterator[tuple[Path, _Page]]:
    for path in sorted(site.rglob("*.html")):
        yield path, _Page(path)


@pytest.mark.slow(minutes=0.5)
def test_each_link_leads_to_a_page_and_an_anchor_of_the_site(site: Path) -> None:
    known = dict(pages(site))
    assert site / "tutorials/first-run.html" in known
    dead = []
    for path, page in known.items():
        for link in page.clicked + page.fetched:
            if re.match(r"[a-z]+:", link):
                continue
            file, _, anchor = unquote(link).partition("#")
            target = (path.parent / file.partition("?")[0]).resolve() if file else path
            if not target.is_file() or (
                anchor and target in known and anchor not in known[target].anchors
            ):
                dead.append((path.name, link))
    assert dead == []


@pytest.mark.slow(minutes=0.5)
def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    assert [link for _, page in pages(site) for link in page.fetched if "//" in link] == []
    for sheet in site.rglob("*.css"):
        fetched = re.findall(r"(?:@import|url\()\s*[\"']?([^\"')]+)", sheet.read_text("utf-8"))
        assert [one for one in fetched if "//" in one.split("data:")[0]] == [], sheet
    for script in site.rglob("*.js"):
        text = script.read_text("utf-8")
        assert not re.search(r"(fetch|import|open|src\s*=)\s*\(?\s*[\"']https?://", text), script
