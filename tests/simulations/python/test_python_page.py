"""The examples of docs/how-to/python.md, one after another as they stand there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.page_commands import WITH_A_CHAIN, PageCommands
from tests.helpers.python_page import blocks, definitions


@pytest.mark.slow(minutes=1)
def test_the_examples_of_the_page_run_and_so_does_its_command(tmp_path: Path) -> None:
    environment = os.environ | {
        "FEDSHELF_CACHE": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    (tmp_path / "page.py").write_text("\n".join(blocks("python")))
    (tmp_path / "mylab.py").write_text(definitions())
    page = PageCommands("docs/how-to/python.md", but=WITH_A_CHAIN["docs/how-to/python.md"])
    command = page.take("flower-simulation run")
    assert page.left == []
    for arguments in ([sys.executable, "page.py"], [*command.split(), "--rounds", "1"]):
        done = subprocess.run(
            arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    for name in (
        "first",
        "data",
        "stores",
        "partition",
        "network",
        "strategy",
        "augmentation",
        "metric",
        "callbacks",
    ):
        assert (tmp_path / "runs" / name / "model.safetensors").is_file()
    assert (tmp_path / "curves.png").is_file()
