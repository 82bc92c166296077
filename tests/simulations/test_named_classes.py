"""Classes called by the names of products, wherever a person reads, and by their folders
elsewhere.
"""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fedshelf.common.errors import ConfigError
from fedshelf.server.results.past_rounds import export_round
from fedshelf.simulations.compare.command import compare
from fedshelf.simulations.compare.request import ComparisonRequest
from fedshelf.simulations.ensemble.command import ensemble
from fedshelf.simulations.run.simulate import SimulationRequest, simulate
from tests.helpers.model_files import description_beside, description_in
from tests.helpers.product_photos import photos

NAMES = {"hat": "Beret", "bag": "Satchel"}


def settings(data: Path, out: Path) -> dict[str, Any]:
    return {
        "data.dataset": str(data), "data.stores": 2, "data.image_size": 16,
        "model.name": "niid-cnn", "run.rounds": 1, "train.epochs": 1, "run.workers": 1,
        "run.device": "cpu", "run.out": str(out),
    }  # fmt: skip


def simulated(data: Path, out: Path, names: dict[str, str] | None, *, resume: bool = False) -> str:
    """All that the run prints."""
    console = Console(file=io.StringIO(), width=120)
    given = {"run.out": str(out)} if resume else settings(data, out)
    assert (
        simulate(SimulationRequest(given, resume, 0.0, names=names), console)["status"]
        == "finished"
    )
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return photos(tmp_path_factory.mktemp("photos") / "wares")


def test_names_stand_where_people_read_and_change_nothing_else(data: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    named = tmp_path / "named"
    assert "Beret" not in simulated(data, plain, None)
    told = simulated(data, named, NAMES)
    assert told.count("no class of the run: 'bag'.") == 1
    assert next(line for line in told.splitlines() if "coat" in line).split() == [
        "store",
        "coat",
        "Beret",
        "shoe",
        "all",
    ]

    without = load(plain / "summary.json")
    with_names = load(named / "summary.json")
    for same in ("weights_sha256", "test", "model", "per_store"):
        assert with_names[same] == without[same]
    assert "class_names" not in load(plain / "model.json")
    assert load(named / "model.json")["class_names"] == ["coat", "Beret", "shoe"]
    assert load(named / "model.json")["classes"] == ["coat", "hat", "shoe"]
    page = (named / "report.html").read_text(encoding="utf-8")
    assert ("Beret" in page, ">hat<" in page) == (True, False)
    assert "--class-names" in page
    assert (
        load(export_round(named, "last", tmp_path / "one").path.with_name("model.json"))[
            "class_names"
        ][1]
        == "Beret"
    )

    assert "Beret" not in simulated(data, named, {"hat": "Fedora"}, resume=True)
    simulated(data, named, None, resume=True)
    assert load(named / "model.json")["class_names"] == ["coat", "Fedora", "shoe"]
    renamed = named / "model.safetensors"
    assert description_in(renamed) == description_beside(renamed)
    sha256 = hashlib.sha256(renamed.read_bytes()).hexdigest()
    assert load(named / "model.json")["sha256"] == load(named / "summary.json")["model_sha256"]
    assert load(named / "model.json")["sha256"] == sha256
    after, before = (load_file(run / "model.safetensors") for run in (named, plain))
    assert all(torch.equal(after[name], before[name]) for name in before)
    page = (named / "report.html").read_text(encoding="utf-8")
    assert ("Fedora" in page, "Beret" in page) == (True, False)

    given = {"data.dataset": str(data), "run.device": "cpu", "run.out": str(tmp_path / "both")}
    ensemble([plain, named], given, Console(file=io.StringIO()))
    assert load(tmp_path / "both" / "ensemble.json")["class_names"] == ["coat", "Fedora", "shoe"]
    assert ">Fedora<" in (tmp_path / "both" / "report.html").read_text(encoding="utf-8")


def test_a_name_that_is_another_class_is_refused_before_the_run_is_there(
    data: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="'hat' 'Shoe', as another class of the run"):
        simulated(data, tmp_path / "run", {"hat": "Shoe"})
    assert not (tmp_path / "run").exists()


@pytest.mark.slow(minutes=0.3)
def test_a_comparison_has_the_names_in_its_pages_and_takes_others_when_it_goes_on(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"

    def compared(names: dict[str, str] | None, *, resume: bool) -> None:
        given = {"run.out": str(out)} if resume else settings(data, out)
        request = ComparisonRequest(
            given, resume, (), 0 if not resume else None, None, False, names
        )
        assert compare(request, Console(file=io.StringIO()))

    compared(NAMES, resume=False)
    pages = [
        out / "report.html",
        *(out / "seed-0" / kind / "report.html" for kind in ("federated", "pooled")),
    ]
    assert all("Beret" in page.read_text(encoding="utf-8") for page in pages)
    judged = load(out / "compare.json")
    compared({"hat": "Fedora"}, resume=True)
    for page in pages:
        assert "Fedora" in page.read_text(encoding="utf-8")
        assert "Beret" not in page.read_text(encoding="utf-8")
    assert load(out / "seed-0" / "pooled" / "model.json")["class_names"] == [
        "coat",
        "Fedora",
        "shoe",
    ]
    assert load(out / "compare.json")["average"] == judged["average"]
    (out / "class-names.csv").unlink()
    compared(None, resume=True)
    assert ">hat<" in pages[1].read_text(encoding="utf-8")
    assert "class_names" not in load(out / "seed-0" / "pooled" / "model.json")
