"""`flower-client annotate`, `undo` and `corrections`, as a person runs them."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fedshelf.client.main import app
from fedshelf.common.errors import ConfigError, DataError
from tests.helpers.saved_models import save_model

run = CliRunner().invoke


@pytest.fixture
def model(tmp_path: Path) -> str:
    return str(save_model(tmp_path / "model"))


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two photos of one name, a third one, and one of a single colour."""
    row = np.linspace(0, 255, 48).astype(np.uint8)
    for number, name in enumerate(("a/1.png", "b/1.png", "b/2.png", "b/flat.png")):
        photo = np.broadcast_to(row[None, :, None], (48, 48, 3)).copy()
        photo[..., number % 3] //= 2
        if "flat" in name:
            photo[:] = 90
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(path)
    return tmp_path / "shop"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))


def test_photos_are_linked_into_folders_and_taken_back(
    model: str, shop: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sorted"
    result = run(app, ["annotate", model, str(shop), "--out", str(out), "--unsure-below", "0"])
    assert result.exit_code == 0, result.output
    assert "3 sure, 0 unsure, 1 unknown" in result.stderr
    assert "unlabelled/unknown/flat.png" in files(out)
    assert len(files(out)) == 4
    assert all(path.is_symlink() for path in out.rglob("*.png"))
    assert sum(int(line.rsplit(": ", 1)[1]) for line in result.stdout.splitlines()) == 4
    (list_file,) = out.glob("undo-*.jsonl")
    assert run(app, ["undo", str(list_file)]).exit_code == 0
    assert list(out.iterdir()) == []
    assert len(files(shop)) == 4


def test_photos_move_only_when_asked_and_come_back(model: str, shop: Path, tmp_path: Path) -> None:
    before = {name: (shop / name).read_bytes() for name in files(shop)}
    out = tmp_path / "sorted"
    result = run(app, ["annotate", model, str(shop), "--out", str(out), "--move"])
    assert result.exit_code == 0, result.output
    assert files(shop) == []
    assert len(files(out)) == 4
    (list_file,) = out.glob("undo-*.jsonl")
    assert run(app, ["undo", str(list_file)]).exit_code == 0
    assert {name: (shop / name).read_bytes() for name in files(shop)} == before


def test_a_second_sorting_into_the_same_folder_is_refused(
    model: str, shop: Path, tmp_path: Path
) -> None:
    command = ["annotate", model, str(shop), "--out", str(tmp_path / "sorted")]
    assert run(app, command).exit_code == 0
    assert isinstance(run(app, command).exception, ConfigError)
    inside = run(app, ["annotate", model, str(shop), "--out", str(shop / "sorted")])
    assert isinstance(inside.exception, ConfigError)


def test_labels_go_out_and_come_back(model: str, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    command = ["annotate", model, str(shop), "--out", str(out), "--format", "csv"]
    assert run(app, command).exit_code == 0
    rows = list(csv.DictReader((out / "guesses.csv").open(encoding="utf-8")))
    for row in rows:
        row["label"] = "scarf"
    with (out / "guesses.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    train = str(tmp_path / "train.csv")
    command = ["corrections", str(out / "guesses.csv"), "--photos", str(shop), "--out", train]
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert result.stdout == "scarf: 4\n"
    assert isinstance(run(app, command).exception, ConfigError)  # train.csv is there


def test_guesses_alone_are_no_training_data(model: str, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "labels"
    run(app, ["annotate", model, str(shop), "--out", str(out), "--format", "label-studio"])
    file = str(out / "label-studio.json")
    result = run(
        app, ["corrections", file, "--photos", str(shop), "--out", str(tmp_path / "t.csv")]
    )
    assert isinstance(result.exception, DataError)
    assert "labels no photo" in str(result.exception)


def test_asking_takes_so_many_and_nothing_unknown(model: str, shop: Path, tmp_path: Path) -> None:
    out = tmp_path / "ask"
    command = ["annotate", model, str(shop), "--out", str(out), "--ask", "2", "--format", "coco"]
    assert run(app, command).exit_code == 0
    images = json.loads((out / "coco.json").read_text(encoding="utf-8"))["images"]
    assert len(images) == 2
    assert all("flat" not in image["file_name"] for image in images)


@pytest.mark.parametrize("options", [["--format", "voc"], ["--move", "--ask", "3"]])
def test_options_that_do_not_fit_are_refused(
    options: list[str], model: str, shop: Path, tmp_path: Path
) -> None:
    result = run(app, ["annotate", model, str(shop), "--out", str(tmp_path / "o"), *options])
    assert isinstance(result.exception, ConfigError)
