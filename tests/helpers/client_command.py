"""`flower-client`, called in this process for a home of its own."""

import subprocess
from pathlib import Path

from fedshelf.client.main import app
from tests.helpers.commands import call


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return call(app, *arguments, FEDSHELF_HOME=home, COLUMNS="160", NO_COLOR="1")


def refused(home: Path, code: int, *arguments: str) -> str:
    done = run(home, *arguments)
    assert done.returncode == code
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr
