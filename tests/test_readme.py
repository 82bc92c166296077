"""The README's commands work as they stand there, in their order."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.data import synthesize
from tests.helpers.flower_home import end_processes_of

ROOT = Path(__file__).parents[1]
LEFT = {  # what the commands of a section leave behind, by its heading
    "Simulate: which settings work?": "runs/cifar10/report.html",
    "Train with real stores": "runs/shops/model.safetensors",
    "With Flower's own tools": "runs/flower*/model.safetensors",
}


def sections() -> dict[str, list[str]]:
    """The README's commands by the heading above them; CI runs those of make itself."""
    found = {}
    for section in (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
        lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
        found[section.partition("\n")[0]] = [line for line in lines if not line.startswith("make")]
    return {heading: commands for heading, commands in found.items() if commands}


def test_all_sections_with_commands_are_known() -> None:
    assert sections().keys() == LEFT.keys()


@pytest.mark.slow(minutes=2)
@pytest.mark.parametrize("heading", LEFT)
def test_commands(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a CIFAR-10 of few images, drawn at random."""
    monkeypatch.setattr(os, "environ", dict(os.environ))
    synthesize(2000, tmp_path)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # `flwr run .` wants the project's folder
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FEDSHELF_HOME": str(tmp_path / "state"),
        "FLWR_HOME": str(tmp_path / "flwr"),
        # more would wait for each other: server and stores share this machine
        "OMP_NUM_THREADS": "1",
        "RAY_ADDRESS": "local",  # never a cluster that someone else runs on this machine
    }
    waiting: list[subprocess.Popen[str]] = []
    try:
        for command in sections()[heading]:
            if command.startswith("export "):
                environment |= dict(word.split("=", 1) for word in command.split()[1:])
                continue
            process = subprocess.Popen(
                command,
                shell=True,
                cwd=tmp_path,
                env=environment,
                text=True,
                start_new_session=True,
            )
            if command.startswith(("flower-server start", "flower-client join")):
                waiting.append(process)  # stays until the server has its model
                if "store-2.kit" in command:
                    assert waiting[0].wait(timeout=600) == 0
            else:
                assert process.wait(timeout=600) == 0, command
    finally:
        for process in waiting:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(timeout=60)
        end_processes_of(tmp_path / "flwr")
    assert list(tmp_path.glob(LEFT[heading]))
