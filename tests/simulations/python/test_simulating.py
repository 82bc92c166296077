"""`fedshelf.simulate`: the command's files and bits, one's own objects, callbacks, resume."""

import os
import signal
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import fedshelf
from fedshelf.common import own_objects
from fedshelf.common.config.field_types import Fraction
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.simulations.python.callbacks import PlayedRound
from tests.helpers import simulation_command

SMALL: dict[str, Any] = {"stores": 3, "seed": 1, "progress": False}
CLASSES = ("dark", "light")


class LagSettings(fedshelf.StrategySettings):
    lag: Fraction = Field(0.5, description="share of the way that is left out")


class Lag(fedshelf.Strategy):
    uses: ClassVar = frozenset({"weighting", "absent_classes"})
    settings: LagSettings

    def server_step(self, params: Tensor, combined: Tensor, state: Any, trainable: int) -> Any:
        return torch.lerp(params, combined, 1 - self.settings.lag), state


class Softmax(nn.Module):
    def __init__(self, num_classes: int, image_size: int = 8) -> None:
        super().__init__()
        self.head = nn.Linear(3 * image_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


def shades(images: int) -> tuple[Any, Any]:
    """Two shades of grey, which any linear layer tells apart."""
    labels = np.arange(images) % 2
    noise = np.random.default_rng(images).integers(0, 128, (images, 8, 8, 3))
    return (noise + 127 * labels[:, None, None, None]).astype(np.uint8), labels


SHADES = {"train": shades(90), "test": shades(30)}


def every_third(labels: Any, stores: int, random: np.random.Generator) -> list[Any]:
    order = random.permutation(len(labels))
    return [order[store::stores] for store in range(stores)]


def fade(pixels: Tensor, numbers: Tensor) -> Tensor:
    return pixels * (1 - 0.5 * numbers[:, 0, None, None, None].float())


def mine(**changed: Any) -> Any:
    arguments = {
        "dataset": SHADES, "partition": every_third, "model": Softmax, "strategy": Lag,
        "classes": CLASSES, "rounds": 2, "strategy_lag": 0.25, "augmentation": fade, **SMALL,
    }  # fmt: skip
    return fedshelf.simulate(**(arguments | changed))


def test_the_same_settings_give_the_files_and_the_bits_of_the_command(tmp_path: Path) -> None:
    run = fedshelf.simulate(
        "shelf", model="niid-cnn", rounds=1, out=tmp_path / "python", train_lr=0.02, **SMALL
    )
    done = simulation_command.run(
        "run", *simulation_command.SMALL, "--rounds", "1", "--lr", "0.02", "--out", tmp_path / "cli"
    )
    assert done.returncode == 0, done.stderr
    command = simulation_command.summary(tmp_path / "cli")
    assert run.summary["weights_sha256"] == command["weights_sha256"]
    files = [
        {
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if "tfevents" not in path.name
        }
        for folder in (tmp_path / "python", tmp_path / "cli")
    ]
    assert files[0] == files[1]


def test_objects_of_ones_own_train_and_their_names_are_recorded(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    run = mine(out=tmp_path / "run", rounds=3)
    assert torch.get_num_threads() == threads
    assert run.summary["test"]["accuracy"] == 1.0
    recorded = tomllib.loads((tmp_path / "run" / "config.toml").read_text())
    module = own_objects.name_of(Lag).partition(":")[0]
    assert recorded["strategy"]["name"] == f"{module}:Lag"
    assert recorded["strategy"]["lag"] == 0.25
    assert recorded["model"]["name"] == f"{module}:Softmax"
    assert recorded["data"]["partition"] == f"{module}:every_third"
    assert recorded["data"]["augmentation"] == f"{module}:fade"
    assert recorded["data"]["dataset"] == "python:dict"
    assert recorded["data"]["classes"] == list(CLASSES)
    assert [photo.label for photo in run.model.predict(SHADES["test"][0][:2])] == list(CLASSES)
    rows = run.history if isinstance(run.history, list) else run.history.to_dict("records")
    assert [row["round"] for row in rows] == [1, 2, 3]
    assert rows[-1]["test_accuracy"] == 1.0
    assert run.report().name == "report.html"
    assert "<iframe" in run.report()._repr_html_()  # type: ignore[attr-defined]
    assert run.curves()._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert "100.0%" in run._repr_html_()
    assert [each.directory for each in fedshelf.runs(tmp_path)] == [tmp_path / "run"]


def test_one_resumes_with_the_objects_and_not_without(tmp_path: Path) -> None:
    whole = mine(out=tmp_path / "whole", rounds=3)

    class Local(Softmax):
        pass

    begun = mine(out=tmp_path / "begun", rounds=1, model=Local(2), dataset=SHADES)
    assert begun.settings["model.name"] == "python:Local"
    del own_objects._registered["fedshelf.models", "python:Local"]
    with pytest.raises(ConfigError, match="python:Local is an object that a Python program gave"):
        fedshelf.simulate(resume=begun.directory, progress=False)
    other = {"train": shades(93), "test": SHADES["test"]}
    with pytest.raises(fedshelf.common.errors.DataError, match="changed since it began"):
        fedshelf.simulate(resume=begun.directory, model=Local(2), dataset=other, progress=False)
    with pytest.raises(ConfigError, match=r"data\.partition got 'iid', but the run in"):
        fedshelf.simulate(resume=begun.directory, model=Local(2), partition="iid", progress=False)
    half = mine(out=tmp_path / "half", rounds=1)
    resumed = fedshelf.simulate(resume=half.directory, dataset=SHADES, rounds=3, progress=False)
    assert resumed.summary["weights_sha256"] == whole.summary["weights_sha256"]


def test_data_sets_of_single_stores(tmp_path: Path) -> None:
    stores = {"oslo": shades(30), "rome": {"train": shades(60), "val": shades(15)}}
    run = fedshelf.simulate(
        {"test": shades(30)}, stores, model=Softmax, rounds=1, out=tmp_path / "run", progress=False
    )
    (record,) = run.records
    assert record["sampled"] == ["oslo", "rome"]
    assert record["validation"]["images"] == 15
    for wrong in ({"dataset": "shelf"}, {"partition": "iid"}):
        with pytest.raises(ConfigError, match="The argument stores has data sets"):
            fedshelf.simulate(**{"stores": stores, "progress": False, **wrong})


def test_callbacks_see_each_round_once_change_settings_and_stop(tmp_path: Path) -> None:
    told: list[tuple[int, float]] = []

    def follow(played: PlayedRound) -> None:
        told.append((played.number, played.record["lr"]))
        assert played.directory == tmp_path / "run"
        assert played.test is not None
        if played.number == 2:
            played.change(train_lr=0.01)
        if played.number == 4:
            played.stop()

    run = mine(out=tmp_path / "run", rounds=6, callbacks=[follow])
    assert told == [(1, 0.05), (2, 0.05), (3, 0.01), (4, 0.01)]
    assert (run.summary["status"], run.summary["rounds"]) == ("stopped", 4)
    assert run.records[2]["settings_changed"] == {"train.lr": [0.05, 0.01]}
    assert run.settings["train.lr"] == 0.01
    resumed = fedshelf.simulate(
        resume=run.directory, dataset=SHADES, callbacks=[follow], progress=False
    )
    assert told[4:] == [(5, 0.01), (6, 0.01)]
    assert resumed.summary["status"] == "finished"


def test_a_callback_that_fails_ends_a_run_that_can_go_on(tmp_path: Path) -> None:
    def fail(_: PlayedRound) -> None:
        raise KeyError("lost")

    with pytest.raises(RunError, match=r"callback fail raised KeyError .* after round 1") as caught:
        mine(out=tmp_path / "run", callbacks=[fail])
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(ConfigError, match="Setting model_name cannot change within a run"):
        mine(out=tmp_path / "other", callbacks=[lambda played: played.change(model_name="cnn")])
    run = fedshelf.simulate(resume=tmp_path / "run", dataset=SHADES, progress=False)
    assert (run.summary["status"], run.summary["rounds"]) == ("finished", 2)


def test_an_interrupt_ends_the_run_after_its_round(tmp_path: Path) -> None:
    def interrupt(_: PlayedRound) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    run = mine(out=tmp_path / "run", rounds=50, callbacks=[interrupt])
    assert run.summary["status"] == "stopped"
    assert run.summary["rounds"] < 50
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"train_lrr": 1}, "Unknown setting 'train_lrr'. Did you mean train_lr?"),
        ({"lr": 1}, "Unknown setting 'lr'. Did you mean train_lr?"),
        ({"learning_rate": 1}, "Unknown setting 'learning_rate'. Did you mean train_lr?"),
        ({"train.lr": 1}, "as a keyword argument it is train_lr"),
        ({"run_rounds": 1}, "Unknown argument 'run_rounds': it is called rounds here"),
        ({"train_lr": -1}, r"Setting train\.lr got -1; allowed: greater than 0"),
        ({"strategy": "fedavgg"}, "strategy.name got 'fedavgg'.* Did you mean fedavg?"),
        ({"strategy": Softmax}, "strategy got Softmax; expected a name, or a class derived"),
        ({"strategy": Lag, "strategy_lagg": 1}, "'strategy_lagg'. Did you mean strategy_lag?"),
    ],
)
def test_mistakes_name_the_nearest_setting(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        fedshelf.simulate(progress=False, **wrong)


def test_settings_are_listed_by_their_keyword() -> None:
    assert fedshelf.settings("train.lr")["train_lr"] == "learning rate of the first round"
