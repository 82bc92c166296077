import html.parser
import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fedshelf.client.health.checks import CHECKS
from fedshelf.client.health.evidence.finding import Exhibit, Finding
from fedshelf.client.health.page import write_page
from fedshelf.client.health.run_checks import Report, Subject, run_checks
from tests.helpers.store_photos import counts, folder, odd_folder, save, thing

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)


class Page(html.parser.HTMLParser):
    """Tags with attributes and texts; every tag is closed in order."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(markup)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def checked(root: Path, out: Path) -> tuple[str, Page]:
    report = run_checks(Subject("oslo-7", root), lambda _: lambda *_: None)
    markup = write_page(report, out).read_text(encoding="utf-8")
    return markup, Page(markup)


def report(*findings: Finding) -> Report:
    return Report("oslo-7", datetime.now(UTC), counts(hat=30, boot=20), ((CHECKS[0], findings),))


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    markup, page = checked(odd_folder(tmp_path / "shop"), tmp_path)
    without_pictures = re.sub(r'"data:image/jpeg;base64,[A-Za-z0-9+/=]*"', '""', markup)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", without_pictures)
    assert not {tag for tag, _ in page.tags} & {
        "script",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "a",
    }
    assert all(
        (found["src"] or "").startswith("data:image/jpeg;base64,")
        for tag, found in page.tags
        if tag == "img"
    )
    policy = next(
        found["content"]
        for _, found in page.tags
        if found.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def test_names_are_shown_and_do_nothing(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    for label in (
        "<script>alert(1)",
        "{{ 7*7 }}",
        "two\nlines\N{RIGHT-TO-LEFT OVERRIDE}",
        '" onload="x',
    ):
        folder(root, {label: 3})
    markup, page = checked(root, tmp_path)
    assert "<script" not in markup
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in markup
    assert {
        "<script>alert(1)",
        "{{ 7*7 }}",
        "two\N{REPLACEMENT CHARACTER}lines\N{REPLACEMENT CHARACTER}",
    } <= {*page.texts}
    assert not any(name.startswith("on") for _, found in page.tags for name in found)
    told = json.loads((tmp_path / "health.json").read_text(encoding="utf-8"))
    assert set(told["classes"]) == {
        "<script>alert(1)",
        "{{ 7*7 }}",
        "two\nlines\N{RIGHT-TO-LEFT OVERRIDE}",
        '" onload="x',
    }


def test_the_files_say_the_same(tmp_path: Path) -> None:
    root = folder(tmp_path / "shop", {"hat": 30, "boot": 20})
    save(root / "hat" / "again.png", thing(40))
    save(root / "hat" / "once more.png", thing(3))
    _, page = checked(root, tmp_path)
    told = json.loads((tmp_path / "health.json").read_text())
    assert (told["store"], told["photos"], told["can_take_part"]) == ("oslo-7", 52, True)
    assert sum(sum(parts.values()) for parts in told["classes"].values()) == 52
    for finding in told["findings"]:
        assert finding["what"] in page.texts
        assert finding["advice"] in page.texts
    assert {*told["checked"]} <= {*page.texts}
    assert "No photo is there twice" not in told["checked"]  # a note is a finding too
    assert "No photo is there twice" not in page.texts
    names = {exhibit["name"] for one in told["findings"] for exhibit in one["files"]}
    assert names == {"hat/again.png", "boot/0040.png", "hat/once more.png"}
    assert sum(tag == "img" for tag, _ in page.tags) == 3


def test_checks_that_were_not_made_are_not_passed(tmp_path: Path) -> None:
    _, page = checked(folder(tmp_path / "shop", {"hat": 3}), tmp_path)
    assert not {"The server answers", "The clocks agree", "No label is in doubt"} & {*page.texts}


def test_a_page_about_thousands_of_photos_stays_small(tmp_path: Path) -> None:
    path = save(tmp_path / "noisy.png", thing(1, 300).effect_spread(40))
    exhibits = tuple(Exhibit(f"hat/{number}.jpg", "bad", path) for number in range(3000))
    findings = [
        Finding("photos", "warning", f"{part} is bad.", "Mend it.", exhibits) for part in range(15)
    ]
    markup = write_page(report(*findings), tmp_path).read_text()
    page = Page(markup)
    assert sum(tag == "img" for tag, _ in page.tags) == 120
    assert len(markup) < 3_000_000
    assert markup.count("and 2,788 more files; health.json names all") == 10
    told = json.loads((tmp_path / "health.json").read_text())
    assert [len(finding["files"]) for finding in told["findings"]] == [3000] * 15


def test_problems_come_first_and_decide_the_verdict(tmp_path: Path) -> None:
    def page_of(*severities: str) -> Page:
        findings = [Finding("photos", severity, f"{severity}!", "Do.") for severity in severities]  # type: ignore[arg-type]
        return Page(write_page(report(*findings), tmp_path).read_text())

    both = page_of("note", "warning", "problem")
    assert "Not ready" in both.texts
    assert [text for text in both.texts if text in {"note!", "warning!", "problem!"}] == [
        "problem!",
        "warning!",
        "note!",
    ]
    assert json.loads((tmp_path / "health.json").read_text())["can_take_part"] is False
    assert "Ready, with warnings" in page_of("note", "warning").texts
    assert "Ready" in page_of("note").texts


def test_a_store_without_photos_has_a_page(tmp_path: Path) -> None:
    _, page = checked(tmp_path / "gone", tmp_path)
    assert "Not ready" in page.texts
    assert "Photos per class" not in page.texts


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here to render the page")
@pytest.mark.parametrize("width", [320, 390, 1400])
def test_nothing_is_wider_than_the_screen(tmp_path: Path, width: int) -> None:
    """The page in a frame of a phone's width; a script beside it reads the widths of the rendered
    document.
    """
    root = odd_folder(tmp_path / "shop")
    folder(root, {"aclasswithanamethatnophonehasroomfor" * 3: 40, "boot": 30}, seed=200)
    for number in range(20):
        save(root / "boot" / f"{'IMG' * 40}{number}.png", thing(number, 40))
    markup, _ = checked(root, tmp_path)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    (tmp_path / "page.html").write_text(
        markup.replace(policy, policy + "; script-src 'unsafe-inline'")
    )
    script = (
        "onload = () => { const page = frame.contentDocument.documentElement;"
        " document.body.dataset.widths = page.scrollWidth + ' ' + page.clientWidth; }"
    )
    (tmp_path / "frame.html").write_text(
        '<!DOCTYPE html><iframe id="frame" src="page.html"'
        f' style="border:0;width:{width}px;height:900px"></iframe><script>{script}</script>'
    )
    dumped = subprocess.run(
        [
            str(CHROMIUM),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--allow-file-access-from-files",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--window-size=1600,1000",
            "--dump-dom",
            f"file://{tmp_path}/frame.html",
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    found = re.search(r'data-widths="(\d+) (\d+)"', dumped.stdout)
    assert found is not None, dumped.stdout[-500:]
    assert width - 20 <= int(found[2]) <= width  # a scroll bar takes at most 20
    assert int(found[1]) <= int(found[2])
