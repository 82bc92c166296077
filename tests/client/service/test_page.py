"""The page in a real browser: what a person sees, with eyes, a keyboard or a screen reader."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fedshelf.client.service.page_files import PAGE_FOLDER
from tests.helpers.browser import Tab, chromium
from tests.helpers.deployed import wait_for
from tests.helpers.page import drop, text
from tests.helpers.services import RunningService, coloured, coloured_index, running_service

TAB = ("Tab", 9)
ENTER = ("Enter", 13)
WORDS = {
    "en-GB": ("Which product is it?", "red", "The model is sure."),
    "de-CH": ("Welches Produkt ist das?", "red", "Das Modell ist sicher."),
    "fr": ("Quel est ce produit ?", "red", "Le modèle est sûr."),
    "zh-CN": ("这是什么商品？", "red", "模型很确定。"),
    "it": ("Which product is it?", "red", "The model is sure."),
}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("browser")) as tab:
        tab.ask("Page.setInterceptFileChooserDialog", enabled=True)
        yield tab


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("model")) as service:
        yield service


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "shoe.png"
    path.write_bytes(coloured(200, 20, 30))
    return path


def show(tab: Tab, running: RunningService, width: int = 390, *, dark: bool = False) -> None:
    tab.open("about:blank", width=width)
    tab.errors.clear()
    tab.requests.clear()
    tab.open(f"{running.url}/", width=width, dark=dark)
    wait_for(lambda: tab.run("document.getElementById('privacy').textContent"))


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_a_dropped_photo_is_answered_at_every_width_and_in_both_schemes(
    tab: Tab, running: RunningService, width: int, dark: bool
) -> None:
    show(tab, running, width, dark=dark)
    drop(tab, coloured(150, 30, 20, side=8))
    assert wait_for(lambda: text(tab, "verdict")) == "red"
    assert text(tab, "classes").split() == ["red", "75%", "green", "15%", "blue", "10%"]
    assert tab.overflow() == 0
    assert tab.errors == []
    ground = tab.run("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(19, 25, 23)" if dark else "rgb(246, 247, 245)")
    own = [url for _, url in tab.requests if url.startswith((running.url, "blob:", "about:"))]
    assert [url for _, url in tab.requests] == own
    sent = [url for method, url in tab.requests if method == "POST"]
    assert sent == [f"{running.url}/v1/classify?top=3"]


def test_a_pasted_photo_is_answered(tab: Tab, running: RunningService) -> None:
    show(tab, running)
    drop(tab, coloured(0, 200, 0), event="paste")
    assert wait_for(lambda: text(tab, "verdict")) == "green"


def test_the_parts_that_decide_are_shown_and_hidden_again(
    tab: Tab, running: RunningService
) -> None:
    show(tab, running)
    drop(tab, coloured(200, 60, 60))
    wait_for(lambda: text(tab, "verdict"))
    pressed = "document.getElementById('explain').getAttribute('aria-pressed')"
    name = "document.getElementById('photo').alt"
    tab.run("document.getElementById('explain').focus()")
    tab.press(*ENTER)
    wait_for(lambda: tab.run(pressed) == "true")
    assert tab.run(name) == "Your photo; the parts that decide are bright."
    wait_for(lambda: tab.run("document.getElementById('photo').naturalWidth") == 768)
    tab.press(*ENTER)
    wait_for(lambda: tab.run(pressed) == "false")
    assert tab.run(name) == "Your photo"
    assert tab.errors == []


@pytest.mark.parametrize("width", [390, 1280])
def test_similar_products_are_shown_where_there_is_an_index(
    tab: Tab, tmp_path: Path, width: int
) -> None:
    index, shop = coloured_index(tmp_path)
    with running_service(tmp_path, index=index) as running:
        show(tab, running, width)
        drop(tab, (shop / "red.png").read_bytes())
        found = [line.split() for line in wait_for(lambda: text(tab, "matches")).splitlines()]
        assert [line[0] for line in found if line] == ["shop/rose.png", "shop/blue.png"]
        pictures = "[...document.querySelectorAll('#matches img')]"
        wait_for(lambda: tab.run(f"{pictures}.every((each) => each.naturalWidth === 256)"))
        assert tab.run(f"{pictures}.map((each) => each.alt)") == ["shop/rose.png", "shop/blue.png"]
        assert tab.overflow() == 0
        assert tab.errors == []
        # a photo that is not found anew hides what belongs to the last one
        drop(tab, b"no photo")
        wait_for(lambda: text(tab, "problem"))
        assert text(tab, "matches") == ""


def test_a_keyboard_is_enough(tab: Tab, running: RunningService, photo: Path) -> None:
    show(tab, running, 1280)
    tab.press(*TAB)
    assert tab.run("document.activeElement.id") == "file"
    outline = "getComputedStyle(document.activeElement.parentElement).outlineStyle"
    assert tab.run(outline) == "solid"
    tab.press(*ENTER)
    wait_for(lambda: tab.run("1") and tab.choosers)
    tab.choose_file(photo)
    assert wait_for(lambda: text(tab, "verdict")) == "red"
    assert tab.run("document.activeElement.id") == "verdict"


def test_a_screen_reader_finds_names_for_all_parts(
    tab: Tab, running: RunningService, photo: Path
) -> None:
    show(tab, running)
    drop(tab, photo.read_bytes())
    wait_for(lambda: text(tab, "verdict"))
    tree = tab.ask("Accessibility.getFullAXTree")["nodes"]
    named = {
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree
        if not node.get("ignored") and "role" in node
    }
    assert {("heading", "Which product is it?"), ("heading", "red"), ("main", "")} <= named
    assert ("image", "Your photo") in named
    assert ("region", "red") in named
    assert ("button", "Choose a photo") in named
    controls = {role for role, name in named if role in ("button", "image", "textbox") and not name}
    assert controls == set()


@pytest.mark.parametrize("language", WORDS)
def test_the_browser_chooses_the_language(tab: Tab, running: RunningService, language: str) -> None:
    agent = str(tab.run("navigator.userAgent"))
    tab.ask("Network.setUserAgentOverride", userAgent=agent, acceptLanguage=language)
    try:
        show(tab, running)
        drop(tab, coloured(200, 0, 0))
        wait_for(lambda: text(tab, "verdict"))
        shown = (text(tab, "verdict"), text(tab, "meaning"))
        title, *rest = WORDS[language]
        assert tab.run("document.querySelector('h1').innerText") == title
        assert shown == tuple(rest)
        assert tab.run("document.documentElement.lang") == (
            "en" if language == "it" else language[:2]
        )
        assert tab.overflow() == 0
    finally:
        tab.ask("Network.setUserAgentOverride", userAgent=agent, acceptLanguage="en")


def test_every_language_has_every_word() -> None:
    source = (PAGE_FOLDER / "words.js").read_text(encoding="utf-8")
    blocks = re.findall(r"^  (\w\w): \{$(.*?)^  \},$", source, re.DOTALL | re.MULTILINE)
    words = {name: re.findall(r'^    (\w+): "', block, re.MULTILINE) for name, block in blocks}
    assert set(words) == {"en", "de", "fr", "zh"}
    assert all(keys == words["en"] for keys in words.values())
    page = (PAGE_FOLDER / "index.html").read_text(encoding="utf-8")
    assert set(re.findall(r'data-word="(\w+)"', page)) <= set(words["en"])


def test_a_file_that_is_no_photo_is_told(tab: Tab, running: RunningService) -> None:
    show(tab, running)
    drop(tab, b"<script>alert(1)</script>", "text/html")
    assert wait_for(lambda: text(tab, "problem")) == "That is no photo that can be read here."
    drop(tab, coloured(0, 0, 200))
    assert wait_for(lambda: text(tab, "verdict")) == "blue"
    assert text(tab, "problem") == ""


def test_a_key_is_asked_for_where_one_is_needed(tab: Tab, tmp_path: Path) -> None:
    key = "k" * 20
    with running_service(tmp_path, key=key) as running:
        tab.open(f"{running.url}/", width=390)
        wait_for(lambda: tab.run("document.activeElement.id") == "key")
        tab.ask("Input.insertText", text=key)
        tab.press(*ENTER)
        wait_for(lambda: text(tab, "model"))
        drop(tab, coloured(200, 0, 0))
        assert wait_for(lambda: text(tab, "verdict")) == "red"


def test_the_policy_allows_own_files_alone(running: RunningService) -> None:
    with running.client() as client:
        answer = client.get("/")
        policy = answer.headers["content-security-policy"]
        assert "unsafe-inline" not in policy
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        page = answer.text
        assert re.findall(r"<script(?![^>]* src=)", page) == []
        assert re.findall(r"\sstyle=|\son\w+=|https?://", page) == []
        for name in re.findall(r'(?:src|href)="([^"]+)"', page):
            assert client.get(f"/{name}").status_code == 200
