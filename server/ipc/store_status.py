"""What the server's app knows of each store just now, in a file for those who watch: `stores.json`."""

import time
from pathlib import Path
from typing import Any, Literal

from fedshelf.common.system.files import write_json
from fedshelf.server.results.jsonl_tail import read_json

State = Literal["ready", "training", "evaluating", "away", "refused", "resting", "set-aside"]
_HERE = frozenset({"ready", "training", "evaluating", "resting"})
MIN_WRITE_INTERVAL_SECONDS = 0.5  # seconds between two writings, so that a thousand stores that answer at once are one


class StoreStatusFile:
    """The stores' states by name, written to `path` as they change; nothing is written if that is None."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._stores = path, dict[str, dict[str, Any]]()
        self._written, self._is_new = 0.0, False

    @classmethod
    def of_earlier_run(cls, path: Path) -> "StoreStatusFile":
        """Return the board at `path` with the stores that a run knew, none of them here since that was written."""
        board, known = cls(path), read_json(path)
        gone = {"state": "away", "why": "not connected", "since": path.stat().st_mtime} if known else {}
        board._stores = {store: told | gone if told["state"] in _HERE else told for store, told in known.items()}
        return board

    def put(self, store: str, state: State, why: str = "", **facts: int | str) -> None:
        """A store is in this state. facts: images, round, version; what is not given stays as it was."""
        before = self._stores.get(store, {"images": 0, "round": 0, "version": ""})
        if (before.get("state"), before.get("why")) != (state, why) or any(before[key] != facts[key] for key in facts):
            self._stores[store] = before | {"state": state, "since": time.time(), "why": why, **facts}
            self._is_new = True
        self.flush()

    def explain(self, store: str, why: str) -> None:
        """Say more of the state that a store is in; it is in it since when it was."""
        if (known := self._stores.get(store)) is not None and known["why"] != why:
            self._stores[store] = known | {"why": why}
            self._is_new = True
        self.flush()

    def flush(self, *, at_once: bool = False) -> None:
        """Write what is new, if the last writing was a while ago. What people look at must not stop a run: a full
        disk is no error here.
        """
        if (
            self._path is None
            or not self._is_new
            or (not at_once and time.monotonic() - self._written < MIN_WRITE_INTERVAL_SECONDS)
        ):
            return
        self._written, self._is_new = time.monotonic(), False
        try:
            write_json(self._path, self._stores)
        except OSError:
            return
