"""A whole comparison, small: its figures add up, it is the runs that it says, and it goes on where
it stopped.
"""

import io
import json
import os
import shutil
import signal
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from fedshelf.common.errors import ConfigError, DataError, RunError
from fedshelf.simulations.compare.command import compare
from fedshelf.simulations.compare.request import ComparisonRequest
from fedshelf.simulations.compare.statistics.margins import Gain, holm
from fedshelf.simulations.compare.wording.findings import headline, of_store
from fedshelf.simulations.run.simulate import SimulationRequest, simulate
from tests.helpers.product_photos import COUNTS, photos
from tests.helpers.simulation_command import run, start, summary

KINDS = ["alone", "federated", "alone-longer", "fine-tuned", "pooled"]


def settings(data: Path, out: Path, **more: object) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "data.dataset": str(data), "data.stores": 2, "data.partition": "dirichlet:1",
        "data.image_size": 16, "model.name": "niid-cnn", "train.lr": 0.02, "train.batch_size": 8,
        "run.rounds": 2, "run.seed": 3, "strategy.absent_classes": "full", "run.device": "cpu",
        "run.workers": 1, "run.out": str(out),
    }  # fmt: skip
    return usual | {key.replace("__", "."): value for key, value in more.items()}


def compared(given: dict[str, Any], **options: Any) -> tuple[dict[str, Any], str]:
    """`compare.json` of a comparison, and what was printed."""
    nothing: dict[str, Any] = {"resume": False, "seeds": (), "tune_epochs": None, "tune_lr": None}
    asked = nothing | {"leave_one_out": False} | options
    console = Console(file=io.StringIO(), width=200)
    assert compare(ComparisonRequest(given, **asked), console)
    assert isinstance(console.file, io.StringIO)
    found: dict[str, Any] = json.loads((Path(given["run.out"]) / "compare.json").read_text())
    return found, console.file.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, Any], str]:
    """Photos, and a comparison with leave-one-out on them: data, directory, compare.json,
    output.
    """
    data = photos(tmp_path_factory.mktemp("photos") / "wares")
    out = tmp_path_factory.mktemp("runs") / "compared"
    return data, out, *compared(settings(data, out), leave_one_out=True)


def test_the_stores_counts_add_up(made: tuple[Path, Path, dict[str, Any], str]) -> None:
    found = made[2]
    assert list(found["average"]) == KINDS
    for kind in KINDS:
        matrices = [
            np.array(store["models"][kind]["confusion"]) for store in found["stores"].values()
        ]
        assert sum(matrices).tolist() == found["average"][kind]["all_images"]["confusion"]
        assert sum(matrices).sum() == 3 * COUNTS["test"]
        accuracies = [np.trace(matrix) / matrix.sum() for matrix in matrices]
        assert found["average"][kind]["accuracy"] == pytest.approx(np.mean(accuracies))
    for kind in ("federated", "pooled"):  # one model, on test images that were dealt
        assert (
            found["average"][kind]["all_images"]["confusion"] == found["server"][kind]["confusion"]
        )
    assert sum(store["images"] for store in found["stores"].values()) == 3 * COUNTS["train"]


def test_gains_are_differences_of_the_accuracies_shown(
    made: tuple[Path, Path, dict[str, Any], str],
) -> None:
    for store in made[2]["stores"].values():
        for kind, over in (("federated", "alone"), ("fine-tuned", "alone-longer")):
            expected = 100 * (store["models"][kind]["accuracy"] - store["models"][over]["accuracy"])
            assert store["gain"][kind]["points"] == pytest.approx(expected)


