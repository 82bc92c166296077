"""CVAT for images 1.1: XML with a tag for each photo.

Source: https://docs.cvat.ai/docs/other/xml_format/ (`image`, `tag`, `source`), and
https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/ (tags of images in exports).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from fedshelf.common.errors import DataError
from fedshelf.common.images.decoding.header import upright_size
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.system.documents import read_xml
from fedshelf.common.system.files import write_text

FILE = "cvat.xml"

# characters that XML 1.0 has no way to write (https://www.w3.org/TR/xml/#charsets)
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(folder: Path, guesses: Sequence[Guess], classes: Sequence[str]) -> list[Path]:
    """Write `cvat.xml` and return it.

    Args:
        folder: of the file
        guesses: photos that can be read
        classes: the labels of the task
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(guesses))
    ElementTree.SubElement(task, "mode").text = "annotation"
    labels = ElementTree.SubElement(task, "labels")
    for name in classes:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "tag"
        ElementTree.SubElement(label, "attributes")
    for number, guess in enumerate(guesses):
        width, height = upright_size(guess.path)
        image = ElementTree.SubElement(
            root,
            "image",
            id=str(number),
            name=_NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", guess.name),
            width=str(width),
            height=str(height),
        )
        if guess.verdict == "sure":
            ElementTree.SubElement(image, "tag", label=guess.label, source="auto")
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    write_text(folder / FILE, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')
    return [folder / FILE]


def read(path: Path) -> list[NamedLabels]:
    """Return the photos of an export with the labels of their tags and shapes.

    Raises:
        DataError: it is no such file
    """
    root = read_xml(path)
    images = root.findall("image")
    if root.tag != "annotations" or not images or any("name" not in one.attrib for one in images):
        raise DataError(
            f"{path} has no photos of CVAT; expected annotations of images: choose the export"
            " format CVAT for images 1.1."
        )
    return [
        NamedLabels(
            image.attrib["name"],
            frozenset(part.attrib["label"] for part in image if "label" in part.attrib),
        )
        for image in images
    ]
