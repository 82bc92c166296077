"""Parquet files as people have them: the right columns, splits and class names, or a sentence that
says why not.
"""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from fedshelf.common.config import DataConfig
from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.decode import PixelFormat
from fedshelf.simulations import datasets
from tests.helpers.hub_cache import put_snapshot

COLOURS = ((200, 30, 40), (20, 180, 60), (10, 60, 220))
CELL = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
WITH_NAMES = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": ["hat", "shirt", "shoe"]},
}


def picture(colour: int, mode: str = "RGB", size: tuple[int, int] = (8, 8)) -> bytes:
    """A square of one of three colours, or in mode L of one of three greys."""
    file = io.BytesIO()
    Image.new("RGB", size, COLOURS[colour]).convert(mode).save(file, "PNG")
    return file.getvalue()


def images(*colours: int, mode: str = "RGB") -> pa.Array:
    return pa.array([{"bytes": picture(colour, mode), "path": None} for colour in colours], CELL)


def write(
    path: Path, columns: Mapping[str, pa.Array], features: Mapping[str, Any] | None = None
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    pq.write_table(pa.table(dict(columns)).replace_schema_metadata(told), path)


def found(path: Path) -> datasets.DatasetSource:
    return datasets.find(DataConfig(dataset=str(path)))


def load(path: Path) -> datasets.Dataset:
    source = found(path)
    return source.load(PixelFormat(8, source.channels))


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as raised:
        load(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def named(dataset: datasets.Dataset, split: str = "train") -> list[str]:
    """The class name of each image of a split."""
    return [dataset.classes[label] for label in getattr(dataset, split).targets()]


def seen(dataset: datasets.Dataset, split: str = "train") -> list[int]:
    """The colour of each image of a split, told by its pixels."""
    pixels, _ = getattr(dataset, split).batch(torch.arange(len(getattr(dataset, split))))
    return [COLOURS.index(tuple(image[0, 0].tolist())) for image in pixels]


# columns


def test_an_image_id_is_no_class_and_a_mask_no_picture(tmp_path: Path) -> None:
    columns = {
        "image_id": pa.array([7, 8, 9]),
        "mask": images(0, 0, 0, mode="L"),
        "image": images(0, 1, 2),
        "width": pa.array([8, 8, 8]),
        "labels": pa.array([1, 0, 1]),
    }
    write(tmp_path / "train.parquet", columns)
    dataset = load(tmp_path)
    assert named(dataset) == ["1", "0", "1"]
    assert seen(dataset) == [0, 1, 2]


def test_features_go_before_names(tmp_path: Path) -> None:
    columns = {
        "image": images(0, 0),
        "photo": images(1, 2),
        "label": pa.array([5, 6]),
        "kind": pa.array([1, 0]),
    }
    features = {
        "photo": {"_type": "Image"},
        "kind": {"_type": "ClassLabel", "names": ["hat", "shoe"]},
    }
    write(
        tmp_path / "train.parquet",
        columns,
        features | {"label": {"_type": "Value", "dtype": "int64"}},
    )
    dataset = load(tmp_path)
    assert named(dataset) == ["shoe", "hat"]
    assert seen(dataset) == [1, 2]


def test_of_several_features_the_usual_name_is_taken(tmp_path: Path) -> None:
    """As in CIFAR-100: `fine_label` is a usual name, `coarse_label` is not."""
    columns = {
        "img": images(0, 1),
        "coarse_label": pa.array([0, 0]),
        "fine_label": pa.array([1, 0]),
    }
    kinds = {
        name: {"_type": "ClassLabel", "names": [f"{name} 0", f"{name} 1"]}
        for name in list(columns)[1:]
    }
    write(tmp_path / "train.parquet", columns, {"img": {"_type": "Image"}, **kinds})
    assert named(load(tmp_path)) == ["fine_label 1", "fine_label 0"]


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"picture": images(0), "label": pa.array([1])},
            (
                "has the columns picture (struct<bytes: binary, path: string>), label (int64);"
                " expected one of encoded images, by its Hugging Face feature Image or by its name"
                " (image, img, pixels), but none is that"
            ),
        ),
        (
            {"image": images(0), "image_id": pa.array([1])},
            "category, target, fine_label), but none is that",
        ),
        (
            {"image": images(0), "img": images(0), "label": pa.array([1])},
            "more than one may be that (image, img)",
        ),
        (
            {"image": images(0), "label": pa.array([1]), "class": pa.array(["a"])},
            "may be that (label, class)",
        ),
        (
            {"image": pa.array([[[[1, 2, 3]]]]), "label": pa.array([1])},
            "image cannot be that by its type",
        ),
        ({"image": images(0), "label": pa.array([[1, 2]])}, "label cannot be that by its type"),
    ],
)
def test_columns_that_are_in_doubt_are_listed(
    tmp_path: Path, columns: dict[str, pa.Array], sentence: str
) -> None:
    write(tmp_path / "train.parquet", columns)
    assert sentence in refusal(tmp_path)


