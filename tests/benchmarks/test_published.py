"""Published results: every cell can be run, rows are what a run left, and ours does what the
papers' equations say.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from benchmarks import data
from benchmarks.published import cells, differences, leaderboard, niid_splits, play, table
from benchmarks.published.cells import Cell, Published
from benchmarks.published.plain import Plain
from benchmarks.published.play import Row
from fedshelf.common import models
from fedshelf.common.config import flatten, resolve
from fedshelf.common.strategies import STRATEGIES
from fedshelf.simulations.run.simulate import SimulationRequest, simulate

ROOT = Path(__file__).parents[2]
A2 = {
    "data.dataset": "cifar10", "data.stores": 10, "data.crop": 4, "data.flip": True,
    "model.name": "niid-cnn", "train.epochs": 10, "train.batch_size": 64, "train.momentum": 0.9,
    "train.weight_decay": 1e-5, "run.rounds": 50, "cohort.fraction": 1.0, "data.holdout": 0.0,
}  # fmt: skip
# settings of ours may augment otherwise, and do less
OURS = ("ours", "cosine", "weigh", "momentum")


def command(*words: str | Path, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    given = os.environ | {name: str(value) for name, value in environment.items()}
    line = [sys.executable, "-m", "benchmarks.published", *map(str, words)]
    return subprocess.run(
        line, cwd=environment.get("HERE", ROOT),
        env=given | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}, capture_output=True, text=True,
        check=False, timeout=250,
    )  # fmt: skip


def row(cell: str, seed: int, *curve: float, reduced: bool = False) -> Row:
    counts = {"store-0": [2, 1], "store-1": [0, 4]}
    return Row(
        cell=cell, seed=seed, budget="2 x 1" if reduced else "50 x 10", reduced=reduced,
        counts=counts, curve=curve, seconds=1.5, machine="here",
        weights_sha256=f"{cell}{seed}{reduced}",
    )  # fmt: skip


@pytest.mark.parametrize("name", cells.names())
def test_a_cell_is_a_run_that_exists(name: str) -> None:
    cell = cells.read(name)
    assert cell.config.strategy.name in STRATEGIES
    assert cell.config.model.name in models.names() or cell.config.model.name == "vgg16"
    assert cell.published.figure is None or 0.1 <= cell.published.figure < 1
    assert (
        resolve(dict(part.split("=", 1) for part in play.assignments(cell.config)[1::2]))
        == cell.config
    )


@pytest.mark.parametrize("name", [name for name in cells.names() if name.startswith("a2-")])
def test_cells_of_a2_have_the_published_budget(name: str) -> None:
    found = flatten(cells.read(name).config)
    _, partition, strategy = name.split("-")
    free = ("train.epochs", "data.crop") if strategy in OURS else ()
    assert {key: found[key] for key in A2 if key not in free} == {
        key: A2[key] for key in A2 if key not in free
    }
    assert found["train.epochs"] <= A2["train.epochs"]
    assert found["data.partition"] in ("dirichlet:0.5", "labels:2", "quantity:0.5")
    assert found["data.partition"].startswith(f"{partition}:")
    if strategy not in OURS:
        assert (found["strategy.name"], found["train.lr"], found["train.schedule"]) == (
            strategy,
            0.01,
            "constant",
        )


def test_a_reduced_cell_is_marked() -> None:
    cell = cells.read("a2-dirichlet-fedavg")
    assert (cell.budget, cell.reduced(None, None).budget, cell.reduced(10, 5).budget) == (
        "50 x 10",
        "50 x 10",
        "10 x 5",
    )
    assert cell.seeded(3).config.run.seed == 3


def test_a_table_by_hand() -> None:
    published = Published(source="them", figure=0.682, metric="", budget="", unequal="")
    cell = Cell("a", resolve({"data.partition": "labels:2", "data.stores": 2}), published)
    rows = [
        row("a", 1, 0.5, 0.7, 0.6),
        row("a", 0, 0.6, 0.5),
        row("a", 0, 0.3, 0.2, reduced=True),
        row("b", 0, 0.9),
    ]
    assert table.line(cell, rows) == (
        "a",
        "68.2",
        "55.0",
        "65.0",
        "0, 1",
        "20.0 (30.0), 2 x 1, seeds 0",
    )
    assert table.line(cell, []) == ("a", "68.2", "not yet measured", "", "", "")
    assert list(table.dealt([cell], rows)) == [
        "- labels:2, 2 stores, seed 0: 3, 4",
        "- labels:2, 2 stores, seed 1: 3, 4",
    ]
    assert "| a | 68.2 | not yet measured |  |  |  |" in table.markdown([cell], []).splitlines()


@pytest.mark.slow(minutes=0.2)
def test_a_run_becomes_a_row_once(tmp_path: Path) -> None:
    """A2 on stand-in images, from the command to the table; then only what is there is read."""
    rows = tmp_path / "rows.jsonl"
    words = ("a2-labels-fedavg", "--rounds", "2", "--epochs", "1", "--workers", "1", "--out", rows)
    images = tmp_path / "data"
    images.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "environ", dict(os.environ))
        data.synthesize(400, images)
    places = {"FEDSHELF_DATA": images, "FEDSHELF_CACHE": tmp_path / "cache", "HERE": tmp_path}
    first = command(*words, **places)
    assert first.returncode == 0, first.stderr
    (found,) = play.load(rows)
    assert (found.cell, found.seed, found.budget, found.reduced) == (
        "a2-labels-fedavg",
        0,
        "2 x 1",
        True,
    )
    assert len(found.curve) == 2
    assert sum(map(sum, found.counts.values())) == 400
    assert {sum(count > 0 for count in counts) for counts in found.counts.values()} == {2}
    assert f"{100 * found.last:.1f} ({100 * found.best:.1f}), 2 x 1, seeds 0" in first.stdout
    again = command(*words, **places)
    assert again.returncode == 0, again.stderr
    assert play.load(rows) == [found]
    assert "round=1" in first.stdout
    assert "round=1" not in again.stdout


def test_data_that_is_not_here_is_said_and_leaves_no_row(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    offline = {
        "FEDSHELF_DATA": tmp_path,
        "FEDSHELF_CACHE": tmp_path / "cache",
        "HF_HUB_OFFLINE": "1",
        "HERE": tmp_path,
    }
    ended = command("a5-fashion-two-convolutions", "--out", rows, **offline)
    assert ended.returncode == 1
    assert "fashion-mnist is not on this machine" in " ".join(ended.stderr.split())
    assert "Not measured: a5-fashion-two-convolutions, seed 0" in ended.stderr
    assert not rows.exists()


def test_the_central_cells_run_on_stand_in_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    random = np.random.default_rng(0)
    for prefix, count in (("train", 60), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        pixels = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write_idx(folder / f"{prefix}-images-idx3-ubyte", pixels)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte", labels)
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    for name in ("a5-fashion-two-convolutions", "a5-fashion-three-convolutions"):
        cell = cells.read(name).reduced(None, 1)
        simulated(cell, tmp_path / name)
        found = play.row(cell, tmp_path / name)
        assert (found.reduced, len(found.curve), sum(found.counts["store-0"])) == (True, 1, 60)


@pytest.mark.parametrize(
    ("strategy", "momentum"),
    [("fedavg", 0.9), ("scaffold", 0.0), pytest.param("scaffold", 0.9, marks=pytest.mark.slow)],
)
def test_ours_is_what_the_equations_say(
    strategy: str, momentum: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reduced cell's arithmetic beside loops over parameters: the same weights after three
    rounds.

    Most runs agree to a millionth of the largest step. But where an activation is 0 but for
    rounding, which depends on the processor, the two part by a hundredth; FedAvg in place of
    SCAFFOLD is half a step away.
    """
    monkeypatch.setattr(os, "environ", dict(os.environ))
    torch.set_num_threads(1)
    data.synthesize(240, tmp_path)
    changes = {
        "data.stores": 3, "run.rounds": 3, "train.epochs": 2, "train.momentum": momentum,
        "train.batch_size": 16, "train.lr": 0.05, "data.min_images": 20, "strategy.name": strategy,
        "run.seed": 5,
    }  # fmt: skip
    cell = cells.read("a2-dirichlet-fedavg")
    cell = Cell(cell.name, resolve(flatten(cell.config), changes), cell.published)
    plain = Plain(cell.config)
    start = plain.parameters()
    simulated(cell, tmp_path / "run")
    for number in (1, 2, 3):
        plain.play_round(number)
    ours = load_file(tmp_path / "run" / "model.safetensors")
    for (name, theirs), before in zip(plain.model.named_parameters(), start, strict=True):
        moved = float((theirs.detach() - before).abs().max())
        assert moved > 1e-3, name
        torch.testing.assert_close(ours[name], theirs.detach(), rtol=0, atol=0.05 * moved)
    found = play.row(cell, tmp_path / "run")
    assert found.last == pytest.approx(plain.accuracy(), abs=0.03)


