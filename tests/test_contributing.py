"""The steps of CONTRIBUTING.md work as they stand there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("fedshelf", "common", "client", "server", "simulations")
STEP = re.compile(r"`([\w/]+\.py)`(?:, in `(\w+)`)?[^\n]*:\n\n```python\n(.*?)```", re.DOTALL)


def added(registry: str, name: str, lines: list[str]) -> str:
    """The text of a registry's module with its new imports and its new entries, the latter in front
    of all others.
    """
    imports = [line for line in lines if line.startswith("from ")]
    entries = [line for line in lines if line.startswith("    ")]
    assert imports + entries == lines
    opened = re.search(rf"^{name}\b.*= \{{\n", registry, re.MULTILINE)
    assert opened, name
    before = re.search(r"^from fedshelf\.", registry, re.MULTILINE)
    assert before
    return "\n".join(
        [
            registry[: before.start()]
            + "".join(f"{line}\n" for line in imports)
            + registry[before.start() : opened.end()]
            + "\n".join(entries),
            registry[opened.end() :],
        ]
    )


@pytest.mark.slow(minutes=0.2)
def test_a_strategy_a_model_a_data_set_and_a_partition_are_each_a_file_and_a_line(
    tmp_path: Path,
) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    (tmp_path / "docs" / "reference").mkdir(parents=True)
    steps = STEP.findall(text)
    assert len(steps) == 8
    for file, registry, code in steps:
        path = tmp_path / file
        assert path.exists() == bool(registry), file
        path.write_text(added(path.read_text(), registry, code.splitlines()) if registry else code)
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "FEDSHELF_CACHE": str(tmp_path / "cache"),
    }
    written = subprocess.run(
        [sys.executable, "-P", ".ci/generate_settings.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert written.returncode == 0, written.stderr
    added_to = {
        "common/config/strategy_settings.py": "    damping: Fraction = Field(",
        "pyproject.toml": "strategy.damping = 0.1",
        "docs/reference/settings.md": "| `strategy.damping` | `0.1` | damped: share of the way to",
    }
    for file, line in added_to.items():
        assert line in (tmp_path / file).read_text(encoding="utf-8"), file
    (command,) = re.findall(r"^flower-simulation .*", text, re.MULTILINE)
    program = (
        "import sys; sys.argv[0] = 'flower-simulation'; from fedshelf.simulations.main import main;"
        " main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *shlex.split(command)[1:]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())
    assert summary["test"]["accuracy"] == 1.0  # dark and light are told apart by any linear layer
    config = tomllib.loads((tmp_path / "runs" / "mine" / "config.toml").read_text())
    assert config["strategy"]["damping"] == 0.2
