"""The commands for own photos in README.md, as they stand there, with three short rounds."""

from pathlib import Path

import pytest

from tests.helpers.deployed import draw_photos
from tests.helpers.documented_commands import steps
from tests.helpers.page_commands import ROOT, PageCommands
from tests.helpers.simulation_command import summary

QUICK = ("--rounds", "2", "--model", "cnn", "--set", "data.image_size=16")


@pytest.mark.slow(minutes=0.5)
def test_a_run_a_comparison_and_a_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    draw_photos(Path("photos"), ("boot", "coat", "dress", "hat", "shirt"))
    # tests/test_readme.py runs the others
    others = tuple(step for _, step in steps((ROOT / "README.md").read_text(encoding="utf-8")))
    page = PageCommands("README.md", but=others)
    page.run("flower-simulation run", *QUICK, "--out", "run")
    assert summary(Path("run"))["status"] == "finished"
    page.run("flower-simulation compare", *QUICK, "--out", "compared")
    assert Path("compared/report.html").is_file()
    page.run("flower-simulation sweep", *QUICK, "--out", "swept")
    assert Path("swept/report.html").is_file()
    assert page.left == []
