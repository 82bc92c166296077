"""Splitting a data set into folders: all or nothing, every image once, and ready to train on."""

import csv
import io
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fedshelf.common.config import DataConfig, resolve
from fedshelf.common.errors import ConfigError, DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.simulations import datasets
from fedshelf.simulations.federation.federation import build
from fedshelf.simulations.federation.split import split


def photos(root: Path, *, splits: tuple[str, ...] = ("",), each: int = 12) -> Path:
    """A folder of photos, all different, file names the same in every class and split."""
    number = 0
    for name in splits:
        for label in ("coat", "hat", "T-Shirt ö"):
            for index in range(each):
                path = root / name / label / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.random.default_rng(number).integers(0, 256, (6, 7, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
                number += 1
    return root


def png(number: int) -> dict[str, bytes]:
    """A photo in a row of a parquet file."""
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(
        file, "PNG"
    )
    return {"bytes": file.getvalue()}


def contents(root: Path) -> Counter[bytes]:
    return Counter(
        path.read_bytes() for path in root.rglob("*") if path.is_file() and path.suffix != ".json"
    )


def test_photos_are_copied_as_they_are(tmp_path):
    source = photos(tmp_path / "in")
    (source / "hat" / "broken.jpg").write_bytes(b"?")
    counts = split(
        DataConfig(dataset=str(source), stores=3), tmp_path / "out", seed=1, test=False
    ).counts
    assert sum(sum(store.values()) for store in counts.values()) == 36
    assert contents(tmp_path / "out") + Counter([b"?"]) == contents(source)
    assert json.loads((tmp_path / "out" / "partition.json").read_text()) == {
        "dataset": str(source), "partition": "iid", "seed": 1, "images": counts,
    }  # fmt: skip
    for name, store in counts.items():
        folder = tmp_path / "out" / name
        assert {path.name: len(list(path.iterdir())) for path in folder.iterdir()} == store


def test_the_test_split_goes_to_the_server_and_to_no_store(tmp_path):
    source = photos(tmp_path / "in", splits=("train", "validation", "test"))
    data = DataConfig(dataset=str(source), stores=2)
    split(data, tmp_path / "with", seed=0, test=True)
    assert contents(tmp_path / "with" / "test") == contents(source / "test")
    split(data, tmp_path / "without", seed=0, test=False)
    assert contents(tmp_path / "without") == contents(source) - contents(source / "test")
    assert sorted(path.name for path in (tmp_path / "without").iterdir()) == [
        "partition.json",
        "store-0",
        "store-1",
    ]


def test_files_of_the_same_name_do_not_overwrite_each_other(tmp_path):
    source = photos(tmp_path / "in", splits=("train", "validation", "test"), each=4)
    (source / "train" / "hat" / "1 (2).png").write_bytes(
        (source / "train" / "hat" / "0.png").read_bytes()
    )
    split(DataConfig(dataset=str(source), stores=1), tmp_path / "out", seed=0, test=False)
    assert contents(tmp_path / "out") == contents(source / "train") + contents(
        source / "validation"
    )


def test_a_tenth_by_content_is_held_out_where_there_is_no_test_split(tmp_path):
    source = photos(tmp_path / "in", each=60)
    counts = split(
        DataConfig(dataset=str(source), stores=2), tmp_path / "out", seed=0, test=True
    ).counts
    held = sum(counts["test"].values())
    assert held == 18  # of each class of 60 a tenth
    assert contents(tmp_path / "out") == contents(source)


def test_pictures_of_a_data_set_are_written_without_loss(tmp_path):
    data = DataConfig(dataset="shelf", stores=3, partition="dirichlet:0.5", min_images=30)
    counts = split(data, tmp_path / "out", seed=5, test=True).counts
    dataset = datasets.load(data, PixelFormat(32))
    position = int((dataset.test.targets() == 4).nonzero()[0])
    written = tmp_path / "out" / "test" / "can" / f"test-{position:04}.png"
    assert (
        np.asarray(Image.open(written))
        == dataset.test.batch(torch.tensor([position]))[0][0].numpy()
    ).all()
    assert sum(counts["test"].values()) == 1000
    dealt = build(
        resolve(
            {f"data.{key}": value for key, value in data.model_dump().items()} | {"run.seed": 5}
        ),
        image_size=32,
        channels=3,
    )
    for name, row in dealt.table.items():
        assert counts[name] == {
            label: count for label, count in zip(dealt.classes, row, strict=True) if count
        }


def test_a_split_is_a_folder_of_stores(tmp_path):
    source = photos(tmp_path / "in", splits=("train", "test"), each=40)
    counts = split(
        DataConfig(dataset=str(source), stores=2), tmp_path / "out", seed=0, test=True
    ).counts
    found = build(
        resolve({"data.dataset": str(tmp_path / "out"), "data.partition": "folder"}),
        image_size=8,
        channels=3,
    )
    assert found.classes == ("T-Shirt ö", "coat", "hat")
    assert torch.bincount(found.test.targets()).tolist() == [40, 40, 40]
    for name, data in found.stores.items():
        assert len(data.train) + len(data.validation) + len(data.test) == sum(counts[name].values())


def test_nothing_is_overwritten_and_nothing_is_left_behind(tmp_path):
    data = DataConfig(dataset=str(photos(tmp_path / "in")), stores=2)
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="exists and is not empty"):
        split(data, out, seed=0, test=False)
    assert [path.name for path in out.iterdir()] == ["mine.txt"]
    with pytest.raises(DataError, match="Cannot write"):
        split(data, out / "mine.txt" / "below", seed=0, test=False)
    (out / "mine.txt").unlink()
    split(data, out, seed=0, test=False)  # an empty folder is no obstacle
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_folders_that_would_be_one_are_two_and_a_table_says_which_is_which(tmp_path):
    labels = (
        "< 5 kg",
        "> 5 kg",
        "- 5 kg",
        "Hat",
        "hat",
        "hat.",
        "test",
        "unlabelled",
        "NUL",
        "shoe",
    )
    table = pa.table(
        {
            "image": [png(number) for number in range(20)],
            "label": [number % 10 for number in range(20)],
        }
    )
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(labels)},
    }
    (tmp_path / "in").mkdir()
    pq.write_table(
        table.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        tmp_path / "in" / "train-00000-of-00001.parquet",
    )
    data = DataConfig(dataset=str(tmp_path / "in"), stores=1, image_size=8, classes=labels)
    counts = split(data, tmp_path / "out", seed=0, test=False).counts
    assert counts == {"store-0": dict.fromkeys(sorted(labels), 2)}
    written = {
        path.name: len(list(path.iterdir())) for path in (tmp_path / "out" / "store-0").iterdir()
    }
    rows = list(csv.reader((tmp_path / "out" / "class-names.csv").read_text().splitlines()))
    assert rows[0] == ["folder", "class"]
    assert {label: folder for folder, label in rows[1:]} == {
        "- 5 kg": "- 5 kg", "< 5 kg": "- 5 kg (2)", "> 5 kg": "- 5 kg (3)", "Hat": "Hat",
        "hat": "hat (2)", "hat.": "hat (3)", "test": "test (class)",
        "unlabelled": "unlabelled (class)", "NUL": "NUL (class)", "shoe": "shoe",
    }  # fmt: skip
    assert written == {folder: 2 for folder, _ in rows[1:]}
    found = build(
        resolve({"data.dataset": str(tmp_path / "out"), "data.partition": "folder"}),
        image_size=8,
        channels=3,
    )
    assert set(found.classes) == set(written)


