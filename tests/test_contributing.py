"""The steps of CONTRIBUTING.md work as they stand there."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

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


def test_a_strategy_a_model_a_data_set_and_a_partition_are_each_a_file_and_a_line(
    tmp_path: Path,
) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, tmp_path / folder, symlinks=True)
    steps = STEP.findall(text)
    assert len(steps) == 8
    for file, registry, code in steps:
        path = tmp_path / file
        assert path.exists() == bool(registry), file
        path.write_text(added(path.read_text(), registry, code.splitlines()) if registry else code)
    (command,) = re.findall(r"^flower-simulation .*", text, re.MULTILINE)
    program = (
        "import sys; sys.argv[0] = 'flower-simulation'; from fedshelf.simulations.main import main;"
        " main()"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *shlex.split(command)[1:]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "FEDSHELF_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs" / "mine" / "summary.json").read_text())
    assert summary["test"]["accuracy"] == 1.0  # dark and light are told apart by any linear layer
