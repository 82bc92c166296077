"""A sweep as a person runs it: processes side by side, killed, resumed, and its page."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.simulation_command import SMALL, run, start, summary

OPTIONS = [*SMALL[:-2], "--set", "data.holdout=0.2", "--set", "train.lr=0.001,0.1"]


def results(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    for point in loaded["points"]:
        for each in point["runs"].values():
            del each["seconds"]  # the one thing that no two sweeps share
    return loaded


@pytest.mark.slow(minutes=0.3)
def test_a_sweep_chooses_on_validation_images(tmp_path: Path) -> None:
    done = run("sweep", *OPTIONS, "--rounds", "1", "--out", tmp_path / "sweep")
    assert done.returncode == 0, done.stderr
    found = results(tmp_path / "sweep")
    runs = [summary(tmp_path / "sweep/runs" / f"point-00{number}-seed-0") for number in (1, 2)]
    assert [point["mean"] for point in found["points"]] == [
        each["best"]["accuracy"] for each in runs
    ]
    assert {each["best"]["on"] for each in runs} == {"validation"}
    chosen = max(range(2), key=lambda position: found["points"][position]["mean"])
    assert found["chosen"] == chosen
    assert found["test"]["values"] == [runs[chosen]["test"]["accuracy"]]
    page = (tmp_path / "sweep" / "report.html").read_text(encoding="utf-8")
    for text in ("train.lr=0.001", "train.lr=0.1", "Chosen:"):
        assert text in page
    assert f"{runs[chosen]['test']['accuracy']:.1%}" in page
    assert {key for point in found["points"] for key in point} == {
        "label", "mean", "deviation", "runs", "failed",
    }  # fmt: skip


@pytest.mark.slow(minutes=0.2)
def test_a_sweep_without_validation_images_is_refused(tmp_path: Path) -> None:
    settings = ["--set", "train.lr=0.01,0.1", "--rounds", "1", "--out", tmp_path / "sweep"]
    refused = run("sweep", *SMALL[:-2], *settings)
    assert refused.returncode == 3
    assert "hold some out, for example --set data.holdout=0.1" in refused.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "train.lr=0.1"], "at least two runs"),
        (["--set", "train.lr=0.1,x"], "train.lr got 'x'"),
        (["--seeds", "0,0"], "--seeds got '0,0'"),
        (["--seeds", "0,1", "--halving", "--set", "train.schedule=cosine"], "--halving got"),
        (["--resume"], "--resume needs --out"),
    ],
)
def test_a_mistake_is_told_before_any_run_begins(
    options: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run("sweep", *options)
    assert refused.returncode == 2
    assert words in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow(minutes=1.5)
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_was_ended_goes_on_to_the_same_results(tmp_path: Path, way: int) -> None:
    options = [*OPTIONS, "--seeds", "0,1", "--rounds", "3", "--halving", "--jobs", "1", "--out"]
    assert run("sweep", *options, tmp_path / "whole").returncode == 0
    out = tmp_path / "ended"
    process = start("sweep", *options, out, start_new_session=True)
    while process.poll() is None and not list(out.glob("runs/point-002-*/history.jsonl")):
        time.sleep(0.01)
    os.kill(process.pid, way)
    told = process.communicate()[1]
    assert not (out / "results.json").exists()
    if way == signal.SIGINT:
        assert process.returncode == 130
        assert "Go on with --resume" in told
    resumed = run("sweep", "--resume", "--out", out)
    assert resumed.returncode == 0, resumed.stderr
    assert results(out) == results(tmp_path / "whole")
