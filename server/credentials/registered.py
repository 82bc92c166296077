"""Stores' keys that the SuperLink knows, as the registrar notes them.

Stores may come before the registrar has registered all of them.
"""

import asyncio
import json
from contextlib import suppress
from pathlib import Path

from fedshelf.server.credentials.authorizer import key_header
from fedshelf.server.ipc.file_watcher import WatchedFile
from fedshelf.server.ipc.run_mailbox import REGISTRATIONS

REGISTRATIONS_POLL_SECONDS = 0.25


class RegisteredKeys:
    """The registrar's notes; keys are the headers that name them.

    Args:
        directory: folder of Flower's files in the run directory
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / REGISTRATIONS
        self._file_watch = WatchedFile(self._path)
        self._nodes = self._read()
        self._key_events = dict[str, asyncio.Event]()

    async def watch(self) -> None:
        """Check for new notes until cancelled."""
        while True:
            if self._file_watch.has_changed():
                self._nodes = self._read()
                for key in self._key_events.keys() & self._nodes.keys():
                    self._key_events.pop(key).set()
            await asyncio.sleep(REGISTRATIONS_POLL_SECONDS)

    def node_of(self, key: str) -> int:
        """Return the id of the node that a key is registered for; 0: none."""
        return self._nodes.get(key, 0)

    async def wait_for(self, key: str, seconds: float) -> bool:
        """Wait until the SuperLink knows a key.

        Args:
            key:     the header that names the key
            seconds: longest wait

        Returns:
            True if it is known.
        """
        if key not in self._nodes:
            with suppress(TimeoutError):
                await asyncio.wait_for(
                    self._key_events.setdefault(key, asyncio.Event()).wait(), seconds
                )
        return key in self._nodes

    def _read(self) -> dict[str, int]:
        try:
            nodes = json.loads(self._path.read_bytes())["nodes"]
            return {key_header(node["key"]): int(node_id) for node_id, node in nodes.items()}
        except (OSError, ValueError):  # a server that is starting
            return {}
