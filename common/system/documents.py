"""JSON and XML files of other programs, such as labelling tools."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from fedshelf.common.errors import DataError


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, in UTF-8 with or without a byte-order mark.

    Raises:
        DataError: it cannot be read, or is no JSON
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is no JSON file ({type(error).__name__}); export it once more."
        ) from error


def read_xml(path: Path) -> ElementTree.Element:
    """Return the root of an XML file, in UTF-8 with or without a byte-order mark.

    A file with definitions of its own is refused: entities could grow without end, or name other
    files. No encoding but UTF-8 is read, whatever the file says, so none can hide a definition.

    Raises:
        DataError: it cannot be read, is no XML, or has definitions
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"Cannot read {path}: {error.strerror}.") from error
    except ValueError as error:
        raise DataError(f"{path} is not in UTF-8; export it once more.") from error
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(
            f"{path} has definitions of its own (DOCTYPE), which labelling tools never write."
        )
    try:
        parser = ElementTree.XMLParser(encoding="utf-8")
        return ElementTree.fromstring(text.encode(), parser)
    except ElementTree.ParseError as error:
        raise DataError(f"{path} is damaged XML ({error}); export it once more.") from error
