"""A whole comparison, small: its figures add up, it is the runs that it says, and it goes on where it stopped."""

import io
import json
import os
import signal
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from common.errors import ConfigError, DataError
from simulations.compare.command import compare
from simulations.compare.place import Request
from simulations.run import Request as RunRequest
from simulations.run import simulate
from tests.simulations.command import run, start, summary
from tests.simulations.product_photos import COUNTS, photos

KINDS = ["alone", "federated", "alone-longer", "fine-tuned", "pooled"]


def settings(data: Path, out: Path, **more: object) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "data.dataset": str(data), "data.stores": 2, "data.partition": "dirichlet:1", "data.image_size": 16,
        "model.name": "niid-cnn", "train.lr": 0.02, "train.batch_size": 8, "run.rounds": 2, "run.seed": 3,
        "strategy.absent_classes": "full",
        "run.device": "cpu", "run.workers": 1, "run.out": str(out),
    }  # fmt: skip
    return usual | {key.replace("__", "."): value for key, value in more.items()}


def compared(given: dict[str, Any], **options: Any) -> tuple[dict[str, Any], str]:
    """`compare.json` of a comparison, and what was printed."""
    nothing: dict[str, Any] = {"resume": False, "seeds": (), "tune_epochs": None, "tune_lr": None}
    asked = nothing | {"leave_one_out": False} | options
    console = Console(file=io.StringIO(), width=200)
    assert compare(Request(given, **asked), console)
    assert isinstance(console.file, io.StringIO)
    found: dict[str, Any] = json.loads((Path(given["run.out"]) / "compare.json").read_text())
    return found, console.file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any], str]:
    """Photos, and a comparison with leave-one-out on them: data, directory, compare.json, output."""
    data, out = photos(tmp_path_factory.mktemp("photos") / "wares"), tmp_path_factory.mktemp("runs") / "compared"
    return data, out, *compared(settings(data, out), leave_one_out=True)


