"""The comparison of simulators: its arithmetic, and that all do the same work."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks import contestants, data, simulators
from benchmarks.harness import Measured
from benchmarks.rivals import networks
from benchmarks.work import WORKS
from fedshelf.common import models
from fedshelf.common.config import ModelConfig, resolve
from tests.helpers.benchmark_command import play


def test_a_sample_is_the_median_speed_after_the_first_round() -> None:
    rounds = [
        {"round": 1, "images": 100, "seconds": 10.0, "accuracy": None},
        {"round": 2, "images": 100, "seconds": 1.0, "accuracy": 0.25},
        {"round": 3, "images": 300, "seconds": 1.0, "accuracy": 0.5},
        {"round": 4, "images": 100, "seconds": 0.5, "accuracy": None},
    ]
    found = contestants.sample(Measured(20.0, 11.0, 7, ""), rounds)
    assert found == {
        "images_per_second": 200,
        "first_round": 11.0,
        "wall": 20.0,
        "peak_bytes": 7,
        "accuracy": 0.5,
    }
    assert contestants.sample(Measured(20.0, 11.0, 7, ""), rounds[:1])["images_per_second"] == 10


def test_lines_of_rounds_are_found_among_others() -> None:
    output = 'starting\n{"round": 1, "images": 2}\n{"other": 1}\n{"round": 2, "images": 3}\n'
    assert [line["images"] for line in contestants.printed(output)] == [2, 3]


def test_a_line_of_our_history_counts_epochs_and_leaves_evaluation_out() -> None:
    record = {
        "round": 3,
        "train": {"loss": 1.0, "images": 50},
        "test": {"accuracy": 0.75},
        "seconds": {"train": 2.0, "aggregate": 0.5, "evaluate": 9.0, "total": 11.5},
    }
    expected = {"round": 3, "images": 100, "seconds": 2.5, "accuracy": 0.75}
    assert contestants.translated(record, epochs=2) == expected
    assert contestants.translated(record | {"test": None}, 1)["accuracy"] is None


@pytest.mark.parametrize("name", ["niid-cnn", "mcmahan-cnn", "pfl-cnn"])
def test_rivals_train_our_networks(name: str) -> None:
    config = ModelConfig(name=name)
    spec = models.specify(config, tuple("abcdefghij"), image_size=32, native_size=None, channels=3)
    mine = models.build(spec).eval()
    theirs = networks.build(name).eval()
    values = [value for value in mine.state_dict().values() if value.numel()]
    theirs.load_state_dict(dict(zip(theirs.state_dict(), values, strict=True)))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(theirs(pixels), mine(pixels))


@pytest.mark.parametrize("name", WORKS)
def test_our_settings_are_the_work(name: str) -> None:
    work = simulators.settled(WORKS[name], None, None)
    words = contestants.command(work, "cifar10", Path("out"))
    given = dict(word.split("=") for word in words if "=" in word)
    config = resolve(given)
    assert config.train.momentum == work.momentum
    assert config.evaluation.every == work.every
    assert not config.data.flip
    assert float(words[words.index("--fraction") + 1]) * work.stores == work.cohort
    # images a round
    assert work.cohort * (50_000 // work.stores) == (2_500 if name == "w3" else 5_000)


def test_work_is_cut_to_what_is_asked_for() -> None:
    work = simulators.settled(WORKS["w1"], rounds=2, stores=4)
    assert (work.rounds, work.stores, work.cohort) == (2, 4, 4)
    rows = {
        "ours": None,
        "bare loop (1 process)": None,
        "bare loop (2 processes)": None,
        "Flower": None,
    }
    assert list(simulators.chosen(rows, "ours,bare")) == list(rows)[:3]
    with pytest.raises(SystemExit, match="expected the beginning of one of: ours"):
        simulators.chosen(rows, "nobody")


def test_synthetic_images_reach_rivals_as_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("FEDSHELF_DATA", "FEDSHELF_CACHE"):
        monkeypatch.setenv(variable, "")  # put back what the synthesis sets
    arrays = data.prepare(data.synthesize(20, tmp_path), tmp_path)
    with np.load(arrays, allow_pickle=False) as found:
        assert found["train_pixels"].shape == (20, 3, 32, 32)
        assert found["test_pixels"].shape == (4, 3, 32, 32)
        files = [tmp_path / "cifar10" / f"data_batch_{number}.bin" for number in range(1, 6)]
        written = np.concatenate([np.fromfile(file, np.uint8) for file in files]).reshape(20, 3073)
        assert (found["train_labels"] == written[:, 0]).all()
        assert (found["train_pixels"].reshape(20, 3072) == written[:, 1:]).all()


def test_the_bare_loop_deals_all_images_and_weighs_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(contestants.RIVALS))
    import bare
    import protocol

    parts = protocol.assign_images(10, 3, seed=1)
    assert sorted(torch.cat(parts).tolist()) == list(range(10))
    assert [len(part) for part in parts] == [4, 3, 3]
    mean = bare.average(
        [(1, {"w": torch.tensor([0.0, 4.0])}), (3, {"w": torch.tensor([4.0, 0.0])})]
    )
    assert mean["w"].tolist() == [3.0, 1.0]
    task = SimpleNamespace(every=5, rounds=7)
    assert [n for n in range(1, 8) if protocol.is_evaluated(n, task)] == [5, 7]


@pytest.mark.slow(minutes=0.5)
def test_ours_and_every_rival_that_is_here_run(tmp_path: Path) -> None:
    """W1 in little, with results that can be drawn."""
    settings = ["--synthetic", "200", "--rounds", "2", "--stores", "2", "--times", "1"]
    out, err = play(
        "simulators", "w1", *settings, "--json", str(tmp_path / "w1.json"), "--pfl-python", "nobody"
    )
    assert "pfl-research is left out" in err
    assert "W1: niid-cnn, 2 of 2 stores a round" in out
    samples = json.loads((tmp_path / "w1.json").read_text())["samples"]
    assert {"ours", "bare loop (1 process)", "Flower"} <= set(samples)
    for [sample] in samples.values():
        assert 0 < sample["first_round"] <= sample["wall"]
        assert sample["images_per_second"] > 0
        assert sample["peak_bytes"] > 50 * 10**6
        assert 0 <= sample["accuracy"] <= 1
    play("picture", str(tmp_path / "w1.json"), "--out", str(tmp_path / "w1.png"))
    assert (tmp_path / "w1.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow(minutes=0.5)
def test_start_up_is_measured() -> None:
    out, _ = play(
        "startup", "--synthetic", "200", "--stores", "2", "--times", "1", "--only", "ours"
    )
    assert "flower-client --help" in out
    assert "round 1 done" in out
