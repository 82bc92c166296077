"""The real command line, in this process or in one of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fedshelf.simulations.main import app
from tests.helpers.commands import call

BIN = Path(sys.executable).parent

# Three stores of the embedded data set and the smallest network: a round takes a fraction of a
# second.
SMALL = ["--dataset", "shelf", "--stores", "3", "--model", "niid-cnn", "--seed", "1"]
PLAIN = {"NO_COLOR": "1", "COLUMNS": "120"}


def run(
    *arguments: str | Path, then: Mapping[str, Callable[[], object]] | None = None
) -> subprocess.CompletedProcess[str]:
    """`flower-simulation` with these arguments in this process, to its end; `then` is done at words
    that it prints.
    """
    return call(app, *arguments, then=then, **PLAIN)


def start(*arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
    """The same in a process of its own, its output captured."""
    command = [str(BIN / "flower-simulation"), *map(str, arguments)]
    environment = os.environ | PLAIN | options.pop("env", {})
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def run_process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """`start`, and wait for its end."""
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=280)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def summary(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return loaded


def history(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
