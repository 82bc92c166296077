"""Renaming of the classes of a finished run, without any training or evaluation."""

import json
from pathlib import Path

from fedshelf.common.classes.display_names import ProductNames, record, recorded
from fedshelf.common.model_files import DESCRIPTION
from fedshelf.common.system.files import write_json
from fedshelf.server.results.model_export import with_names


def rename(directory: Path, names: ProductNames) -> bool:
    """Put the names into the run's directory, its `model.json`, pictures and report; return whether
    they changed.

    Raises OSError, and ValueError or FedshelfError for a damaged file.
    """
    from fedshelf.server.report.page import write_report
    from fedshelf.server.report.png import write_pictures  # late: matplotlib

    if names == recorded(directory):
        return False
    record(directory, names)
    path = directory / DESCRIPTION
    write_json(path, with_names(json.loads(path.read_text(encoding="utf-8")), names))
    write_pictures(directory)
    write_report(directory)
    return True
