"""Folders as labelling tools export them, after the examples in their documentation."""

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedshelf.common.errors import DataError
from fedshelf.common.scenes.formats.read import has_boxes, is_scene_folder, read_scenes
from tests.helpers.scene_files import (
    annotation,
    coco_file,
    image,
    masks_of_cvat,
    save_photo,
    save_text,
)


def corners(folder: Path) -> dict[str, list[list[float]]]:
    """Photo -> its boxes, rounded to thousandths."""
    return {
        scene.name: scene.boxes.corners.round(3).tolist() for scene in read_scenes(folder).scenes
    }


def test_yolo_of_ultralytics(tmp_path: Path) -> None:
    """https://docs.ultralytics.com/datasets/detect/: images/train, labels/train, data.yaml."""
    save_photo(tmp_path / "images/train/a.jpg")
    save_photo(tmp_path / "images/val/b.jpg")
    save_text(tmp_path / "labels/train/a.txt", "1 0.5 0.5 0.2 0.4\n0 0.1 0.2 0.2 0.4\n")
    save_text(tmp_path / "labels/val/b.txt", "")
    save_text(
        tmp_path / "data.yaml",
        "path: coco8 # root\ntrain: images/train\nval: images/val\nnames:\n  0: can\n  1: 'milk'\n",
    )
    labels = read_scenes(tmp_path)
    assert labels.classes == ("can", "milk")
    first, second = labels.scenes
    assert (first.name, first.split, second.split) == ("images/train/a.jpg", "train", "validation")
    assert first.boxes.corners.tolist() == [[40, 15, 60, 35], [0, 0, 20, 20]]
    assert first.boxes.classes.tolist() == [1, 0]
    assert len(second.boxes) == 0
    assert labels.left_out == ()
    assert labels.summary() == ("2 photos with 2 boxes (yolo) of 2 classes; 1 without any product.")


def test_yolo_of_roboflow_and_its_polygons(tmp_path: Path) -> None:
    """https://roboflow.com/formats/yolov8-pytorch-txt: train/images, train/labels, a list."""
    save_photo(tmp_path / "train/images/a_jpg.rf.1.jpg")
    save_text(tmp_path / "train/labels/a_jpg.rf.1.txt", "0 0.1 0.2 0.5 0.2 0.5 0.8\n")
    save_text(tmp_path / "data.yaml", "train: ../train/images\nnc: 1\nnames: ['can']\n")
    save_text(tmp_path / "README.roboflow.txt", "shelves - v1\n")
    (scene,) = read_scenes(tmp_path).scenes
    assert scene.boxes.corners.tolist() == [[10, 10, 50, 40]]
    (outline,) = scene.outlines
    assert outline is not None
    assert outline.polygons[0].tolist() == [[10, 10], [50, 10], [50, 40]]
    assert scene.split == "train"


