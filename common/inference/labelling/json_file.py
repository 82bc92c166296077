"""JSON files of labelling tools."""

import json
from pathlib import Path
from typing import Any

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
