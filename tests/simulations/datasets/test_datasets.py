"""Data sets: found, decoded once, exact, never stale, and clear about what is missing."""

import gzip
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.common.seeding import rng
from fedshelf.simulations import datasets
from fedshelf.simulations.datasets import drawing, shelf
from fedshelf.simulations.datasets.products import PRODUCTS
from tests.helpers.dataset_loading import load, refusal
from tests.helpers.photo_files import store

COLOURS = {"red": (200, 30, 40), "green": (20, 180, 60), "blue": (10, 60, 220)}
NAMES = list(COLOURS)


def picture(label: int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[NAMES[label]]).convert(mode).save(file, "PNG")
    return file.getvalue()


def write_parquet(
    path: Path,
    labels: list[int],
    *,
    names: list[str] | None = NAMES,
    images: list[bytes] | None = None,
):
    """A parquet file as Hugging Face writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = images or [picture(label) for label in labels]
    kind = (
        {"names": names, "_type": "ClassLabel"} if names else {"dtype": "int64", "_type": "Value"}
    )
    features = {"info": {"features": {"image": {"_type": "Image"}, "label": kind}}}
    table = pa.table(
        {
            "image": [{"bytes": data, "path": None} for data in images],
            "label": pa.array(labels, pa.int64()),
        }
    )
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)


# shelf


def test_shelf_has_ten_balanced_classes():
    dataset = load("shelf")
    assert dataset.classes == tuple(sorted(PRODUCTS))
    assert torch.bincount(dataset.train.targets()).tolist() == [400] * 10
    assert torch.bincount(dataset.test.targets()).tolist() == [100] * 10
    assert dataset.train.inputs.shape == (4000, 32, 32, 3)


def test_shelf_has_the_same_pixels_on_every_machine():
    digest = hashlib.sha256()
    for name in shelf.CLASSES:
        digest.update(drawing.draw(name, 20, 32, rng(0, "golden", name)).tobytes())
    assert digest.hexdigest() == "1db4c5efbf21d7d3065d8308c9203aeeb56d37513289cb41a3b640023b3f230d"


def test_shelf_pictures_do_not_repeat():
    dataset = load("shelf")
    pixels = torch.cat(
        [images.inputs.flatten(1) for images in (dataset.train, dataset.test)]
    ).numpy()
    assert len({row.tobytes() for row in pixels}) == 5000


def test_shelf_is_drawn_in_the_size_and_channels_wanted():
    dataset = load("shelf", PixelFormat(20, 1))
    assert dataset.train.inputs.shape == (4000, 20, 20, 1)


# parquet


def test_parquet_pixels_labels_and_names_are_exact(tmp_path):
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 2])
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [1])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [2, 0])
    source = datasets.find(DataConfig(dataset=str(tmp_path)))
    assert (source.native_size, source.channels) == (8, 3)
    dataset = load(tmp_path)
    assert dataset.classes == ("red", "green", "blue")
    pixels, labels = dataset.train.batch(torch.arange(3))
    assert labels.tolist() == [0, 2, 1]
    assert [tuple(image[0, 0].tolist()) for image in pixels] == [
        COLOURS[name] for name in ("red", "blue", "green")
    ]
    assert dataset.test.targets().tolist() == [2, 0]
    assert dataset.validation is None
    assert dataset.left_out == ""


@pytest.mark.parametrize(
    "layout", ["data/train-0.parquet", "plain_text/train.parquet", "default/train/0000.parquet"]
)
def test_parquet_files_may_be_in_sub_folders(tmp_path, layout):
    write_parquet(tmp_path / layout, [0, 1])
    assert len(load(tmp_path).train) == 2


def test_broken_and_unlabelled_images_are_left_out_and_counted(tmp_path):
    images = [picture(0), b"no image", picture(1)[:40], picture(1), picture(2)]
    write_parquet(tmp_path / "train.parquet", [0, 0, 1, -1, 2], images=images)
    dataset = load(tmp_path)
    assert dataset.train.targets().tolist() == [0, 2]
    assert dataset.left_out == "3 of 5 images are left out: broken, or without a label."


def test_images_of_many_sizes_and_grey_ones(tmp_path):
    write_parquet(
        tmp_path / "a" / "train.parquet", [0, 1], images=[picture(0, (9, 5)), picture(1, (4, 4))]
    )
    write_parquet(
        tmp_path / "b" / "train.parquet",
        [0, 1],
        images=[picture(0, mode="L"), picture(1, mode="L")],
    )
    mixed, grey = (datasets.find(DataConfig(dataset=str(tmp_path / name))) for name in "ab")
    assert (mixed.native_size, mixed.channels) == (None, 3)
    assert (grey.native_size, grey.channels) == (8, 1)
    assert load(tmp_path / "a", PixelFormat(6)).train.inputs.shape == (2, 6, 6, 3)


def test_chosen_classes_set_the_order(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 2, -1, 1])
    dataset = load(tmp_path, classes=("blue", "green", "red", "pink"))
    assert dataset.classes == ("blue", "green", "red", "pink")
    assert dataset.train.targets().tolist() == [2, 0, 1]
    assert "has images of class 'blue', which is not among the classes red, green" in refusal(
        tmp_path, classes=("red", "green")
    )


def test_a_second_load_reads_neither_parquet_nor_pyarrow(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1, 2])
    first = load(tmp_path)
    program = (
        "import sys; from fedshelf.common.config import DataConfig\n"
        "from fedshelf.common.images.decoding.decode import PixelFormat\n"
        "from fedshelf.simulations import datasets\n"
        f"dataset = datasets.load(DataConfig(dataset={str(tmp_path)!r}), PixelFormat(8))\n"
        "print('pyarrow' in sys.modules, dataset.train.batch(dataset.train.rows)[0].sum().item())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert answer.split() == ["False", str(first.train.inputs.sum().item())]


def test_a_changed_file_is_never_served_from_the_cache(tmp_path):
    path = tmp_path / "train.parquet"
    for labels in ([0, 1], [1, 0], [2, 2]):
        write_parquet(path, labels)
        dataset = load(tmp_path)
        assert [dataset.classes[label] for label in dataset.train.targets()] == [
            NAMES[label] for label in labels
        ]


def test_two_processes_may_decode_the_same_at_once(tmp_path):
    write_parquet(tmp_path / "train.parquet", [0, 1, 2] * 200)
    program = (
        "from fedshelf.common.config import DataConfig\nfrom"
        " fedshelf.common.images.decoding.decode import PixelFormat\nfrom fedshelf.simulations"
        f" import datasets\nprint(datasets.load(DataConfig(dataset={str(tmp_path)!r}),"
        " PixelFormat(16)).train.inputs.sum().item())"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    answers = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert (
        answers[0] == answers[1] == f"{load(tmp_path, PixelFormat(16)).train.inputs.sum().item()}\n"
    )


def test_unusable_parquet_is_one_clear_sentence(tmp_path):
    write_parquet(tmp_path / "two" / "a" / "train.parquet", [0])
    write_parquet(tmp_path / "two" / "b" / "train.parquet", [0])
    assert "holds several data sets (a, b)" in refusal(tmp_path / "two")
    (tmp_path / "cut").mkdir()
    whole = (tmp_path / "two" / "a" / "train.parquet").read_bytes()
    (tmp_path / "cut" / "train.parquet").write_bytes(whole[:-50])
    assert "cannot be read as a parquet file" in refusal(tmp_path / "cut")
    (tmp_path / "text").mkdir()
    pq.write_table(pa.table({"text": ["a"], "score": [0.5]}), tmp_path / "text" / "train.parquet")
    assert (
        "has the columns text (string), score (double); expected one of encoded images"
        in refusal(tmp_path / "text")
    )
    write_parquet(tmp_path / "none" / "train.parquet", [-1, -1])
    assert "no usable training image" in refusal(tmp_path / "none")


def test_a_cache_that_cannot_be_written_is_one_clear_sentence(tmp_path, monkeypatch):
    write_parquet(tmp_path / "train.parquet", [0, 1])
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "file"))
    assert "Cannot write the data set cache" in refusal(tmp_path)
    assert "set FEDSHELF_CACHE" in refusal("shelf")


# by name


def test_cifar10_is_read_from_parquet(tmp_path, monkeypatch):
    write_parquet(tmp_path / "cifar10" / "plain_text" / "train-00000-of-00001.parquet", [0, 2])
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    assert load("cifar10").classes == ("red", "blue")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_read_from_idx_files(tmp_path, monkeypatch, suffix):
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    pixels = (np.arange(3 * 28 * 28) % 256).astype(np.uint8).reshape(3, 28, 28)
    labels = np.array([9, 0, 8], np.uint8)
    for prefix in ("train", "t10k"):
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            data = header + array.tobytes()
            (folder / f"{prefix}-{kind}-ubyte{suffix}").write_bytes(
                gzip.compress(data) if suffix else data
            )
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    source = datasets.find(DataConfig(dataset="fashion-mnist"))
    assert (source.native_size, source.channels) == (28, 1)
    dataset = load("fashion-mnist", PixelFormat(28, 1))
    assert (dataset.train.inputs.numpy()[..., 0] == pixels).all()
    assert [dataset.classes[label] for label in dataset.test.targets()] == [
        "Ankle boot",
        "T-shirt/top",
        "Bag",
    ]
    assert load("fashion-mnist", PixelFormat(32, 3)).train.inputs.shape == (3, 32, 32, 3)


@pytest.mark.parametrize("name", ["cifar10", "fashion-mnist", "someone/something"])
def test_a_data_set_that_is_not_here_says_where_to_put_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path))
    sentence = refusal(name)
    assert str(tmp_path / name.replace("/", "--")) in sentence
    assert "huggingface.co/datasets/" in sentence
    assert "--dataset FOLDER" in sentence


def test_an_unknown_name_gets_the_nearest():
    assert "Did you mean cifar10?" in refusal("cifar")
    assert "neither known (shelf, shelf-scenes, cifar10, fashion-mnist) nor a folder" in refusal(
        "no-such-folder"
    )


def test_a_folder_among_the_data_sets_needs_no_path(tmp_path, monkeypatch):
    """A data set that lies here under the same name goes first."""
    write_parquet(tmp_path / "sets" / "flowers" / "train-00000-of-00001.parquet", [0, 1])
    monkeypatch.setenv("FEDSHELF_DATA", str(tmp_path / "sets"))
    monkeypatch.chdir(tmp_path)
    assert len(load("flowers").train) == 2
    write_parquet(tmp_path / "flowers" / "train-00000-of-00001.parquet", [0, 1, 2])
    assert len(load("flowers").train) == 3


# folders


def test_a_folder_of_photos_keeps_its_splits(tmp_path):
    for split, count in (("train", 3), ("validation", 1), ("test", 2)):
        for label in range(2):
            folder = tmp_path / split / NAMES[label]
            folder.mkdir(parents=True)
            for number in range(count):
                (folder / f"{number}.png").write_bytes(picture(label, (8 + number, 9)))
    (tmp_path / "train" / "red" / "broken.jpg").write_bytes(b"?")
    dataset = load(tmp_path)
    assert dataset.classes == ("green", "red")
    assert [len(images) for images in (dataset.train, dataset.validation, dataset.test)] == [
        6,
        2,
        4,
    ]
    assert "broken.jpg" in dataset.left_out
    assert datasets.find(DataConfig(dataset=str(tmp_path))).native_size is None


def test_a_folder_of_test_images_alone_says_so(tmp_path: Path) -> None:
    store(tmp_path / "shop" / "test", {"hat": 3, "shoe": 3})
    with pytest.raises(
        DataError, match="has images of the test split only; expected some to train on"
    ):
        datasets.load(DataConfig(dataset=str(tmp_path / "shop"), image_size=8), PixelFormat(8))


def test_merged_spellings_are_trained_on(tmp_path: Path) -> None:
    """Test images of `Hat` are judged by what was learnt of `hat`, so no class is told to be
    without training.
    """
    store(tmp_path / "shop" / "train", {"hat": 12, "shoe": 12})
    store(tmp_path / "shop" / "test", {"Hat": 2, "shoe": 3}, first_seed=50)
    found = datasets.load(
        DataConfig(dataset=str(tmp_path / "shop"), image_size=8, merge_spellings=True),
        PixelFormat(8),
    )
    assert (found.classes, found.left_out) == (("hat", "shoe"), "")
    assert found.test is not None
    assert sorted(found.test.targets().tolist()) == [0, 0, 1, 1, 1]
