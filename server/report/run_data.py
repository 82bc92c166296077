"""The contents of a run directory, read back: all that a report is made from."""

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedshelf.common.classes.display_names import ProductNames, read_from_run
from fedshelf.common.config import RunConfig
from fedshelf.common.text import printable
from fedshelf.server.results.scenes import EXAMPLES_FILE

Record = Mapping[str, Any]
# of the outcome that names it: one of an earlier outcome may lie there
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class RunData:
    """The files of a run directory as plain values; a missing file reads as empty.

    Attributes:
        directory:  the run directory
        history:    one record per round, in order
        summary:    the outcome, with the results of all stores; empty while the run goes on or
            after it
            was killed
        config:     settings by section, {"train": {"lr": 0.05, ...}, ...}
        partition:  {"classes": [C names], "stores": {name: [C image counts]}}, or None
        evaluation: each store's results in full, and the calibration of the model
        names:      product names of the classes that have one
        test_scenes: photos of scenes that the server tests on (`server.results.scenes`), or None
    """

    directory: Path
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    config: dict[str, dict[str, Any]]
    partition: dict[str, Any] | None
    evaluation: dict[str, Any]
    names: ProductNames
    test_scenes: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        """The run's name: as configured, else its directory's."""
        return printable(self.config.get("run", {}).get("name") or self.directory.resolve().name)

    @property
    def per_store(self) -> dict[str, dict[str, Any]]:
        """The final results by store, else those of the last validation, else none."""
        if results := self.summary.get("per_store"):
            return dict(results)
        validations = [record["validation"] for record in self.history if record.get("validation")]
        return dict(validations[-1].get("stores") or {}) if validations else {}


def read_run(directory: Path) -> RunData:
    """Read a run directory.

    Raises:
        OSError: a file cannot be read.
        ValueError, FedshelfError: a file is damaged.
    """
    config = directory / "config.toml"
    summary = _read_json(directory / "summary.json") or {}
    if summary.get("per_store_file"):
        from fedshelf.server.results import per_store  # late: it imports torch

        summary["per_store"] = per_store.read(directory / per_store.PER_STORE_FILE)
    return RunData(
        directory=directory,
        history=_read_lines(directory / "history.jsonl"),
        summary=summary,
        config=_sections(config) if config.exists() else {},
        partition=_read_json(directory / "partition.json"),
        evaluation=(
            (_read_json(directory / EVALUATION_FILE) or {})
            if summary.get("evaluation_file")
            else {}
        ),
        names=read_from_run(directory),
        test_scenes=(_read_json(directory / EXAMPLES_FILE) if summary.get("scenes_file") else None),
    )


def _sections(path: Path) -> dict[str, Any]:
    """Return the settings by section, without the list of settings that only this run has."""
    config = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        section: values for section, values in config.items() if section in RunConfig.model_fields
    }


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the records of a file; half a last line, which a killed run may leave, is skipped."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text(encoding="utf-8", errors="replace").rpartition("\n")
    return [json.loads(line) for line in complete.split("\n") if line.strip()]