def test_a_file_with_other_columns_is_named(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {"image": images(0), "label": pa.array([1])})
    write(tmp_path / "test.parquet", {"img": images(0), "label": pa.array([1])})
    sentence = refusal(tmp_path)
    assert sentence.startswith(f"{tmp_path / 'test.parquet'} has the columns img (")
    assert f"expected image and label, as in {tmp_path / 'train.parquet'}" in sentence


# labels


@pytest.mark.parametrize(
    ("labels", "classes", "names"),
    [
        pytest.param(pa.array([2, 0, 2], pa.uint8()), ("0", "2"), ["2", "0", "2"], id="unsigned"),
        pytest.param(
            pa.array([2**63, 0, 1], pa.uint64()),
            ("0", "1", str(2**63)),
            [str(2**63), "0", "1"],
            id="huge",
        ),
        pytest.param(
            pa.array([10**9, 7, 0]), ("0", "7", "1000000000"), ["1000000000", "7", "0"], id="sparse"
        ),
        pytest.param(
            pa.array([10, 9, 10], pa.int8()), ("9", "10"), ["10", "9", "10"], id="by-size"
        ),
        pytest.param(
            pa.array(["shoe", "hat", "shoe"]), ("hat", "shoe"), ["shoe", "hat", "shoe"], id="text"
        ),
        pytest.param(
            pa.array(["b", "a", "b"], pa.large_string()), ("a", "b"), ["b", "a", "b"], id="large"
        ),
        pytest.param(pa.array(["b ", "a", "b"]), ("a", "b"), ["b", "a", "b"], id="blanks"),
        pytest.param(
            pa.array(["b", "a", "b"]).dictionary_encode(),
            ("a", "b"),
            ["b", "a", "b"],
            id="dictionary",
        ),
        pytest.param(
            pa.array([True, False, True]),
            ("False", "True"),
            ["True", "False", "True"],
            id="boolean",
        ),
        pytest.param(pa.array([1.0, 0.0, 1.0]), ("0", "1"), ["1", "0", "1"], id="integral"),
        pytest.param(pa.array([1, 0, 1], pa.float16()), ("0", "1"), ["1", "0", "1"], id="half"),
    ],
)
def test_labels_of_any_type(
    tmp_path: Path, labels: pa.Array, classes: tuple[str, ...], names: list[str]
) -> None:
    write(tmp_path / "train.parquet", {"image": images(0, 1, 2), "label": labels})
    dataset = load(tmp_path)
    assert dataset.classes == classes
    assert named(dataset) == names
    assert dataset.left_out == ""


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([1, None, 0]),
        pa.array([1, -1, 0]),
        pa.array([1.0, float("nan"), 0.0]),
        pa.array(["1", "NaN", "0"]),
        pa.array(["1", " ", "0"]),
        pa.array(["1", None, "0"]).dictionary_encode(),
    ],
)
def test_a_missing_label_is_no_class(tmp_path: Path, labels: pa.Array) -> None:
    write(tmp_path / "train.parquet", {"image": images(0, 1, 2), "label": labels})
    dataset = load(tmp_path)
    assert dataset.classes == ("0", "1")
    assert (named(dataset), seen(dataset)) == (["1", "0"], [0, 2])
    assert dataset.left_out == "1 of 3 images are left out: broken, or without a label."


def test_labels_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.parquet", {"image": images(0), "label": pa.array([0.5])})
    assert "holds 0.5; expected labels, which are whole numbers or names" in refusal(tmp_path / "a")
    write(
        tmp_path / "b" / "train.parquet", {"image": images(0), "label": pa.array([3])}, WITH_NAMES
    )
    assert "holds 3, but its classes are only 3, from 0" in refusal(tmp_path / "b")
    many = pa.array([picture(0)] * 10_001, pa.binary())
    write(tmp_path / "c" / "train.parquet", {"image": many, "label": pa.array(range(10_001))})
    assert "has more than 10,000 different values" in refusal(tmp_path / "c")


