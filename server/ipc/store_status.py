"""The present state of each store as the app knows it, in `stores.json` for viewers."""

import time
from pathlib import Path
from typing import Any, Literal

from fedshelf.common.system.files import write_json
from fedshelf.server.results.jsonl_tail import read_json

State = Literal["ready", "training", "evaluating", "away", "refused", "resting", "set-aside"]
_HERE = frozenset({"ready", "training", "evaluating", "resting"})
# least seconds between two writes: a thousand answers at once take one
MIN_WRITE_INTERVAL_SECONDS = 0.5


class StoreStatusFile:
    """The stores' states by name, written to `path` as they change; None: nothing is written."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stores = dict[str, dict[str, Any]]()
        self._written = 0.0
        self._is_new = False

    @classmethod
    def of_earlier_run(cls, path: Path) -> "StoreStatusFile":
        """Return the store status file at `path` with the stores of an earlier run.

        Connected stores become "away" since the file was last written.
        """
        store_status = cls(path)
        known = read_json(path)
        gone = (
            {"state": "away", "why": "not connected", "since": path.stat().st_mtime}
            if known
            else {}
        )
        store_status._stores = {
            store: status | gone if status["state"] in _HERE else status
            for store, status in known.items()
        }
        return store_status

    def put(self, store: str, state: State, why: str = "", **facts: int | str) -> None:
        """Set the state of a store.

        facts: images, round, version; a fact that is not given stays as it was
        """
        before = self._stores.get(store, {"images": 0, "round": 0, "version": ""})
        if (before.get("state"), before.get("why")) != (state, why) or any(
            before[key] != facts[key] for key in facts
        ):
            self._stores[store] = before | {
                "state": state,
                "since": time.time(),
                "why": why,
                **facts,
            }
            self._is_new = True
        self.flush()

    def explain(self, store: str, why: str) -> None:
        """Change the words about a store's state.

        The time since which it is in that state stays.
        """
        if (known := self._stores.get(store)) is not None and known["why"] != why:
            self._stores[store] = known | {"why": why}
            self._is_new = True
        self.flush()

    def flush(self, *, at_once: bool = False) -> None:
        """Write the new states, if the last write was long enough ago.

        This file is only for viewers and must not stop a run: a full disk is no error here.
        """
        if (
            self._path is None
            or not self._is_new
            or (not at_once and time.monotonic() - self._written < MIN_WRITE_INTERVAL_SECONDS)
        ):
            return
        self._written = time.monotonic()
        self._is_new = False
        try:
            write_json(self._path, self._stores)
        except OSError:
            return
