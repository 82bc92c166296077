"""Record of the models that stores of a run have, so that one can be recalled.

A model is recalled if its round was taken back.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from fedshelf.server.results.jsonl_tail import read_json

if TYPE_CHECKING:
    from fedshelf.server.results.run_directory import (
        RunDirectory,  # loads pydantic, which a command that only shows a run does not need
    )

GIVEN_FILE = "given.json"
MAX_REMEMBERED_MODELS = 20  # the latest models that are kept on record


@dataclass(frozen=True)
class GivenModel:
    """A model that stores were given.

    Attributes:
        sha256: SHA-256 of its file
        round: the round that made it
        line: SHA-256 of that round's line in the history, as it was then
        stores: names of the stores that have it, as far as they have said
        is_taken_back: whether its round was taken back since
    """

    sha256: str
    round: int
    line: str
    stores: tuple[str, ...]
    is_taken_back: bool = False


class GivenModels:
    """The models given to the stores of the run in `directory`."""

    def __init__(self, directory: "RunDirectory") -> None:
        self._directory = directory

    def note(self, sha256: str, round_number: int, stores: Collection[str]) -> None:
        """Record that `stores` have a model now, in place of their earlier models of this run.

        Raises OSError.
        """
        lines = {record["round"]: _digest(record) for record in self._directory.history()}
        before = [given for given in self._known() if given.sha256 != sha256]
        others = [
            replace(given, stores=tuple(sorted({*given.stores} - {*stores}))) for given in before
        ]
        self._write(
            [
                *others,
                GivenModel(
                    sha256, round_number, lines.get(round_number, ""), tuple(sorted(stores))
                ),
            ][-MAX_REMEMBERED_MODELS:]
        )

    def taken_back(self) -> list[GivenModel]:
        """Return the models whose rounds were taken back, and record that they were.

        Raises OSError.
        """
        known = self._known()
        if any(not given.is_taken_back for given in known) and (
            gone := self._directory.taken_back()
        ):
            lines = {_digest(record) for record in gone} - {
                _digest(record) for record in self._directory.history()
            }
            found = [
                replace(given, is_taken_back=given.is_taken_back or given.line in lines)
                for given in known
            ]
            if found != known:
                self._write(found)
            known = found
        return [given for given in known if given.is_taken_back]

    def _known(self) -> list[GivenModel]:
        entries = read_json(self._directory.path / GIVEN_FILE).get("models", [])
        return [GivenModel(**{**entry, "stores": tuple(entry["stores"])}) for entry in entries]

    def _write(self, models: list[GivenModel]) -> None:
        self._directory.write(GIVEN_FILE, {"models": [asdict(given) for given in models]})


def still_there(models: Collection[GivenModel]) -> Mapping[str, int]:
    """Return {store: round of the model} for the stores that still have one of these models."""
    return dict(sorted((store, given.round) for given in models for store in given.stores))


def spoilt_at(record: Mapping[str, Any]) -> dict[str, int]:
    """Return {store: round} for the recalled models of a `GIVEN_FILE`.

    Commands that only show a run use it.
    """
    recalled = [model for model in record.get("models", []) if model.get("is_taken_back")]
    return dict(sorted((store, model["round"]) for model in recalled for store in model["stores"]))


def spoilt_words(spoilt: Mapping[str, int]) -> str:
    """Return a sentence on the stores that have a recalled model; empty if none has."""
    if not spoilt:
        return ""
    named = ", ".join(
        f"{store} (of round {round_number})" for store, round_number in spoilt.items()
    )
    return (
        f"A model that was taken back is still at {named}; `flower-server deliver RUN` puts another"
        " in its place."
    )


def _digest(record: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
