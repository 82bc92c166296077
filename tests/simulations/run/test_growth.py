"""A new product in a finished run: trained, told of in the report, and stopped and resumed like any
other.
"""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from fedshelf.common.errors import ConfigError, DataError
from fedshelf.server.results.checkpoints import Checkpoints
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.training.resume_model import adopt
from fedshelf.simulations.run.simulate import SimulationRequest, simulate
from tests.helpers.deployed import draw_photos
from tests.helpers.simulation_command import run

SMALL = {
    "data.partition": "folder", "data.image_size": "16", "model.name": "niid-cnn",
    "train.lr": "0.02", "train.batch_size": "8", "run.workers": "1", "run.seed": "1",
}  # fmt: skip
OLD = ("boot", "hat")
MORE = {key: value for key, value in SMALL.items() if key not in ("model.name", "data.image_size")}


def trained(
    out: Path, settings: dict[str, Any], *, resume: bool = False
) -> tuple[dict[str, Any], str]:
    """The summary of a run, and what it printed."""
    told = io.StringIO()
    summary = simulate(
        SimulationRequest({**settings, "run.out": str(out)}, resume, 0.0),
        Console(file=told, width=200),
    )
    return summary, told.getvalue()


def chain(place: Path, classes: tuple[str, ...]) -> Path:
    """Two stores, the second with all classes, and a test folder."""
    for seed, (name, sold) in enumerate({"oslo": OLD, "rome": classes, "test": classes}.items()):
        draw_photos(place / name, sold, 12, seed)
    return place


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that knows two classes."""
    place = tmp_path_factory.mktemp("growth")
    data = chain(place / "old", OLD)
    trained(place / "first", SMALL | {"data.dataset": str(data), "run.rounds": "3"})
    return place / "first"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The chain, where one store sells mugs now."""
    return str(chain(tmp_path_factory.mktemp("growth") / "new", (*OLD, "mug")))


def test_a_new_class_is_learned_and_the_report_tells_of_the_old_ones(
    first: Path, photos: str, tmp_path: Path
) -> None:
    files = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    settings = MORE | {
        "data.dataset": photos,
        "model.resume_from": str(first),
        "strategy.absent_classes": "mask",
    }
    settings |= {"data.classes": "hat,mug,boot", "train.epochs": "5"}
    found, told = trained(tmp_path / "run", settings | {"run.rounds": "4"})
    was = json.loads((first / "summary.json").read_text())
    old = found["old_classes"]
    assert (old["classes"], old["new"], old["on"], old["images"]) == (
        list(OLD),
        ["mug"],
        "server",
        24,
    )
    assert old["before"] == was["test"]["accuracy"]
    assert old["before"] == sum(row["before"] for row in old["per_class"].values()) / 2
    confusion = torch.tensor(found["test"]["confusion"])  # hat, mug, boot
    assert old["after"] == (confusion[0, 0] + confusion[2, 2]).item() / 24
    assert old["new_after"] == confusion[1, 1].item() / 12 > 0.5
    assert "Old classes (2): " in told
    assert 'id="old-classes"' in (tmp_path / "run" / "report.html").read_text()
    provenance = json.loads((tmp_path / "run" / "model.json").read_text())["provenance"][
        "resumed_from"
    ]
    assert provenance["weights_sha256"] == was["weights_sha256"]
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == files

    trained(tmp_path / "stopped", settings | {"run.rounds": "2"})
    again, _ = trained(tmp_path / "stopped", {"run.rounds": "4"}, resume=True)
    assert again["weights_sha256"] == found["weights_sha256"]
    assert again["old_classes"] == old


def test_photos_that_the_old_run_held_out_stay_held_out(first: Path, tmp_path: Path) -> None:
    assert adopt({"model.resume_from": str(first)})["data.split"] == "class"
    assert adopt({"model.resume_from": str(first), "data.split": "hash"})["data.split"] == "hash"
    earlier = shutil.copytree(first, tmp_path / "earlier")
    text = (earlier / "config.toml").read_text()
    (earlier / "config.toml").write_text(text.replace('split = "class"\n', ""))
    assert adopt({"model.resume_from": str(earlier)})["data.split"] == "hash"


