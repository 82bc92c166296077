"""The notebooks beside the tutorials run from the first cell to the last."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parents[1] / "docs/tutorials"
LEFT = {"first-run": "runs/two-products/report.html", "your-photos": "www/mine/index.html"}


@pytest.mark.slow(minutes=3)
@pytest.mark.parametrize("name", LEFT)
def test_a_notebook_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4)
    nbformat.validate(notebook)
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute()
    assert (tmp_path / LEFT[name]).is_file()
    printed = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("stream" in output.output_type for output in printed)
