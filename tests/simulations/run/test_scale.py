"""Thousands of stores in real runs: what is written stays small, and memory does not grow with
rounds.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fedshelf.common.config import resolve
from fedshelf.common.images.types import Images
from fedshelf.server.results.per_store import read
from fedshelf.server.results.run_directory import Record, RunDirectory
from fedshelf.server.results.run_status import RunActivity
from fedshelf.server.training.run import StopRequest, Training
from fedshelf.server.training.setup import prepare
from fedshelf.server.updates.evaluator import Evaluators
from fedshelf.simulations.engines.sequential import SequentialEngine
from fedshelf.simulations.federation.federation import Federation, store_names
from fedshelf.simulations.federation.partitioned import PartitionedImages, PartitionedStores
from fedshelf.simulations.partitions import partition

CLASSES = tuple("abcdefghij")


def noise(count: int, seed: int) -> Images:
    draw = np.random.default_rng(seed)
    pixels = torch.from_numpy(draw.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8))
    return Images.whole(pixels, torch.from_numpy(draw.integers(0, len(CLASSES), count)))


def many(stores: int, images: int, holdout: float) -> Federation:
    """Noise dealt to stores, in the way that `simulations.federation.federation` deals a data
    set.
    """
    train = noise(stores * images, 0)
    names = store_names(stores)
    parts = PartitionedImages.of(train, partition("iid", train.targets().numpy(), stores, seed=0))
    dealt = PartitionedStores(names, *parts.hold_out(holdout, 0, names))
    return Federation(CLASSES, dealt, noise(100, 1), dealt.table(len(CLASSES)), "")


class Watch:
    """A watcher that measures this process's resident memory (bytes) after each round."""

    def __init__(self) -> None:
        self.memory: list[int] = []

    def row(self, record: Record) -> None:
        self.memory.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)

    def note(self, text: str) -> None:
        pass

    def doing(self, doing: RunActivity) -> None:
        pass

    def training(self, round_number: int, done: int, sampled: int) -> None:
        pass


def train(federation: Federation, out: Path, watch: Watch, **settings: Any) -> dict[str, Any]:
    given = {"data.image_size": 32, "model.name": "niid-cnn", "run.workers": 1, "run.device": "cpu"}
    config = resolve(given | {key.replace("__", "."): value for key, value in settings.items()})
    start = prepare(config, CLASSES, 3).identified("run")
    directory = RunDirectory.open(out, start.plan.config)
    directory.write("partition.json", {"classes": list(CLASSES), "stores": federation.table})
    engine = SequentialEngine(federation, start, out / "stores")
    try:
        return Training(
            start, engine, watch, directory, 0.0, Evaluators(engine.evaluate_test_set)
        ).run(StopRequest(watch))
    finally:
        engine.close()
        directory.close()


def sizes(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in out.rglob("*") if path.is_file()}


def test_ten_thousand_stores_leave_a_small_run_directory(tmp_path: Path) -> None:
    summary = train(
        many(10_000, 2, 0.0),
        tmp_path,
        Watch(),
        run__rounds=3,
        cohort__fraction=0.001,
        evaluation__every=3,
    )
    assert (summary["status"], summary["stores"], summary["per_store"]) == (
        "finished",
        10_000,
        None,
    )
    assert summary["per_store_spread"]["stores"] == 10_000
    table = read(tmp_path / summary["per_store_file"])
    assert len(table) == 10_000
    assert min(row["accuracy"] for row in table.values()) == pytest.approx(
        summary["per_store_spread"]["accuracy"]["worst"], rel=1e-5
    )
    written = sizes(tmp_path)
    assert written["summary.json"] < 10_000
    # bytes: 10 stores in each of 3 rounds, and once the settings
    assert written["history.jsonl"] < 3 * 10 * 230 + 2000
    assert written["report.html"] < 200_000
    page = (tmp_path / "report.html").read_text()
    told = summary["per_store_spread"]["accuracy"]
    assert f"Half of the 10,000 stores reach {100 * told['median']:.1f}% or more" in page
    assert f"the best {100 * told['best']:.1f}% and the weakest {100 * told['worst']:.1f}%." in page
    assert json.loads((tmp_path / "partition.json").read_text())["stores"]["store-0007"]


@pytest.mark.slow
def test_ten_thousand_stores_that_validate_grow_the_history_by_their_spread(tmp_path: Path) -> None:
    watch = Watch()
    summary = train(many(10_000, 2, 0.5), tmp_path, watch, run__rounds=2, cohort__fraction=0.001)
    assert summary["per_store_from"] == "validation"
    last = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])["validation"]
    spread = summary["per_store_spread"]
    assert last["spread"]["accuracy"] == {
        key: spread["accuracy"][key] for key in last["spread"]["accuracy"]
    }
    assert "stores" not in last
    assert sizes(tmp_path)["history.jsonl"] < 2 * 10 * 200 + 3000  # the settings are there once
    # The rows of the table are those of the round delivered: their mean is its accuracy, one image
    # a store.
    table = read(tmp_path / summary["per_store_file"])
    assert np.mean([row["accuracy"] for row in table.values()]) == pytest.approx(last["accuracy"])


@pytest.mark.slow
def test_memory_is_flat_over_two_hundred_rounds(tmp_path: Path) -> None:
    watch = Watch()
    train(
        many(1000, 5, 0.2),
        tmp_path,
        watch,
        run__rounds=200,
        cohort__fraction=0.01,
        evaluation__every=20,
    )
    # One update (62,006 float32) kept a round would be 45 MB by the end; what allocators move about
    # stayed under 9 MB.
    update = 4 * 62_006  # bytes
    assert watch.memory[199] - watch.memory[19] < 180 * update / 2