def simulated(cell: Cell, out: Path) -> Mapping[str, object]:
    settings = flatten(cell.config) | {
        "run.out": str(out),
        "run.workers": 1,
        "run.engine": "sequential",
    }
    return simulate(SimulationRequest(settings, False, 0.0), Console(quiet=True))


def write_idx(path: Path, array: np.ndarray) -> None:
    path.write_bytes(
        bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
    )


def test_rows_in_the_repository_are_of_cells_that_exist() -> None:
    for found in play.load(play.ROWS):
        assert found.reduced == (found.budget != cells.read(found.cell).budget)
        assert len(found.curve) == int(found.budget.split(" x ")[0])
        assert json.loads(found.model_dump_json())["cell"] == found.cell


def test_the_table_in_the_docs_is_that_of_the_rows() -> None:
    """If not: `python -m benchmarks.published --table` prints it."""
    expected = table.markdown([cells.read(name) for name in cells.names()], play.load(play.ROWS))
    assert expected.rstrip() in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")


def test_the_leaderboard_in_the_docs_is_that_of_the_rows() -> None:
    """If not: `python -m benchmarks.published --leaderboard > docs/leaderboard.md`."""
    expected = leaderboard.page([cells.read(name) for name in cells.names()], play.load(play.ROWS))
    assert expected == (ROOT / "docs" / "leaderboard.md").read_text(encoding="utf-8")


