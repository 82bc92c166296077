"""Commands, options and settings that pages name exist; those of tutorials work word for word."""

import csv
import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from urllib.request import urlopen

import click
import pytest
import typer

from fedshelf.client.main import app as client
from fedshelf.common.config import RunConfig, to_flower
from fedshelf.server.main import app as server
from fedshelf.simulations.main import app as simulation
from tests.helpers.deployed import free_port
from tests.helpers.documented_commands import run_steps, steps
from tests.helpers.product_photos import photos

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PROGRAMS = {"flower-client": client, "flower-server": server, "flower-simulation": simulation}
PAGES = [
    ROOT / "README.md",
    *(path for path in sorted(DOCS.rglob("*.md")) if path.name not in ("log.md", "commands.md")),
]
LEFT = {  # what the commands of a page leave behind
    "tutorials/first-run.md": "runs/two-products/report.html",
    "tutorials/your-photos.md": "www/mine/index.html",
    "tutorials/three-stores.md": "runs/shops/model.safetensors",
    "how-to/photos.md": "runs/csv/model.safetensors",
    "how-to/few-labels.md": "runs/few/model.safetensors",
    "how-to/unequal-stores.md": "runs/labels/model.safetensors",
    "how-to/privacy.md": "runs/private/model.safetensors",
    "how-to/pretrained.md": "runs/ridge/model.safetensors",
}


def named_commands(text: str) -> Iterator[str]:
    """Yield all that begins with one of our programs, in blocks and in code of one line."""
    text = text.replace("\\\n", " ")
    for block in re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
        yield from re.findall(
            r"(?<!--entrypoint )flower-(?:client|server|simulation) [^\n#|;]*", block
        )
    for span in re.findall(r"`([^`]+)`", re.sub(r"(?ms)^ *```.*?^ *```", "", text)):
        yield from re.findall(r"^flower-(?:client|server|simulation) [^|]*", " ".join(span.split()))


def unknown_part(named: str) -> str | None:
    """Return the command or option of a line that does not exist; None if all do."""
    program, *words = named.replace("'", " ").split()
    command: click.Command = typer.main.get_command(PROGRAMS[program])
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z-]+", words[0]):
        if words[0].startswith("-"):
            break
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {
        "--help",
        "-h",
        "--version",
    }
    given = (word.strip("[](),.") for word in takewhile(lambda word: word != "&&", words))
    return next(
        (one for one in given if one.startswith("--") and one.partition("=")[0] not in known), None
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_commands_options_and_settings_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert [(named, part) for named in named_commands(text) if (part := unknown_part(named))] == []
    given = re.findall(r"--set ([a-z]+\.[a-z_0-9]+)=", text)
    known = to_flower(RunConfig()).keys()
    assert [key for key in given if key not in known and key != "strategy.damping"] == []


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a folder with `photos`, and the same as `photos.csv`, as the how-to pages have them."""
    found = sorted(photos(tmp_path / "photos").rglob("*.png"))
    with (tmp_path / "photos.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(("image", "label", "split"))
        lines.writerows(
            (path.relative_to(tmp_path), path.parent.name, path.parts[-3]) for path in found
        )
    return tmp_path


@pytest.mark.slow(minutes=4)
@pytest.mark.parametrize("page", LEFT)
def test_a_page_works_word_for_word(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if page.startswith("how-to"):
        request.getfixturevalue("place")
    run_steps(list(steps((DOCS / page).read_text(encoding="utf-8"))), tmp_path)
    assert (tmp_path / LEFT[page]).is_file()


@pytest.mark.slow(minutes=1)
def test_a_finished_run_becomes_a_page_that_a_web_server_shows(tmp_path: Path) -> None:
    wanted = list(steps((DOCS / "tutorials/a-page.md").read_text(encoding="utf-8")))
    port = free_port()
    of_web_server = [step for _, step in wanted if step.startswith("python -m http.server")]
    assert len(of_web_server) == 1
    commands = [
        (language, step.replace("8000", str(port)))
        for language, step in wanted
        if not step.startswith("flower-client serve")  # its own tests have it
    ]

    def look() -> None:
        with urlopen(f"http://127.0.0.1:{port}/first/") as answer:
            assert b"<html" in answer.read()

    run_steps(commands, tmp_path, look=look)