@pytest.mark.timeout(30)
def test_what_is_no_photo_is_left_out_and_named(tmp_path):
    source = photos(tmp_path / "in")
    os.mkfifo(source / "hat" / "pipe.jpg")
    (source / "hat" / "device.jpg").symlink_to("/dev/zero")
    with (source / "hat" / "film.jpg").open("wb") as file:
        file.truncate(2**28 + 1)
    (source / "unlabelled").mkdir()
    shutil.copy(source / "hat" / "0.png", source / "unlabelled" / "0.png")
    told = split(DataConfig(dataset=str(source), stores=2), tmp_path / "out", seed=0, test=False)
    assert sum(sum(store.values()) for store in told.counts.values()) == 36
    assert (
        told.left_out
        == "Left out 4: hat/device.jpg (not a file), hat/film.jpg (larger than 256 MiB),"
        " hat/pipe.jpg (not a file), unlabelled/0.png (without a class)."
    )


@pytest.mark.parametrize(
    ("data", "error", "sentence"),
    [
        ({"partition": "folder"}, ConfigError, "has a folder for each store already"),
        ({"stores": 37}, ConfigError, "36 training images cannot give 37 stores"),
        (
            {"classes": ("hat", "coat")},
            DataError,
            "class 'T-Shirt ö', which is not in data.classes",
        ),
    ],
)
def test_what_cannot_be_split_is_one_clear_sentence(tmp_path, data, error, sentence):
    source = photos(tmp_path / "in")
    with pytest.raises(error) as raised:
        split(DataConfig(dataset=str(source), **data), tmp_path / "out", seed=0, test=False)
    assert sentence in str(raised.value)
    assert not (tmp_path / "out").exists()
