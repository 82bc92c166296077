"""The README's commands work as they stand there, in their order."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    for line in block.splitlines()
]


def end_processes_of(home: Path) -> None:
    """End what works in this FLWR_HOME: `flwr run` leaves a SuperLink running."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"FLWR_HOME={home}".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGTERM)
        except OSError:
            continue  # gone already, or not ours


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_commands(tmp_path: Path) -> None:
    data = Path(os.environ.get("FEDSHELF_DATA", ROOT.parent / "shared" / "data"))
    if not (data / "cifar10").is_dir():
        pytest.skip("needs CIFAR-10 in $FEDSHELF_DATA/cifar10")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)  # `flwr run .` wants the project's folder
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "FEDSHELF_DATA": str(data),
        "FEDSHELF_HOME": str(tmp_path / "state"),
        "FLWR_HOME": str(tmp_path / "flwr"),
        "RAY_ADDRESS": "local",  # never a cluster that someone else runs on this machine
    }
    waiting: list[subprocess.Popen[str]] = []
    try:
        for command in COMMANDS:
            if command.startswith("make"):
                continue  # CI runs these two itself
            if command.startswith("export "):
                environment |= dict(word.split("=", 1) for word in command.split()[1:])
                continue
            process = subprocess.Popen(
                command, shell=True, cwd=tmp_path, env=environment, text=True, start_new_session=True
            )
            if command.startswith(("flower-server start", "flower-client join")):
                waiting.append(process)  # stays until the server has its model
                if "store-2.kit" in command:
                    assert waiting[0].wait(timeout=300) == 0
            else:
                assert process.wait(timeout=300) == 0, command
    finally:
        for process in waiting:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
                process.wait(timeout=60)
        end_processes_of(tmp_path / "flwr")
    assert (tmp_path / "runs" / "cifar10" / "report.html").exists()
    assert (tmp_path / "runs" / "shops" / "model.safetensors").exists()
    assert list((tmp_path / "runs").glob("flower*/model.safetensors"))
