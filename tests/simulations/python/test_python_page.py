"""The examples of docs/how-to/python.md, one after another as they stand there."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "python.md"
RESULTS = ("run", "model", "study")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def definitions() -> str:
    """Write the definitions of the examples into a module that a command names."""
    kept = [
        node
        for node in ast.parse("\n".join(blocks("python"))).body
        if not isinstance(node, ast.Expr)
        and not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in RESULTS)
    ]
    return "\n".join(map(ast.unparse, kept))


@pytest.mark.slow(minutes=1)
def test_the_examples_of_the_page_run_and_so_does_its_command(tmp_path: Path) -> None:
    environment = os.environ | {
        "FEDSHELF_CACHE": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    (tmp_path / "page.py").write_text("\n".join(blocks("python")))
    (tmp_path / "mylab.py").write_text(definitions())
    command = next(block for block in blocks("sh") if "mylab:data" in block).strip()
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
