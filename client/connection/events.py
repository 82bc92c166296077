"""What can happen on the line to a server, to those who are told and those who go on."""

from typing import Protocol


class ConnectionObserver(Protocol):
    """Who is told what happens on the line."""

    def joined(self) -> None:
        """The server knows this store and may send orders."""

    def lost(self, reason: str) -> None:
        """The server stopped answering, or does not answer yet; the line keeps trying."""

    def found(self) -> None:
        """The server answers again."""


class UnknownStoreError(Exception):
    """The server does not know this node (any more): it was started afresh."""


class RunOverError(Exception):
    """The run that a message belongs to has ended."""