def test_rows_of_old_classes_go_on_from_where_they_were(
    first: Path, photos: str, tmp_path: Path
) -> None:
    """With a rate that moves nothing, in float32; but for what is the same of all classes, which no
    softmax sees.
    """
    settings = MORE | {
        "data.dataset": photos,
        "model.resume_from": str(first / "model.safetensors"),
    }
    trained(
        tmp_path / "run",
        settings | {"train.lr": "1e-12", "data.classes": "hat,mug,boot", "run.rounds": "1"},
    )
    before, after = (
        load_file(folder / "model.safetensors") for folder in (first, tmp_path / "run")
    )
    for name, tensor in before.items():
        kept = after[name]
        expected = tensor
        if len(kept) == 3 and len(tensor) == 2:  # the head
            kept = kept[2] - kept[0]
            expected = tensor[0] - tensor[1]
        torch.testing.assert_close(kept, expected, rtol=1e-6, atol=1e-7)


def test_a_run_starts_from_one_model(first: Path, photos: str, tmp_path: Path) -> None:
    two = {"model.resume_from": str(first), "model.weights": str(first / "model.safetensors")}
    with pytest.raises(ConfigError, match="has all weights; leave one of them out"):
        trained(tmp_path / "run", MORE | {"data.dataset": photos, **two})


def test_data_that_lacks_an_old_class_is_one_sentence(first: Path, tmp_path: Path) -> None:
    data = chain(tmp_path / "other", ("boot", "mug"))
    with pytest.raises(
        ConfigError, match="knows the class 'hat', which is not among this run's classes"
    ):
        trained(
            tmp_path / "run",
            MORE
            | {
                "data.dataset": str(data / "rome"),
                "model.resume_from": str(first),
                "data.partition": "iid",
                "data.stores": "2",
            },
        )


def test_a_class_that_is_left_out_is_one_sentence(first: Path, tmp_path: Path) -> None:
    done = run(
        "run",
        "--dataset",
        "shelf",
        "--resume-from",
        first,
        "--classes",
        "cap,hat",
        "--out",
        tmp_path / "run",
    )
    assert done.returncode == 2
    assert "--classes leaves out 'boot', which the model" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_from_a_round_of_one_that_is_not_finished(
    first: Path, photos: str, tmp_path: Path
) -> None:
    unfinished = tmp_path / "unfinished"
    shutil.copytree(first, unfinished)
    for name in ("model.safetensors", "model.json", "summary.json"):
        (unfinished / name).unlink()
    latest = Checkpoints(unfinished / "checkpoints", keep=3).latest()
    assert latest is not None
    for path in (unfinished, unfinished / "checkpoints" / "round-000003.safetensors"):
        with pytest.raises(
            DataError, match=r"is not finished. Name the round to go on from: .*unfinished@best"
        ):
            adopt({"model.resume_from": str(path)})
    out = tmp_path / "more"
    settings = MORE | {"data.dataset": photos, "data.classes": "boot,hat,mug", "run.rounds": "1"}
    trained(out, settings | {"model.resume_from": f"{unfinished}@last"})
    begun = unfinished.resolve() / "round-3" / "model.safetensors"
    provenance = json.loads((out / "model.json").read_text())["provenance"]["resumed_from"]
    assert provenance["round"] == latest.round == 3
    assert RunDirectory.stored(out, {}).model.resume_from == str(begun)
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert history[0]["settings"]["run.rounds"] == 1
    # the other run has gone on meanwhile
    (unfinished / "checkpoints" / "round-000003.safetensors").unlink()
    again = {"model.resume_from": f"{unfinished}@last", "run.rounds": "2", "cohort.min_stores": "2"}
    trained(out, again, resume=True)
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert history[1]["settings_changed"] == {"run.rounds": [1, 2], "cohort.min_stores": [1, 2]}


def test_a_run_that_makes_a_model_no_better_delivers_it_as_it_was(
    first: Path, tmp_path: Path
) -> None:
    """With a rate that moves nothing, no round is better on validation images than the start."""
    settings = MORE | {
        "data.dataset": str(first.parent / "old"),
        "data.holdout": "0.25",
        "model.resume_from": str(first),
        "run.rounds": "2",
        "train.lr": "1e-12",
    }
    out = tmp_path / "run"
    found, told = trained(out, settings)
    begun = load_file(first / "model.safetensors")
    assert (found["delivered_round"], found["best"]["round"], found["rounds"]) == (0, 0, 2)
    assert all(
        torch.equal(load_file(out / "model.safetensors")[name], begun[name]) for name in begun
    )
    assert "The model is that of the run that this one went on from, the best by accuracy" in told
    assert "the start, better than all 2" in (out / "report.html").read_text()
    longer, _ = trained(out, {"run.rounds": "3"}, resume=True)
    assert (longer["delivered_round"], longer["rounds"]) == (0, 3)
    last, _ = trained(tmp_path / "last", settings | {"run.deliver": "last"})
    assert last["delivered_round"] == 2