def test_the_leaderboard_has_the_best_first_with_an_interval_over_seeds() -> None:
    task = [cells.read(name) for name in ("a2-labels-fedavg", "a2-labels-fedprox")]
    rows = [
        row("a2-labels-fedavg", 0, 0.50),
        row("a2-labels-fedprox", 0, 0.54),
        row("a2-labels-fedprox", 1, 0.56),
    ]
    best, second = [line for line in leaderboard.page(task, rows).splitlines() if "| a2" in line]
    # t = 12.706 with one degree of freedom, s^2 / 2 = 0.0001, z^2 p (1 - p) / 10,000 = 0.0000951
    assert best.startswith("| 1 | a2-labels-fedprox | 55.0 | 42.3 to 67.7 | 0, 1 | 50.7 |")
    # 1.96 sqrt(0.25 / 10,000) = 0.0098
    assert second.startswith("| 2 | a2-labels-fedavg | 50.0 | 49.0 to 51.0\\* | 0 | 49.8 |")


def test_differences_are_of_the_same_splits_and_seeds() -> None:
    known = [cells.read(name) for name in ("a2-labels-fedavg", "a2-labels-fedprox")]
    rows = [
        row("a2-labels-fedavg", 0, 0.50),
        row("a2-labels-fedavg", 1, 0.52),
        row("a2-labels-fedavg", 2, 0.10),
        row("a2-labels-fedprox", 0, 0.53),
        row("a2-labels-fedprox", 1, 0.57),
    ]
    lines = differences.markdown(known, rows, "").splitlines()
    assert lines[0] == "50 x 10 (rounds x local epochs):"
    # differences of 3 and 5 points: 4 -+ 12.706 sqrt(2 / 2)
    assert lines[-1] == ("| labels:2 | fedprox | 50.7 | 0, 1 | 55.0 | +4.0 | -8.7 to +16.7 |")
    assert differences.markdown(known, rows, niid_splits.NAME) == ""
    assert differences.markdown(known, rows[2:], "") == ""


def test_the_differences_in_the_docs_are_those_of_the_rows() -> None:
    """If not: `python -m benchmarks.published --differences --niid-splits` prints them."""
    known = [cells.read(name) for name in cells.names()]
    expected = differences.markdown(known, play.load(play.ROWS), niid_splits.NAME)
    assert expected.strip()
    assert expected.rstrip() in (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
