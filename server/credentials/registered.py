"""Stores' keys that the SuperLink knows, as the registrar notes them: stores may come before it has
registered all.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from fedshelf.server.credentials.authorizer import key_header
from fedshelf.server.ipc.file_watcher import WatchedFile
from fedshelf.server.ipc.run_mailbox import REGISTRATIONS

REGISTRATIONS_POLL_SECONDS = 0.25  # seconds between two checks of the registrar's notes


class RegisteredKeys:
    """The registrar's notes in Flower's `directory`; keys are the headers that name them."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / REGISTRATIONS
        self._watched = WatchedFile(self._path)
        self._nodes = self._read()
        self._awaited = dict[str, asyncio.Event]()

    async def watch(self) -> None:
        """Check for new notes until cancelled."""
        while True:
            if self._watched.has_changed():
                self._nodes = self._read()
                for key in self._awaited.keys() & self._nodes.keys():
                    self._awaited.pop(key).set()
            await asyncio.sleep(REGISTRATIONS_POLL_SECONDS)

    def node_of(self, key: str) -> int:
        """Return the node that a key is registered for; 0: none."""
        return self._nodes.get(key, 0)

    async def has(self, key: str, seconds: float) -> bool:
        """Return whether the SuperLink knows a key, after a wait of at most `seconds`."""
        if key not in self._nodes:
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._awaited.setdefault(key, asyncio.Event()).wait(), seconds
                )
        return key in self._nodes

    def _read(self) -> dict[str, int]:
        try:
            nodes = json.loads(self._path.read_bytes())["nodes"]
            return {key_header(node["key"]): int(number) for number, node in nodes.items()}
        except (OSError, ValueError):  # a server that is starting
            return {}
