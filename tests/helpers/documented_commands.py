"""The commands and snippets of a page, run as they stand there."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.error import URLError

from tests.helpers.deployed import PATIENCE

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ANY_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
PROGRAMS = (
    *(
        "flower-",
        "flwr ",
        "python",
        "docker ",
        "sudo ",
        "ray ",
        "ssh ",
        "curl ",
        "systemctl ",
        "tar ",
    ),
    *("chmod ", "wandb "),
)
# stay until the server has its model, or until they are ended
BACKGROUND = ("flower-server start", "flower-client join", "flower-client serve", "python -m http")


def steps(text: str) -> Iterator[tuple[str, str]]:
    """Yield each command ("sh") and each snippet ("python") of a page, in their order.

    What installs is left out: the tests' environment has all extras.
    """
    for language, block in BLOCK.findall(text):
        if language == "python":
            yield language, block
            continue
        for line in block.replace("\\\n", " ").splitlines():
            command = line.split("  #")[0].strip()
            if command and not command.startswith(("make", "pip install")):
                yield language, command


def run_steps(
    wanted: list[tuple[str, str]], folder: Path, look: Callable[[], None] | None = None
) -> None:
    """Run the steps of a page in a folder, and end all processes that stay.

    A command after `flower-server start` and its stores waits until the server has ended.

    Args:
        wanted: language and text of each step
        folder: where they run
        look: is called while the last processes stay, again until it can connect to them
    """
    surroundings = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FEDSHELF_HOME": str(folder / "state"),
        "FLWR_HOME": str(folder / "flwr"),
        # more would wait for each other: server and stores share this machine
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": "local",  # never a cluster that someone else runs on this machine
    }
    waiting: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for language, step in wanted:
            if step.startswith("export "):
                surroundings |= dict(word.split("=", 1) for word in step.split()[1:])
                continue
            is_waiting = step.startswith(BACKGROUND)
            if not is_waiting:
                _await_servers(waiting)
            process = subprocess.Popen(
                step if language == "sh" else [sys.executable, "-c", step],
                shell=language == "sh",
                cwd=folder,
                env=surroundings,
                start_new_session=True,
            )
            if is_waiting:
                waiting[step] = process
            else:
                assert process.wait(timeout=600) == 0, step
        _await_servers(waiting)
        still = [step for step, one in waiting.items() if one.poll() not in (None, 0)]
        assert not still, f"ended with an error: {still}"
        if look:
            _call_once_connected(look)
    finally:
        for process in waiting.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(timeout=60)


def _await_servers(waiting: Mapping[str, subprocess.Popen[bytes]]) -> None:
    for step, process in waiting.items():
        if step.startswith("flower-server start"):
            assert process.wait(timeout=600) == 0, step


def _call_once_connected(look: Callable[[], None]) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return look()
        except URLError:
            assert time.monotonic() < end
            time.sleep(0.1)


def commands(text: str) -> list[str]:
    """Return all commands of a page in their order, also those of indented blocks."""
    found = []
    for language, block in ANY_BLOCK.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        for line in lines if language in ("", "sh") else []:
            command = re.split(r"\s\s+#", line.strip())[0]
            if command.startswith(PROGRAMS):
                found.append(command)
    return found