def test_the_stores_counts_add_up(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    found = made[2]
    assert list(found["average"]) == KINDS
    for kind in KINDS:
        matrices = [np.array(store["models"][kind]["confusion"]) for store in found["stores"].values()]
        assert sum(matrices).tolist() == found["average"][kind]["all_images"]["confusion"]
        assert sum(matrices).sum() == 3 * COUNTS["test"]
        accuracies = [np.trace(matrix) / matrix.sum() for matrix in matrices]
        assert found["average"][kind]["accuracy"] == pytest.approx(np.mean(accuracies))
    for kind in ("federated", "pooled"):  # one model, on test images that were dealt
        assert found["average"][kind]["all_images"]["confusion"] == found["server"][kind]["confusion"]
    assert sum(store["images"] for store in found["stores"].values()) == 3 * COUNTS["train"]


def test_gains_are_differences_of_the_accuracies_shown(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    for store in made[2]["stores"].values():
        for kind, over in (("federated", "alone"), ("fine-tuned", "alone-longer")):
            expected = 100 * (store["models"][kind]["accuracy"] - store["models"][over]["accuracy"])
            assert store["gain"][kind]["points"] == pytest.approx(expected)


def test_the_federated_part_is_the_run_of_the_same_settings(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    alone = simulate(
        RunRequest(settings(made[0], tmp_path / "run"), resume=False, began=time.perf_counter()), Console()
    )
    assert made[2]["parts"]["seed-3/federated"]["weights_sha256"] == alone["weights_sha256"]


def test_fine_tuning_starts_from_the_federated_model(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, out, found, _ = made
    config = (out / "seed-3" / "fine-tuned" / "store-0" / "config.toml").read_text()
    assert f'weights = "{out}/seed-3/federated/model.safetensors"' in config
    assert found["budget"]["fine_tuning"] == {"epochs": 2, "lr": 0.004}


def test_contributions_are_shares_and_what_is_lost_without(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    told = made[2]["contributions"]
    assert sum(each["estimate"] for each in told["stores"].values()) == pytest.approx(1.0)
    assert told["has_left_out"]
    # Of two stores, the federation without one is the other one alone.
    without, alone = (
        made[2]["parts"][f"seed-3/{name}"]["weights_sha256"] for name in ("without/store-0", "alone/store-1")
    )
    assert without == alone
    joined, lonely = (made[2]["server"][kind] for kind in ("federated", "alone"))
    expected = 100 * (joined["accuracy"] - lonely["stores"]["store-1"])
    assert told["stores"]["store-0"]["left_out"]["points"] == pytest.approx(expected)


def test_says_it_in_words_on_screen_and_page(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, out, _, printed = made
    page = _text((out / "report.html").read_text())
    for text in (printed, page):
        assert "In this run, store-0 " in text
        assert "clearly" not in text
        assert "on average over 2 stores" in text
    assert "http" not in (out / "report.html").read_text().replace("http-equiv", "")


def test_a_finished_comparison_is_told_again_without_training(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    _, out, found, _ = made
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    again, _ = compared({"run.out": str(out)}, resume=True)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == before


def test_what_cannot_be_compared_is_one_sentence(made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path) -> None:
    data, out, _, _ = made
    with pytest.raises(DataError, match="at least two stores, got one"):
        compared(settings(data, tmp_path / "one", data__stores=1))
    with pytest.raises(ConfigError, match="got the engine ray"):
        compared(settings(data, tmp_path / "ray", run__engine="ray"))
    with pytest.raises(ConfigError, match=r"about product classes, got train\.objective turns"):
        compared(settings(data, tmp_path / "turns", train__objective="turns"))
    with pytest.raises(ConfigError, match=r"got train\.seconds 3"):
        compared(settings(data, tmp_path / "seconds", train__seconds=3))
    with pytest.raises(ConfigError, match=r"run\.rounds cannot change"):
        compared({"run.out": str(out), "run.rounds": 9}, resume=True)
    with pytest.raises(ConfigError, match="fine-tunes for 2 epochs"):
        compared({"run.out": str(out)}, resume=True, tune_epochs=5)


@pytest.mark.slow
def test_what_stays_at_a_store_judges_and_is_fine_tuned_there(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out = tmp_path / "personal"
    given = settings(made[0], out, strategy__name="fedper", run__rounds=1, train__epochs=1)
    found, _ = compared(given, tune_epochs=1, tune_lr=1e-9)
    # With a learning rate of next to nothing, a store's fine-tuned model is the federated one as the store has it.
    for store in found["stores"].values():
        assert store["models"]["fine-tuned"]["confusion"] == store["models"]["federated"]["confusion"]
        assert store["models"]["fine-tuned"]["loss"] == pytest.approx(store["models"]["federated"]["loss"], rel=1e-5)
    assert "federated" not in found["server"]


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path) -> None:
    data, _, whole, _ = made
    out = tmp_path / "killed"
    sets = [f"{key}={value}" for key, value in settings(data, out, run__workers=2).items()]
    arguments = [text for assignment in sets for text in ("--set", assignment)]
    process = start("compare", *arguments, "--leave-one-out", start_new_session=True)
    while process.poll() is None and not (out / "seed-3" / "alone").exists():
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = run("compare", "--resume", "--out", out)
    assert done.returncode == 0, done.stderr
    found = json.loads((out / "compare.json").read_text())
    hashes = {name: part["weights_sha256"] for name, part in found["parts"].items()}
    assert hashes == {name: part["weights_sha256"] for name, part in whole["parts"].items()}
    assert found["stores"] == whole["stores"]
    assert summary(out / "seed-3" / "federated")["status"] == "finished"


@pytest.mark.slow
def test_stops_when_asked_and_says_how_to_go_on(made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path) -> None:
    data, out = made[0], tmp_path / "stopped"
    given = settings(data, out, run__workers=2, run__rounds=500)
    arguments = [text for key, value in given.items() for text in ("--set", f"{key}={value}")]
    process = start("compare", *arguments)
    history = out / "seed-3" / "federated" / "history.jsonl"
    while process.poll() is None and not history.exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert f"flower-simulation compare --resume --out {out}" in printed.replace("\n", "")
    assert not (out / "compare.json").exists()
    assert summary(out / "seed-3" / "federated")["status"] == "stopped"


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []

    def handle_data(self, data: str) -> None:
        self.pieces.append(data)


def _text(page: str) -> str:
    parser = _Text()
    parser.feed(page)
    return " ".join(" ".join(parser.pieces).split())
