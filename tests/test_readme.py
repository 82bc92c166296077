"""The README's commands work as they stand there, in their order."""

import os
import shutil
from pathlib import Path

import pytest

from benchmarks.data import synthesize
from tests.helpers.documented_commands import run_steps, steps
from tests.helpers.flower_home import end_processes_of

ROOT = Path(__file__).parents[1]
LEFT = {  # what the commands of a section leave behind, by its heading
    "Simulate: which settings work?": "runs/cifar10/report.html",
    "Train with real stores": "runs/*/model.safetensors",
    "With Flower's own tools": "runs/flower*/model.safetensors",
}


def sections() -> dict[str, list[tuple[str, str]]]:
    """The README's commands by the heading above them; CI runs those of make itself."""
    found = {}
    for section in (ROOT / "README.md").read_text(encoding="utf-8").split("\n## ")[1:]:
        found[section.partition("\n")[0]] = list(steps(section))
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
    try:
        run_steps(sections()[heading], tmp_path)
    finally:
        end_processes_of(tmp_path / "flwr")
    assert list(tmp_path.glob(LEFT[heading]))
