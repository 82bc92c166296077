"""The commands of a page, each of which a test takes once, with what is here in place of what the
page has as an example.
"""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path

import typer

from fedshelf.client.main import app as client
from fedshelf.server.main import app as server
from fedshelf.simulations.main import app as simulation
from tests.helpers.commands import call
from tests.helpers.commands_not_run import NOT_RUN
from tests.helpers.documented_commands import ANY_BLOCK, commands

ROOT = Path(__file__).parents[2]
APPS: Mapping[str, typer.Typer] = {
    "flower-client": client,
    "flower-server": server,
    "flower-simulation": simulation,
}
# commands that tests/docs/test_chain.py runs, of pages that are not about chains alone
WITH_A_CHAIN: Mapping[str, tuple[str, ...]] = {
    "docs/how-to/use.md": (
        "flower-client annotate MODEL inbox --out ask",
        "flower-client corrections",
        "flower-client join",
        "flower-server start",
        "flower-client serve ~",
    ),
    "docs/how-to/operations.md": ("flower-server deliver",),
    "docs/how-to/python.md": ("flower-server start",),
}


class PageCommands:
    """The commands of a page that no test has taken yet.

    Those that are listed as not run are none of them.

    Args:
        page: path below the repository
        changes: text of the page -> text in its place
        only: beginnings of the commands that the test is about
        but: beginnings of those that another test takes
    """

    def __init__(
        self,
        page: str,
        changes: Mapping[str, str] | None = None,
        only: tuple[str, ...] = ("",),
        but: tuple[str, ...] = (),
    ) -> None:
        self.text = (ROOT / page).read_text(encoding="utf-8")
        others = (*NOT_RUN.get(page, ()), *but)
        self.left = [
            each
            for each in commands(self.text)
            if each.startswith(only) and not each.startswith(others)
        ]
        self.changes = dict(changes or {})

    def take(self, start: str) -> str:
        """Return the first command that begins so and was not taken yet."""
        found = next((each for each in self.left if each.startswith(start)), None)
        assert found, f"the page has no further {start!r}; left are {self.left}"
        self.left.remove(found)
        return self.changed(found)

    def changed(self, text: str) -> str:
        """Return a text of the page with this test's changes."""
        for word, here in self.changes.items():
            text = text.replace(word, here)
        return text

    def run(self, start: str, *more: str | Path) -> str:
        """Take a command and run it in this process; return what it printed.

        Args:
            start: of the command
            more: words that are added to it, to make it quick
        """
        return run_here(self.take(start), *more)

    def blocks(self, language: str) -> list[str]:
        """Return the blocks of a language, "" for those without one."""
        return [block for name, block in ANY_BLOCK.findall(self.text) if name == language]


def run_here(command: str, *more: str | Path) -> str:
    """Run a command of ours in this process, in the current folder; return what it printed.

    Its output may go to a file; `*` stands for the files that there are.
    """
    program, *words = shlex.split(command)
    to = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if to else words
    expanded = [
        os.fspath(path)
        for word in words
        for path in (sorted(Path().glob(word)) if "*" in word else [word])
    ]
    done = call(APPS[program], *expanded, *more)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    if to:
        Path(to).write_text(done.stdout, encoding="utf-8")
    return done.stdout