def test_only_labels_that_occur_are_classes(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {"image": images(0), "label": pa.array([2])}, WITH_NAMES)
    write(tmp_path / "test.parquet", {"image": images(1), "label": pa.array([0])}, WITH_NAMES)
    dataset = load(tmp_path)
    assert dataset.classes == ("hat", "shoe")
    assert (named(dataset), named(dataset, "test")) == (["shoe"], ["hat"])
    assert dataset.left_out == "No training image has the class hat, which other splits have."


def test_names_of_another_order_are_mapped_by_name(tmp_path: Path) -> None:
    other = WITH_NAMES | {
        "label": {"_type": "ClassLabel", "names": ["shoe", "bag", "hat", "shirt"]}
    }
    write(
        tmp_path / "train.parquet",
        {"image": images(0, 1, 2), "label": pa.array([0, 1, 2])},
        WITH_NAMES,
    )
    write(
        tmp_path / "test.parquet", {"image": images(2, 0, 1), "label": pa.array([0, 2, 3])}, other
    )
    dataset = load(tmp_path)
    assert dataset.classes == ("hat", "shirt", "shoe")
    assert (named(dataset, "test"), seen(dataset, "test")) == (["shoe", "hat", "shirt"], [2, 0, 1])


def test_numbers_without_names_do_not_mix_with_names(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {"image": images(0), "label": pa.array([2])}, WITH_NAMES)
    write(tmp_path / "test.parquet", {"image": images(1), "label": pa.array([0])})
    assert f"labels of {tmp_path / 'test.parquet'} are numbers without names" in refusal(tmp_path)


# images


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_images_may_be_plain_bytes(tmp_path: Path, kind: pa.DataType) -> None:
    cells = pa.array([picture(2), None, picture(1)], kind)
    write(tmp_path / "train.parquet", {"image": cells, "label": pa.array([0, 0, 1])})
    assert seen(load(tmp_path)) == [2, 1]