def test_the_federated_part_is_the_run_of_the_same_settings(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    alone = simulate(
        SimulationRequest(
            settings(made[0], tmp_path / "run"), resume=False, began=time.perf_counter()
        ),
        Console(),
    )
    assert made[2]["parts"]["seed-3/federated"]["weights_sha256"] == alone["weights_sha256"]


def test_fine_tuning_starts_from_the_federated_model(
    made: tuple[Path, Path, dict[str, Any], str],
) -> None:
    _, out, found, _ = made
    config = (out / "seed-3" / "fine-tuned" / "store-0" / "config.toml").read_text()
    assert f'weights = "{out}/seed-3/federated/model.safetensors"' in config
    assert found["budget"]["fine_tuning"] == {"epochs": 2, "lr": 0.004}


def test_contributions_are_shares_and_what_is_lost_without(
    made: tuple[Path, Path, dict[str, Any], str],
) -> None:
    told = made[2]["contributions"]
    assert sum(each["estimate"] for each in told["stores"].values()) == pytest.approx(1.0)
    assert told["has_left_out"]
    # Of two stores, the federation without one is the other one alone.
    without, alone = (
        made[2]["parts"][f"seed-3/{name}"]["weights_sha256"]
        for name in ("without/store-0", "alone/store-1")
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


def test_a_finished_comparison_is_told_again_without_training(
    made: tuple[Path, Path, dict[str, Any], str],
) -> None:
    _, out, found, _ = made
    before = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    again, _ = compared({"run.out": str(out)}, resume=True)
    assert again == found
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == before


@pytest.fixture(scope="module")
def several(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], str]:
    """The same comparison with another seed added: directory, compare.json, output."""
    out = tmp_path_factory.mktemp("runs") / "several"
    shutil.copytree(made[1], out)
    return out, *compared({"run.out": str(out)}, resume=True, seeds=(4,))


def test_each_seed_deals_other_stores_and_keeps_what_others_had(
    made: tuple[Path, Path, dict[str, Any], str], several: tuple[Path, dict[str, Any], str]
) -> None:
    _, found, _ = several
    assert found["seeds"] == {
        "asked": [3, 4],
        "done": [3, 4],
        "is_dealt": True,
        "is_dealt_anew": True,
    }
    assert list(found["stores"]) == [
        "seed 3, store-0",
        "seed 3, store-1",
        "seed 4, store-0",
        "seed 4, store-1",
    ]
    for name in ("store-0", "store-1"):
        assert found["stores"][f"seed 3, {name}"]["models"] == made[2]["stores"][name]["models"]
    for part, told in made[2]["parts"].items():
        assert found["parts"][part]["weights_sha256"] == told["weights_sha256"]
    images = [found["stores"][f"seed {seed}, store-0"]["images"] for seed in (3, 4)]
    assert images[0] != images[1]


def test_means_and_spreads_are_over_the_seeds(several: tuple[Path, dict[str, Any], str]) -> None:
    found = several[1]
    for kind in KINDS:
        accuracies = [
            np.mean(
                [
                    found["stores"][f"seed {seed}, store-{n}"]["models"][kind]["accuracy"]
                    for n in (0, 1)
                ]
            )
            for seed in (3, 4)
        ]
        average = found["average"][kind]
        assert average["seeds"] == pytest.approx(accuracies)
        assert average["accuracy"] == pytest.approx(np.mean(accuracies))
        assert average["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    gain = found["gains"]["federated"]["alone"]
    expected = 100 * (
        np.array(found["average"]["federated"]["seeds"]) - found["average"]["alone"]["seeds"]
    )
    assert gain["seeds"] == pytest.approx(expected)
    assert gain["points"] == pytest.approx(expected.mean())
    assert gain["standard_errors"]["training"] == pytest.approx(expected.std(ddof=1) / np.sqrt(2))
    assert gain["clear"] == (gain["p"] <= 0.05)
    # A store was dealt and trained once: nothing of what it gains is clear.
    assert all(row["gain"]["federated"]["clear"] is None for row in found["stores"].values())


def test_terminal_and_page_say_the_same_sentences(
    several: tuple[Path, dict[str, Any], str],
) -> None:
    out, found, printed = several
    page = _text((out / "report.html").read_text())
    said = " ".join(printed.split())
    stores = [of_store(label, each, is_dealt_anew=True) for label, each in found["stores"].items()]
    for sentence in [*headline(found), *stores]:
        assert sentence in page
        assert sentence in said


def test_stores_that_are_there_are_judged_over_all_seeds_and_corrected_for_their_number(
    tmp_path: Path,
) -> None:
    for store in ("oslo", "rome"):
        photos(tmp_path / "chain" / store)
    given = settings(
        tmp_path / "chain",
        tmp_path / "out",
        data__partition="folder",
        run__rounds=1,
        train__epochs=1,
    )
    found, printed = compared(given, seeds=(1, 2), tune_epochs=0)
    assert found["seeds"] == {
        "asked": [1, 2],
        "done": [1, 2],
        "is_dealt": False,
        "is_dealt_anew": False,
    }
    assert list(found["stores"]) == ["oslo", "rome"]
    gains = [store["gain"]["federated"] for store in found["stores"].values()]
    assert [gain["p"] for gain in gains] == pytest.approx(holm([_level(gain) for gain in gains]))
    assert all(gain["clear"] == (gain["p"] <= 0.05) for gain in gains)
    assert "corrected for their number by Holm's method" in printed


def _level(told: dict[str, Any]) -> float:
    errors = told["standard_errors"]
    return Gain(tuple(told["seeds"]), errors["images"], errors["training"]).p


def test_a_comparison_of_an_earlier_version_is_not_gone_on_with(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    shutil.copytree(made[1], tmp_path / "old")
    options = tmp_path / "old" / "options.json"
    told = json.loads(options.read_text())
    options.write_text(json.dumps({key: value for key, value in told.items() if key != "seeds"}))
    with pytest.raises(RunError, match="made by an earlier version"):
        compared({"run.out": str(tmp_path / "old")}, resume=True)
    options.unlink()
    with pytest.raises(RunError, match="stopped before it began"):
        compared({"run.out": str(tmp_path / "old")}, resume=True)


@pytest.mark.parametrize("seeds", ["0,0", "a", "1,", "-1,2", "1.5", "9223372036854775808"])
def test_seeds_that_are_none_are_refused(seeds: str) -> None:
    done = run("compare", "--dataset", "shelf", "--seeds", seeds)
    assert done.returncode == ConfigError.exit_code
    assert f"Option --seeds got '{seeds}'; allowed: different whole numbers" in done.stderr


def test_one_seed_or_several() -> None:
    done = run("compare", "--dataset", "shelf", "--seeds", "0,1", "--seed", "3")
    assert done.returncode == ConfigError.exit_code
    assert done.stderr == "Error: Got --seed 3 and --seeds 0,1; give one of them.\n"


def test_what_cannot_be_compared_is_one_sentence(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    data, out, _, _ = made
    with pytest.raises(DataError, match="at least two stores, got one"):
        compared(settings(data, tmp_path / "one", data__stores=1))
    with pytest.raises(ConfigError, match="got the engine ray"):
        compared(settings(data, tmp_path / "ray", run__engine="ray"))
    with pytest.raises(ConfigError, match=r"about product classes, got train\.objective turns"):
        compared(settings(data, tmp_path / "turns", train__objective="turns"))
    with pytest.raises(ConfigError, match=r"train\.seconds 3; leave it out"):
        compared(settings(data, tmp_path / "seconds", train__seconds=3))
    with pytest.raises(ConfigError, match="by itself, got privacy"):
        compared(settings(data, tmp_path / "summed", privacy__secure_sum=True))
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
    # With a learning rate of next to nothing, a store's fine-tuned model is the federated one as
    # the store has it.
    for store in found["stores"].values():
        assert (
            store["models"]["fine-tuned"]["confusion"] == store["models"]["federated"]["confusion"]
        )
        assert store["models"]["fine-tuned"]["loss"] == pytest.approx(
            store["models"]["federated"]["loss"], rel=1e-5
        )
    assert "federated" not in found["server"]


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
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
def test_stops_when_asked_and_says_how_to_go_on(
    made: tuple[Path, Path, dict[str, Any], str], tmp_path: Path
) -> None:
    data = made[0]
    out = tmp_path / "stopped"
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
