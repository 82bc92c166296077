"""Renaming of the classes of a finished run, without any training or evaluation."""

import json
from pathlib import Path

from fedshelf.common.classes.display_names import ProductNames, read_from_run, write_to_run
from fedshelf.common.model_files import DESCRIPTION_FILE
from fedshelf.common.system.files import write_json
from fedshelf.server.results.model_export import with_names


def rename(directory: Path, names: ProductNames) -> bool:
    """Put the names into the run's directory, its `model.json`, pictures and report; return whether
    they changed.

    Raises OSError, and ValueError or FedshelfError for a damaged file.
    """
    from fedshelf.server.report.page import write_report
    from fedshelf.server.report.png import write_pictures  # late: matplotlib

    if names == read_from_run(directory):
        return False
    write_to_run(directory, names)
    path = directory / DESCRIPTION_FILE
    write_json(path, with_names(json.loads(path.read_text(encoding="utf-8")), names))
    write_pictures(directory)
    write_report(directory)
    return True
