"""Label Studio: tasks with predictions, which a person confirms or corrects.

Photos are addressed as Label Studio's local storage does, `/data/local-files/?d=shop/boot/1.jpg`,
relative to the folder in LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT.
Sources: https://labelstud.io/guide/predictions (predictions, `score`),
https://labelstud.io/tags/choices (`<Choices>`), https://labelstud.io/guide/storage#Local-storage,
https://labelstud.io/guide/export (the JSON export: a list of tasks with `annotations`).
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

from fedshelf.common.errors import DataError
from fedshelf.common.inference.labelling.guesses import Guess, NamedLabels
from fedshelf.common.system.documents import read_json
from fedshelf.common.system.files import write_json, write_text

FILE = "label-studio.json"
CONFIG_FILE = "label-studio-config.xml"

_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # put before the names of uploaded files


def write(folder: Path, guesses: Sequence[Guess], classes: Sequence[str]) -> list[Path]:
    """Write the tasks, and the labelling configuration that their predictions need; return both.

    Args:
        folder: of the files
        guesses: the photos
        classes: the choices
    """
    write_json(folder / FILE, [_task(guess) for guess in guesses])
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    choices = ElementTree.SubElement(view, "Choices", name="label", toName="image", choice="single")
    for name in classes:
        ElementTree.SubElement(choices, "Choice", value=name)
    ElementTree.indent(view)
    write_text(folder / CONFIG_FILE, ElementTree.tostring(view, encoding="unicode") + "\n")
    return [folder / FILE, folder / CONFIG_FILE]


def read(path: Path) -> list[NamedLabels]:
    """Return the photos of a JSON export with the choices of the people who labelled them.

    Predictions do not count: nobody confirmed them. Neither do annotations that were skipped.

    Raises:
        DataError: it is no such file
    """
    value = read_json(path)
    try:
        return [
            NamedLabels(_photo(task), frozenset(_choices(task.get("annotations", []))))
            for task in value
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(
            f"{path} is no JSON export of Label Studio ({type(error).__name__}: {error}); expected"
            " a list of tasks with data and annotations: choose the export format JSON."
        ) from error


def _task(guess: Guess) -> dict[str, Any]:
    data = {"image": "/data/local-files/?d=" + quote(guess.name)}
    if guess.verdict == "unknown":
        return {"data": data}
    choice = {
        "from_name": "label",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [guess.label]},
    }
    prediction = {
        "model_version": "fedshelf",
        "score": round(guess.probability, 6),
        "result": [choice],
    }
    return {"data": data, "predictions": [prediction]}


def _photo(task: dict[str, Any]) -> str:
    """Return the name of a task's photo, from its address."""
    data = task["data"]
    address = urlsplit(str(data["image"] if "image" in data else next(iter(data.values()))))
    if address.path.startswith("/data/local-files/"):
        return parse_qs(address.query)["d"][0]
    path = unquote(address.path)
    if path.startswith("/data/upload/"):
        return _UPLOADED.sub("", path.rsplit("/", 1)[-1])
    return path


def _choices(annotations: Sequence[dict[str, Any]]) -> Iterator[str]:
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            continue
        for item in annotation["result"]:
            if item["type"] == "choices":
                yield from map(str, item["value"]["choices"])
