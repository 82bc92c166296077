"""Kill it at any moment, resume, get the same bits."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.killing import kill_when, lines
from tests.helpers.simulation_command import SMALL, history, run, start, summary

ROUNDS = 5
ASKED = [
    "run",
    *SMALL,
    "--stores",
    "12",
    "--fraction",
    "0.25",
    "--rounds",
    str(ROUNDS),
    "--strategy",
    "fedadam",
    "--set",
    "data.image_size=16",
]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict:
    out = tmp_path_factory.mktemp("runs") / "whole"
    done = run(*ASKED, "--out", out)
    assert done.returncode == 0, done.stderr
    return summary(out)


@pytest.mark.parametrize("moment", ["round", "checkpoint", "history"])
def test_killed_and_resumed_equals_uninterrupted(
    tmp_path: Path, undisturbed: dict, moment: str
) -> None:
    out = tmp_path / "run"
    process = start(*ASKED, "--out", out, start_new_session=True)
    checkpoints = out / "checkpoints"
    moments = {
        "round": lambda: lines(out) >= 2,
        "checkpoint": lambda: lines(out) >= 1 and any(checkpoints.glob(".*.tmp")),
        "history": lambda: len(list(checkpoints.glob("round-*.safetensors"))) > max(lines(out), 1),
    }
    kill_when(process, moments[moment])
    done = run("run", "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    resumed = summary(out)
    assert resumed["weights_sha256"] == undisturbed["weights_sha256"]
    assert resumed["test"] == undisturbed["test"]
    assert resumed["best"] == undisturbed["best"]
    assert [record["round"] for record in history(out)] == list(range(1, ROUNDS + 1))


@pytest.mark.slow
def test_killed_at_random_moments_again_and_again(tmp_path: Path, undisturbed: dict) -> None:
    out = tmp_path / "run"
    chance = random.Random(0)
    arguments = [*ASKED, "--out", str(out)]
    for _ in range(4):
        process = start(*arguments, start_new_session=True)
        deadline = time.monotonic() + chance.uniform(0.5, 8.0)
        kill_when(process, lambda deadline=deadline: time.monotonic() > deadline)
        if (out / "config.toml").exists():
            arguments = ["run", "--resume", "--out", str(out)]
    assert run(*arguments).returncode == 0
    assert summary(out)["weights_sha256"] == undisturbed["weights_sha256"]


def test_a_worker_killed_ends_the_run_with_one_sentence_and_it_resumes(
    tmp_path: Path, undisturbed: dict
) -> None:
    out = tmp_path / "run"

    def kill_a_worker() -> None:
        multiprocessing.active_children()[0].kill()

    ended = run(*ASKED, "--out", out, "--set", "run.workers=2", then={"round=1/": kill_a_worker})
    assert ended.returncode == 4
    assert "A worker process ended with code -9" in ended.stderr
    assert summary(out)["status"] == "failed"
    assert run("run", "--resume", "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == undisturbed["weights_sha256"]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_interrupt_saves_and_says_stopped(tmp_path: Path, undisturbed: dict) -> None:
    out = tmp_path / "run"
    assert run(*ASKED, "--out", out, then={"round=1/": interrupt}).returncode == 130
    stopped = summary(out)
    assert stopped["status"] == "stopped"
    assert 1 <= stopped["rounds"] < ROUNDS
    assert (out / "model.safetensors").exists()
    assert run("run", "--resume", "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == undisturbed["weights_sha256"]


def test_a_second_interrupt_ends_at_once_and_loses_nothing(
    tmp_path: Path, undisturbed: dict
) -> None:
    out = tmp_path / "run"
    ended = run(
        *ASKED, "--out", out, then={"round=1/": interrupt, "Stopping after this round": interrupt}
    )
    assert ended.returncode == 130
    assert summary(out)["status"] == "stopped"
    assert "Stopped at once" in ended.stdout
    assert run("run", "--resume", "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == undisturbed["weights_sha256"]


@pytest.mark.slow
def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run("run", *SMALL, "--rounds", "1", "--out", out).returncode == 0
    before = summary(out)
    assert run("run", "--resume", "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == before["weights_sha256"]
    assert len(history(out)) == 1
    assert run("run", "--resume", "--out", out, "--rounds", "2").returncode == 0
    assert len(history(out)) == 2


def test_the_number_of_workers_changes_nothing(tmp_path: Path, undisturbed: dict) -> None:
    out = tmp_path / "run"
    alone = run(*ASKED, "--out", out, "--set", "run.workers=1")
    assert alone.returncode == 0
    assert summary(out)["weights_sha256"] == undisturbed["weights_sha256"]
    assert summary(out)["test"] == undisturbed["test"]