def test_images_may_lie_beside_the_file_and_are_never_stale(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": None, "path": f"images/{name}.png"} for name in "ab"], CELL)
    write(tmp_path / "train.parquet", {"image": cells, "label": pa.array([0, 1])})
    (tmp_path / "images").mkdir()
    for colours in ((0, 1), (1, 0), (2, 2)):
        for name, colour in zip("ab", colours, strict=True):
            (tmp_path / "images" / f"{name}.png").write_bytes(picture(colour))
        assert seen(load(tmp_path)) == list(colours)
    (tmp_path / "images" / "a.png").unlink()
    assert named(load(tmp_path)) == ["1"]


def test_what_holds_no_pictures_is_named(tmp_path: Path) -> None:
    paths = pa.array([{"bytes": None, "path": "gone.png"}], CELL)
    write(tmp_path / "a" / "train.parquet", {"image": paths, "label": pa.array([0])})
    assert f"holds paths such as {tmp_path / 'a' / 'gone.png'}, where no picture is" in refusal(
        tmp_path / "a"
    )
    write(tmp_path / "b" / "train.parquet", {"image": pa.array([b"raw"]), "label": pa.array([0])})
    assert f"column 'image' of {tmp_path / 'b' / 'train.parquet'} holds no picture" in refusal(
        tmp_path / "b"
    )


def test_channels_and_size_are_decided_by_all_images(tmp_path: Path) -> None:
    """The first colour image is the 41st; the first of another size the last."""
    cells = [picture(0, "L")] * 40 + [picture(1)]
    write(tmp_path / "train.parquet", {"image": pa.array(cells), "label": pa.array([0] * 40 + [1])})
    assert (found(tmp_path).native_size, found(tmp_path).channels) == (8, 3)
    write(
        tmp_path / "test.parquet",
        {"image": pa.array([picture(0, "L", (9, 9))]), "label": pa.array([0])},
    )
    assert found(tmp_path).native_size is None


# splits


@pytest.mark.parametrize(
    ("training", "validation", "test"),
    [
        ("train-0.parquet", "dev-0.parquet", "eval-0.parquet"),
        ("Training.parquet", "Valid.parquet", "Testing.parquet"),
        ("data/partial-train/0.parquet", "data/val/0.parquet", "data/evaluation/0.parquet"),
        ("train_a.parquet", "validation_a.parquet", "test_a.parquet"),
    ],
)
def test_splits_are_told_by_names(
    tmp_path: Path, training: str, validation: str, test: str
) -> None:
    for number, name in enumerate((training, validation, test)):
        write(tmp_path / name, {"image": images(number), "label": pa.array([1])})
    dataset = load(tmp_path)
    assert [seen(dataset, split) for split in ("train", "validation", "test")] == [[0], [1], [2]]


def test_two_names_of_one_split_are_refused(tmp_path: Path) -> None:
    for name in ("train", "val", "dev"):
        write(tmp_path / f"{name}.parquet", {"image": images(0), "label": pa.array([1])})
    assert "has parquet files of dev and val, which all mean the validation split" in refusal(
        tmp_path
    )


def test_files_that_name_no_split_are_named(tmp_path: Path) -> None:
    for name in ("train", "extra", "seg_test"):
        write(tmp_path / f"{name}.parquet", {"image": images(0, 1), "label": pa.array([1, 0])})
    dataset = load(tmp_path)
    assert (len(dataset.train), dataset.test) == (2, None)
    assert (
        dataset.left_out
        == "Not used, as their names tell no split (train, validation, test): extra.parquet (2"
        " rows), "
        "seg_test.parquet (2 rows)."
    )


@pytest.mark.parametrize(
    "names", [["0000.parquet", "0001.parquet"], ["dataset.parquet", "trainer.parquet"]]
)
def test_without_any_split_all_is_for_training(tmp_path: Path, names: Sequence[str]) -> None:
    for colour, name in enumerate(names):
        write(tmp_path / name, {"image": images(colour), "label": pa.array([1])})
    assert seen(load(tmp_path)) == [0, 1]
    assert seen(load(tmp_path / names[0])) == [0]


def test_no_training_file_is_one_sentence(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", {"image": images(0), "label": pa.array([1])})
    assert (
        "has parquet files, but none for training: test.parquet; expected files such as train-"
        in refusal(tmp_path)
    )


def test_a_folder_of_photos_may_hold_a_table(tmp_path: Path) -> None:
    for label in ("hat", "shoe"):
        (tmp_path / label).mkdir()
        for number in range(3):
            (tmp_path / label / f"{number}.png").write_bytes(picture(number))
    write(tmp_path / "metadata.parquet", {"photo": pa.array(["hat/0.png"])})
    assert load(tmp_path).classes == ("hat", "shoe")


def test_a_test_set_of_another_home_is_another_data_set(tmp_path: Path) -> None:
    write(tmp_path / "a" / "train.parquet", {"image": images(0), "label": pa.array([1])})
    write(tmp_path / "b" / "test.parquet", {"image": images(0), "label": pa.array([1])})
    assert "holds several data sets (a, b)" in refusal(tmp_path)


def test_a_renamed_file_changes_its_split(tmp_path: Path) -> None:
    """The bytes of all files, in order of their names, stay the same."""
    write(tmp_path / "train-0.parquet", {"image": images(0), "label": pa.array([1])})
    write(tmp_path / "train-1.parquet", {"image": images(1), "label": pa.array([1])})
    assert seen(load(tmp_path)) == [0, 1]
    (tmp_path / "train-1.parquet").rename(tmp_path / "validation.parquet")
    dataset = load(tmp_path)
    assert (seen(dataset), seen(dataset, "validation")) == ([0], [1])


def test_an_empty_split_is_none(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", {"image": images(0), "label": pa.array([1])})
    write(tmp_path / "test.parquet", {"image": images(), "label": pa.array([], pa.int64())})
    assert load(tmp_path).test is None


def test_a_snapshot_of_the_hub_is_read_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its files are links into the folder of blobs, and there is no network."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    write(
        tmp_path / "own" / "train.parquet", {"image": images(0, 1), "label": pa.array(["a", "b"])}
    )
    content = (tmp_path / "own" / "train.parquet").read_bytes()
    put_snapshot(tmp_path / "hub", "dataset", "lab/shoes", {"data/train-0.parquet": content})
    put_snapshot(tmp_path / "hub", "dataset", "lab/words", {"README.md": b"# Words"})
    source = datasets.find(DataConfig(dataset="hf:lab/shoes"))
    dataset = source.load(PixelFormat(8, 3, 0))
    assert (source.name, dataset.classes, len(dataset.train)) == ("hf:lab/shoes", ("a", "b"), 2)
    with pytest.raises(DataError, match="hf:lab/words has no files such as train-00000"):
        datasets.find(DataConfig(dataset="hf:lab/words"))
