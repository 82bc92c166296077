"""`fedshelf.compare` and `fedshelf.sweep`: the commands' results from Python."""

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

import fedshelf
from fedshelf.common.errors import ConfigError, RunError


class Softmax(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * 64, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


def shades(images: int) -> tuple[Any, Any]:
    labels = np.arange(images) % 2
    noise = np.random.default_rng(images).integers(0, 128, (images, 8, 8, 3))
    return (noise + 127 * labels[:, None, None, None]).astype(np.uint8), labels


@pytest.mark.slow(minutes=0.1)
def test_a_comparison_of_ones_own_data_and_network(tmp_path: Path) -> None:
    given: dict[str, Any] = {"dataset": shades(120), "model": Softmax(2), "progress": False}
    study = fedshelf.compare(
        **given, stores=2, rounds=1, data_holdout=0.2, tune_epochs=0, out=tmp_path / "compare",
        metrics=["worst_class_recall"],
    )  # fmt: skip
    assert study.findings()
    assert escape(study.findings()[0]) in study._repr_html_()
    assert study.report().is_file()
    before = study.results
    for arm in before["average"].values():
        assert 0 <= arm["all_images"]["worst_class_recall"] <= arm["all_images"]["accuracy"]
    assert "worst_class_recall, all their images" in study.report().read_text(encoding="utf-8")
    again = fedshelf.compare(**given, resume=tmp_path / "compare")
    assert again.results == before
    with pytest.raises(ConfigError, match="Unknown setting 'tune_rounds'"):
        fedshelf.compare(**given, tune_rounds=3)


@pytest.mark.slow(minutes=0.2)
def test_a_sweep_reads_lists_as_values(tmp_path: Path) -> None:
    study = fedshelf.sweep(
        "shelf", 2, model="niid-cnn", rounds=1, train_lr=[0.01, 0.05], jobs=1, data_holdout=0.2,
        out=tmp_path / "sweep", progress=False,
    )  # fmt: skip
    assert [point["label"] for point in study.results["points"]] == [
        "train.lr=0.01", "train.lr=0.05",
    ]  # fmt: skip
    assert study.findings()[0].startswith("Chosen: train.lr=")
    assert len(fedshelf.runs(tmp_path / "sweep" / "runs")) == 2


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"dataset": shades(20), "train_lr": [1, 2]}, "python:tuple is an object that only this"),
        ({"dataset": "shelf"}, "A sweep has at least two runs"),
        ({"dataset": "shelf", "run_name": ["a", "b"]}, r"run\.name takes one value in a sweep"),
        ({"dataset": "shelf", "train_lr": [0.1, "x"]}, r"Setting train\.lr got 'x'"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        fedshelf.sweep(**wrong, out=tmp_path / "sweep", progress=False)


def test_a_folder_without_results_says_how_to_go_on(tmp_path: Path) -> None:
    from fedshelf.simulations.python.studies import Study

    with pytest.raises(RunError, match=r"There is no compare\.json .* resume="):
        Study(tmp_path, "compare.json").findings()
