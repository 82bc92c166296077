"""Pascal VOC: an XML file for each photo.

    JPEGImages/1.jpg   Annotations/1.xml      or both in one folder

A box (`bndbox`) has its edges in pixels. The challenge itself counts pixels from 1, the tools of
today mostly from 0, and no file says which: edges are taken as they are, which is off by one pixel
at most. A photo whose file has no `object` has no products. An object with `difficult` 1 is neither
asked for nor wrong.
Sources: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf, sections 4 and 11;
https://docs.cvat.ai/docs/dataset_management/formats/format-voc/.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from fedshelf.common.errors import DataError
from fedshelf.common.scenes.formats.folder_files import (
    MAX_LABEL_BYTES,
    NO_PHOTO,
    NOT_LABELLED,
    FolderFiles,
)
from fedshelf.common.scenes.formats.labelled_scene import UNNAMED, SceneLabels
from fedshelf.common.scenes.formats.placing import place
from fedshelf.common.scenes.formats.raw_labels import RawBox, RawScene, check_upright, number
from fedshelf.common.system.documents import read_xml

_EDGES = ("xmin", "ymin", "xmax", "ymax")


def label_files(files: FolderFiles) -> dict[str, Path]:
    """Return the files that may be labels: all XML files."""
    return {name: path for name, path in files.others.items() if name.lower().endswith(".xml")}


def read(files: FolderFiles) -> SceneLabels:
    """Return the labels of a folder."""
    scenes: dict[str, RawScene] = {}
    left_out = list(files.left_out)
    names: dict[str, int] = {}
    for name, path in sorted(label_files(files).items()):
        try:
            root = _annotation(path)
        except DataError as error:
            left_out.append((name, str(error).removeprefix(f"{path} ").rstrip(".")))
            continue
        found = _photos(root, name, files)
        if len(found) != 1:
            left_out.append((name, f"one of {len(found)} photos" if found else NO_PHOTO))
        elif found[0] in scenes:
            scenes[found[0]].reason = "labelled twice"
        else:
            scenes[found[0]] = _scene(root, files, found[0], names)
    left_out += [(name, NOT_LABELLED) for name in files.photos if name not in scenes]
    return place("voc", list(scenes.values()), _sorted_names(names, scenes), left_out, Counter())


def _annotation(path: Path) -> ElementTree.Element:
    """Return the root of a label file. Raises DataError."""
    if path.stat().st_size > MAX_LABEL_BYTES:
        raise DataError(f"{path} is larger than {MAX_LABEL_BYTES >> 20} MiB.")
    root = read_xml(path)
    if root.tag != "annotation":
        raise DataError(f"{path} is no Pascal VOC: it begins with {root.tag[:20]!r}.")
    return root


def _photos(root: ElementTree.Element, name: str, files: FolderFiles) -> list[str]:
    """Return the names of the photos that a label file may be of."""
    folder = PurePosixPath(name).parent.as_posix()
    beside = "" if folder == "." else folder
    found = files.find(root.findtext("filename") or "", beside)
    if not found:
        same = files.by_stem.get(PurePosixPath(name).stem, [])
        near = [one for one in same if PurePosixPath(one).parent.as_posix() == folder]
        return near or same
    return [photo.name for photo in found]


def _scene(
    root: ElementTree.Element, files: FolderFiles, photo: str, names: dict[str, int]
) -> RawScene:
    """Return the labels of a file; `names` gets the names of its classes."""
    scene = RawScene(files.photos[photo], None)
    try:
        scene.size = (
            number(root.findtext("size/width") or ""),
            number(root.findtext("size/height") or ""),
        )
        for one in root.findall("object"):
            for attribute in one.findall("attributes/attribute"):
                if attribute.findtext("name") == "rotation":
                    check_upright(attribute.findtext("value") or "0")
            edges = [number(one.findtext(f"bndbox/{edge}") or "") for edge in _EDGES]
            name = (one.findtext("name") or "").strip()
            label = names.setdefault(name, len(names)) if name else -1
            corners = (edges[0], edges[1], edges[2], edges[3])
            scene.boxes.append(RawBox(label, corners, is_difficult=_is_difficult(one)))
    except ValueError as error:
        scene.reason = f"labels that cannot be understood: {str(error)[:80]}"
    return scene


def _is_difficult(one: ElementTree.Element) -> bool:
    """Return whether an object is marked as difficult. Raises ValueError."""
    mark = (one.findtext("difficult") or "0").strip()
    if mark not in ("0", "1"):
        raise ValueError(f"difficult is {mark[:20]!r}, neither 0 nor 1")
    return mark == "1"


def _sorted_names(names: dict[str, int], scenes: dict[str, RawScene]) -> tuple[str, ...]:
    """Return the names of classes in order, and give the boxes their places among them."""
    classes = tuple(sorted(names))
    if set(classes) <= {UNNAMED}:
        classes = ()
    new = {old: classes.index(name) if classes else -1 for name, old in names.items()}
    for scene in scenes.values():
        scene.boxes[:] = [replace(box, label=new.get(box.label, -1)) for box in scene.boxes]
    return classes
