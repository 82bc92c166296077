"""Each format: what a tool reads in it, and that a person's labels come back."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.errors import DataError
from fedshelf.common.images.folder.scan import scan
from fedshelf.common.inference.labelling.corrections import find_photos, write_table
from fedshelf.common.inference.labelling.formats import FORMATS, recognize_format
from fedshelf.common.inference.labelling.guesses import Guess

CLASSES = ("boot", "hat & scarf", "shirt")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Two photos of one name, one with a name that needs escapes in every format, one turned."""
    for name in ("a/1.png", "b/1.png", 'b/grün & "50%" #2.png'):
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(tmp_path / "shop/turned.jpg", exif=exif)
    return tmp_path / "shop"


@pytest.fixture
def guesses(shop: Path) -> list[Guess]:
    return [
        Guess("shop/a/1.png", shop / "a/1.png", "sure", "boot", 0.9),
        Guess("shop/b/1.png", shop / "b/1.png", "sure", "shirt", 0.8),
        Guess(
            'shop/b/grün & "50%" #2.png',
            shop / 'b/grün & "50%" #2.png',
            "sure",
            "hat & scarf",
            0.75,
        ),
        Guess("shop/turned.jpg", shop / "turned.jpg", "unknown", "boot", 0.7),
    ]


def confirm(written: list[Path]) -> Path:
    """The file as a person hands it back; in Label Studio predictions become annotations."""
    path = written[0]
    if path.name == "label-studio.json":
        tasks = json.loads(path.read_text(encoding="utf-8"))
        for task in tasks:
            task["annotations"] = [
                {"result": one["result"], "was_cancelled": False}
                for one in task.pop("predictions", [])
            ]
        path.write_text(json.dumps(tasks), encoding="utf-8")
    return path.parent if path.name == "data.yaml" else path


@pytest.mark.parametrize("name", FORMATS)
def test_labels_come_back_as_training_data(
    name: str, guesses: list[Guess], shop: Path, tmp_path: Path
) -> None:
    labels = confirm(FORMATS[name].write(tmp_path / "labels", guesses, CLASSES))
    assert recognize_format(labels) == name
    left_out: list[tuple[str, str]] = []
    photos = find_photos(FORMATS[name].read(labels), shop, left_out)
    write_table(tmp_path / "out/train.csv", photos)
    found = scan(tmp_path / "out/train.csv")
    assert {(photo.path.resolve(), photo.label) for photo in found.photos} == {
        (guess.path, guess.label) for guess in guesses[:3]
    }
    assert [reason for _, reason in left_out] == ["no label"]


@pytest.mark.parametrize("name", FORMATS)
def test_outputs_are_all_that_is_written(name: str, guesses: list[Guess], tmp_path: Path) -> None:
    FORMATS[name].write(tmp_path / "labels", guesses, CLASSES)
    assert {path.name for path in (tmp_path / "labels").iterdir()} == {*FORMATS[name].outputs}


def test_coco_has_a_box_around_each_upright_photo(guesses: list[Guess], tmp_path: Path) -> None:
    (file,) = FORMATS["coco"].write(tmp_path, guesses, CLASSES)
    value = json.loads(file.read_text(encoding="utf-8"))
    sizes = [(image["width"], image["height"]) for image in value["images"]]
    assert sizes == [(30, 20)] * 3 + [(20, 30)]
    assert [category["id"] for category in value["categories"]] == [1, 2, 3]
    assert value["annotations"][1] == {
        "id": 2,
        "image_id": 2,
        "category_id": 3,
        "bbox": [0, 0, 30, 20],
        "area": 600,
        "segmentation": [],
        "iscrowd": 0,
        "score": 0.8,
    }


def test_cvat_has_a_tag_for_each_photo(guesses: list[Guess], tmp_path: Path) -> None:
    (file,) = FORMATS["cvat"].write(tmp_path, guesses, CLASSES)
    root = ElementTree.parse(file).getroot()
    assert [one.text for one in root.iterfind("meta/task/labels/label/name")] == [*CLASSES]
    assert [image.find("tag") is None for image in root.iterfind("image")] == [False] * 3 + [True]
    tags = [tag.attrib for tag in root.iterfind("image/tag")]
    assert tags[2] == {"label": "hat & scarf", "source": "auto"}


def test_label_studio_gets_scores_and_the_configuration_they_refer_to(
    guesses: list[Guess], tmp_path: Path
) -> None:
    tasks, config = FORMATS["label-studio"].write(tmp_path, guesses, CLASSES)
    first = json.loads(tasks.read_text(encoding="utf-8"))[0]
    assert first["data"]["image"] == "/data/local-files/?d=shop/a/1.png"
    assert first["predictions"][0]["score"] == 0.9
    (result,) = first["predictions"][0]["result"]
    view = ElementTree.parse(config).getroot()
    choices = view.find("Choices")
    assert choices is not None
    assert choices.attrib["name"] == result["from_name"]
    assert choices.attrib["toName"] == result["to_name"]
    assert [choice.attrib["value"] for choice in choices] == [*CLASSES]


def test_predictions_that_nobody_confirmed_are_no_labels(
    guesses: list[Guess], tmp_path: Path
) -> None:
    tasks, _ = FORMATS["label-studio"].write(tmp_path, guesses, CLASSES)
    assert all(not one.labels for one in FORMATS["label-studio"].read(tasks))


def test_label_studio_names_of_uploaded_files_are_understood(tmp_path: Path) -> None:
    choice = {"type": "choices", "value": {"choices": ["hat"]}}
    task = {
        "data": {"image": "/data/upload/3/0123abcd-shoe%201.jpg"},
        "annotations": [{"result": [choice]}, {"result": [choice], "was_cancelled": True}],
    }
    path = tmp_path / "export.json"
    path.write_text(json.dumps([task]), encoding="utf-8")
    assert FORMATS["label-studio"].read(path) == [("shoe 1.jpg", frozenset({"hat"}))]


def test_yolo_has_a_line_for_sure_photos_alone(guesses: list[Guess], tmp_path: Path) -> None:
    FORMATS["yolo"].write(tmp_path, guesses, CLASSES)
    assert (tmp_path / "labels/shop/b/1.txt").read_text(encoding="utf-8") == "2 0.5 0.5 1 1\n"
    assert (tmp_path / "labels/shop/turned.txt").read_text(encoding="utf-8") == ""
    assert (tmp_path / "images/shop/b/1.png").samefile(guesses[1].path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.json", "{"),
        ("x.json", "{}"),
        ("x.json", "[1]"),
        ("x.json", '{"images": [{"id": 1}], "annotations": [], "categories": []}'),
        ("x.json", '{"images": [], "annotations": [{"image_id": 1, "category_id": 1}],'
         ' "categories": [{"id": 1, "name": "hat"}]}'),
        ("x.xml", "<annotations>"),
        ("x.xml", "<annotations/>"),
        ("x.xml", '<!DOCTYPE a [<!ENTITY b "c">]><annotations><image name="&b;"/></annotations>'),
        ("x.zip", "PK"),
    ],
)  # fmt: skip
def test_a_damaged_file_is_one_sentence(file: str, content: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"x\."):
        FORMATS[recognize_format(path)].read(path)


@pytest.mark.parametrize("line", ["3 0.5 0.5 1 1", "-1 0.5 0.5 1 1", "hat"])
def test_a_yolo_line_of_no_class_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/1.png").write_bytes(b"")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels/1.txt").write_text(line, encoding="utf-8")
    (tmp_path / "classes.txt").write_text("a\nb\nc\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"1\.txt"):
        FORMATS["yolo"].read(tmp_path)
