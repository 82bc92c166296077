"""Observer and exceptions of a store's connection to its server."""

from typing import Protocol


class ConnectionObserver(Protocol):
    """Observer of a connection."""

    def on_joined(self) -> None:
        """Note that the server knows this store and may send orders."""

    def on_lost(self, reason: str) -> None:
        """Note that the server stopped answering, or does not answer yet; the connection keeps
        trying.
        """

    def on_restored(self) -> None:
        """Note that the server answers again."""


class UnknownStoreError(Exception):
    """The server does not know this node (any more), because it was started afresh."""


class RunOverError(Exception):
    """The run that a message belongs to has ended."""