def test_yolo_of_cvat(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-yolo/: obj_train_data."""
    save_photo(tmp_path / "obj_train_data/a.jpg")
    save_text(tmp_path / "obj_train_data/a.txt", "1 0.5 0.5 1 1\n")
    save_text(tmp_path / "obj.names", "cat\ndog\n")
    save_text(tmp_path / "obj.data", "classes = 2\nnames = data/obj.names\n")
    save_text(tmp_path / "train.txt", "data/obj_train_data/a.jpg\n")
    labels = read_scenes(tmp_path)
    assert labels.classes == ("cat", "dog")
    assert labels.scenes[0].boxes.corners.tolist() == [[0, 0, 100, 50]]


def test_coco_of_label_studio(tmp_path: Path) -> None:
    """https://labelstud.io/guide/export#COCO: result.json, images, categories from 0."""
    save_photo(tmp_path / "images/62a623a0-1.jpg")
    content = {
        "images": [{"width": 100, "height": 50, "id": 0, "file_name": "images\\/62a623a0-1.jpg"}],
        "categories": [{"id": 0, "name": "Airplane"}, {"id": 1, "name": "Truck"}],
        "annotations": [
            {
                "id": 0,
                "image_id": 0,
                "category_id": 1,
                "segmentation": [],
                "bbox": [12.5, 10, 30, 20.25],
                "ignore": 0,
                "iscrowd": 0,
                "area": 607.5,
            }
        ],
        "info": {"year": 2022, "version": "1.0", "contributor": "Label Studio"},
    }
    save_text(tmp_path / "result.json", json.dumps(content).replace("\\\\/", "/"))
    labels = read_scenes(tmp_path)
    assert labels.classes == ("Airplane", "Truck")
    assert labels.scenes[0].boxes.classes.tolist() == [1]
    assert corners(tmp_path) == {"images/62a623a0-1.jpg": [[12.5, 10, 42.5, 30.25]]}


def test_coco_of_roboflow_has_a_parent_that_is_no_class(tmp_path: Path) -> None:
    """https://roboflow.com/formats/coco-json: a file in the folder of each split."""
    for split in ("train", "valid"):
        save_photo(tmp_path / split / "a.jpg")
        content = {
            "categories": [
                {"id": 0, "name": "shelf", "supercategory": "none"},
                {"id": 1, "name": "can", "supercategory": "shelf"},
            ],
            "images": [image(0, "a.jpg")],
            "annotations": [annotation(0, [0, 0, 10, 10], segmentation=[])],
        }
        save_text(tmp_path / split / "_annotations.coco.json", json.dumps(content))
    labels = read_scenes(tmp_path)
    assert labels.classes == ("can",)
    assert [(scene.name, scene.split) for scene in labels.scenes] == [
        ("train/a.jpg", "train"),
        ("valid/a.jpg", "validation"),
    ]


def test_coco_of_cvat_with_run_lengths_as_numbers(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-coco/: annotations, images."""
    save_photo(tmp_path / "images/a.png", 4, 3)
    rle = {"counts": [4, 2, 6], "size": [3, 4]}  # the second column without its first pixel
    coco_file(
        tmp_path / "annotations/instances_default.json",
        [image(1, "a.png", 4, 3)],
        [annotation(1, [1, 1, 1, 2], segmentation=rle)],
    )
    (scene,) = read_scenes(tmp_path).scenes
    assert scene.has_mask
    assert scene.boxes.corners.tolist() == [[1, 1, 2, 3]]


def test_subsets_of_cvat(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-yolo/: obj_<subset>_data."""
    for subset in ("train", "validation", "test"):
        save_photo(tmp_path / f"obj_{subset}_data/{subset}.jpg")
        save_text(tmp_path / f"obj_{subset}_data/{subset}.txt", "0 0.5 0.5 0.2 0.4\n")
        save_text(tmp_path / f"{subset}.txt", f"data/obj_{subset}_data/{subset}.jpg\n")
    save_text(tmp_path / "obj.data", "classes = 1\ntrain = data/train.txt\nbackup = backup/\n")
    save_text(tmp_path / "obj.names", "can\n")
    assert is_scene_folder(tmp_path)
    labels = read_scenes(tmp_path)
    assert [(scene.name, scene.split) for scene in labels.scenes] == [
        ("obj_test_data/test.jpg", "test"),
        ("obj_train_data/train.jpg", "train"),
        ("obj_validation_data/validation.jpg", "validation"),
    ]
    assert labels.left_out == ()


def test_coco_of_cvat_has_its_photos_in_a_folder_of_the_subset(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-coco/: images/<subset>.

    A box that was turned has the edges that it had before: its photo is not used.
    """
    for name in ("1.jpg", "2.jpg"):
        save_photo(tmp_path / "images/default" / name)
    boxes = [
        annotation(
            number,
            [10.25, 5.5, 20.0, 10.75],
            segmentation=[],
            attributes={"occluded": False, "rotation": rotation},
        )
        for number, rotation in ((1, 0.0), (2, 30.0))
    ]
    coco_file(
        tmp_path / "annotations/instances_default.json",
        [image(1, "1.jpg"), image(2, "2.jpg")],
        boxes,
    )
    assert is_scene_folder(tmp_path)
    assert corners(tmp_path) == {"images/default/1.jpg": [[10.25, 5.5, 30.25, 16.25]]}
    [(name, reason)] = read_scenes(tmp_path).left_out
    assert name == "images/default/2.jpg"
    assert "a box turned by 30 degrees; draw it upright" in reason


def test_names_of_roboflow_for_darknet(tmp_path: Path) -> None:
    """https://roboflow.com/formats/yolo-darknet-txt: a list of names in each split."""
    for split in ("train", "valid"):
        save_photo(tmp_path / split / f"{split}.jpg")
        save_text(tmp_path / split / f"{split}.txt", "0 0.5 0.5 0.2 0.4\n")
        save_text(tmp_path / split / "_darknet.labels", "can\n")
    assert read_scenes(tmp_path).classes == ("can",)


def test_voc_of_cvat_with_masks(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-voc/: masks, and items."""
    save_photo(tmp_path / "JPEGImages/1.jpg")
    attribute = "<attributes><attribute><name>rotation</name><value>{}</value></attribute>"
    text = (
        "<annotation><filename>{}</filename><size><width>100</width><height>50</height><depth/>"
        "</size><object><name>can</name><bndbox><xmin>10.5</xmin><ymin>5.25</ymin><xmax>30.5</xmax>"
        f"<ymax>15.75</ymax></bndbox>{attribute}</attributes></object></annotation>"
    )
    save_text(tmp_path / "Annotations/1.xml", text.format("1.jpg", "0.0"))
    save_text(tmp_path / "ImageSets/Main/default.txt", "1\n")
    save_text(tmp_path / "labelmap.txt", "# label:color_rgb:parts:actions\ncan:250,50,83::\n")
    mask = np.zeros((50, 100, 3), np.uint8)
    mask[5:16, 10:31] = (250, 50, 83)
    for folder in ("SegmentationClass", "SegmentationObject"):
        (tmp_path / folder).mkdir()
        Image.fromarray(mask).save(tmp_path / folder / "1.png")
    assert is_scene_folder(tmp_path)
    assert has_boxes(tmp_path)
    labels = read_scenes(tmp_path)
    assert labels.left_out == ()
    [scene] = labels.scenes
    assert scene.has_mask
    assert scene.boxes.corners.tolist() == [[10.5, 5.25, 30.5, 15.75]]
    save_photo(tmp_path / "JPEGImages/2.jpg")
    save_text(tmp_path / "Annotations/2.xml", text.format("2.jpg", "12.5"))
    [(name, reason)] = read_scenes(tmp_path).left_out
    assert (name, "turned by 12.5 degrees" in reason) == ("JPEGImages/2.jpg", True)


def test_masks_alone_of_cvat(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-smask/: "Segmentation mask"."""
    masks_of_cvat(tmp_path, 3)
    assert is_scene_folder(tmp_path)
    assert not has_boxes(tmp_path)
    labels = read_scenes(tmp_path)
    assert labels.classes == ("milk", "can")
    assert not labels.has_boxes
    assert [(scene.name, scene.mask) for scene in labels.scenes] == [
        (f"JPEGImages/{n}.jpg", tmp_path / f"SegmentationClass/{n}.png") for n in range(3)
    ]
    assert labels.summary() == "3 photos with masks and no boxes, of 2 classes."
    save_photo(tmp_path / "JPEGImages/new.jpg")
    (tmp_path / "JPEGImages/2.jpg").unlink()
    labels = read_scenes(tmp_path)
    assert len(labels.scenes) == 2
    assert labels.left_out == (
        ("JPEGImages/new.jpg", "no mask of its own"),
        ("SegmentationClass/2.png", "a mask of no photo"),
    )
    colours = (tmp_path / "labelmap.txt").read_text()
    save_text(tmp_path / "labelmap.txt", f"{colours}tin:²,0,0::\nno colour\n")
    assert read_scenes(tmp_path).classes == ("milk", "can")
    save_text(tmp_path / "more/labelmap.txt", "background:0,0,0::\ntin:255,0,0::\n")
    with pytest.raises(DataError, match=r"2 files labelmap\.txt with different"):
        read_scenes(tmp_path)


def test_a_mask_is_of_the_photo_of_its_name_and_split_and_of_no_second_one(tmp_path: Path) -> None:
    for name in ("images/train/1.png", "images/valid/1.png", "images/train/2.png"):
        save_photo(tmp_path / name, 4, 4)
    for name in ("masks/train/1.png", "masks/2.png"):
        save_photo(tmp_path / name, 4, 4)
    assert {scene.name: scene.mask for scene in read_scenes(tmp_path).scenes} == {
        "images/train/1.png": tmp_path / "masks/train/1.png",
        "images/train/2.png": tmp_path / "masks/2.png",
    }
    (tmp_path / "masks/train/1.png").rename(tmp_path / "masks/1.png")
    assert [scene.name for scene in read_scenes(tmp_path).scenes] == ["images/train/2.png"]


def test_an_archive_is_to_be_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        archive.writestr("annotations/instances_default.json", "{}")
    with pytest.raises(DataError, match="is a ZIP file, which must be unpacked first"):
        read_scenes(tmp_path / "export.zip")


def test_voc_of_labelimg_and_of_the_challenge(tmp_path: Path) -> None:
    """https://docs.cvat.ai/docs/dataset_management/formats/format-voc/: JPEGImages, Annotations."""
    save_photo(tmp_path / "JPEGImages/a.jpg")
    save_text(
        tmp_path / "Annotations/a.xml",
        """<annotation><folder>JPEGImages</folder><filename>a.jpg</filename>
        <size><width>100</width><height>50</height><depth>3</depth></size>
        <object><name>milk</name><difficult>0</difficult>
        <bndbox><xmin>11</xmin><ymin>2.5</ymin><xmax>30</xmax><ymax>40</ymax></bndbox></object>
        <object><name>can</name>
        <bndbox><xmin>50</xmin><ymin>5</ymin><xmax>70</xmax><ymax>45</ymax></bndbox></object>
        </annotation>""",
    )
    labels = read_scenes(tmp_path)
    assert labels.classes == ("can", "milk")
    assert labels.scenes[0].boxes.classes.tolist() == [1, 0]
    assert corners(tmp_path) == {"JPEGImages/a.jpg": [[11, 2.5, 30, 40], [50, 5, 70, 45]]}


def test_a_name_leads_to_no_other_photo(tmp_path: Path) -> None:
    """Neither to one of another folder of goods, nor out of the folder."""
    save_photo(tmp_path / "data/shop/1.jpg")
    save_photo(tmp_path / "2.jpg")
    coco_file(
        tmp_path / "data/a.json",
        [image(1, "other/1.jpg"), image(2, "../../2.jpg"), image(3, "/home/eve/shop/1.jpg")],
        [],
    )
    labels = read_scenes(tmp_path / "data")
    assert [scene.name for scene in labels.scenes] == ["shop/1.jpg"]
    assert {name for name, _ in labels.left_out} == {"other/1.jpg", "../../2.jpg"}


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({}, "no labels of boxes"),
        ({"labels/a.txt": "", "a.xml": "<annotation/>"}, "Pascal VOC and YOLO"),
        ({"labels/a.txt": "3 .5 .5 .1 .1", "classes.txt": "can\n"}, "class 3, but there are 1"),
        ({"labels/a.txt": "", "data.yaml": "names: {0: a, 2: b}"}, "cannot be understood"),
        ({"labels/a.txt": "", "data.yaml": "names: {0: a, x: b}"}, "cannot be understood"),
        ({"labels/a.txt": "", "data.yaml": "names: " + "[" * 1000}, "cannot be understood"),
        ({"labels/a.txt": "", "classes.txt": "can\n\nmilk\n"}, "empty line between class 0 and"),
        ({"labels/a.txt": "", "classes.txt": "a", "data.yaml": "names: [b]"}, "different names"),
        ({"a.json": '{"images": [], "annotations": [{"image_id": 1}]}'}, "no COCO file"),
        ({"a.json": '{"images": [{}], "annotations": []}'}, "no COCO file"),
        ({"a.json": '{"images": 3, "annotations": {}}'}, "no COCO file"),
        ({"a.json": '{"a":' * 100_000}, "is no JSON file"),
        ({"a.json": '{"images": [' + "9" * 5000 + "]}"}, "is no JSON file"),
    ],
)
def test_a_folder_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, files: dict[str, str], sentence: str
) -> None:
    save_photo(tmp_path / "images/a.jpg")
    for name, text in files.items():
        save_text(tmp_path / name, text)
    with pytest.raises(DataError, match=sentence) as raised:
        read_scenes(tmp_path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_pipe_among_the_labels_is_passed_over(tmp_path: Path) -> None:
    """Reading it would wait for ever."""
    save_photo(tmp_path / "images/a.jpg")
    save_text(tmp_path / "labels/a.txt", "")
    for name in ("labels/b.txt", "c.json", "d.xml", "data.yaml"):
        os.mkfifo(tmp_path / name)
    labels = read_scenes(tmp_path)
    assert len(labels.scenes) == 1
    assert [reason for _, reason in labels.left_out] == ["no plain file"] * 4


def test_names_of_classes_are_as_they_are_written(tmp_path: Path) -> None:
    """YAML itself takes 0123 for the number 83, and No for false."""
    save_photo(tmp_path / "images/a.jpg")
    save_text(tmp_path / "labels/a.txt", "1 0.5 0.5 0.2 0.4\n")
    save_text(tmp_path / "data.yaml", "names:\n  0: 0123\n  1: No\n")
    assert read_scenes(tmp_path).classes == ("0123", "No")


def test_a_file_of_entities_is_never_expanded(tmp_path: Path) -> None:
    save_photo(tmp_path / "a.jpg")
    laughs = '<!DOCTYPE x [<!ENTITY a "ha">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
    )
    save_text(tmp_path / "a.xml", f"{laughs}]><annotation><filename>&j;</filename></annotation>")
    hidden = b'<?xml version="1.0" encoding="cp037"?>' + "<!DOCTYPE x>".encode("cp037")
    (tmp_path / "b.xml").write_bytes(hidden)
    labels = read_scenes(tmp_path)
    assert labels.scenes == ()
    assert [name for name, _ in labels.left_out] == ["a.jpg", "a.xml", "b.xml"]
    assert "DOCTYPE" in labels.left_out[1][1]


def test_no_class_is_taken_from_yolo_without_names(tmp_path: Path) -> None:
    save_photo(tmp_path / "images/a.jpg")
    save_text(tmp_path / "labels/a.txt", "4 0.5 0.5 0.2 0.4\n")
    labels = read_scenes(tmp_path)
    assert labels.classes == ()
    assert labels.scenes[0].boxes.classes.tolist() == [-1]
    assert np.all(labels.scenes[0].boxes.scores == 1)
