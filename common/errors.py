"""Errors that are no fault of the code, as one small tree.

Every error here is shown to a person as one sentence: what was got, what was expected, what to do.
The command line turns it into `exit_code`; a programmer's mistake is an assertion instead.
"""

from fedshelf.common.text import sanitize


class FedshelfError(Exception):
    """The base of all errors that a user can cause or mend."""

    exit_code = 1


class ConfigError(FedshelfError):
    """A flag, a TOML key or a run-config key that cannot be used as given."""

    exit_code = 2


class DataError(FedshelfError):
    """Images, folders or data sets that are missing or unusable."""

    exit_code = 3


class RunError(FedshelfError):
    """A run directory or checkpoint that cannot be used, or a run that cannot go on."""

    exit_code = 4


class StoppedError(RunError):
    """A run that was asked to end while it waited for stores; all finished rounds are kept."""

    exit_code = 130


class StoresError(FedshelfError):
    """Too few stores joined or answered."""

    exit_code = 5


class NetworkError(FedshelfError):
    """A port, a server or a store that cannot be reached or used."""

    exit_code = 6


class RefusedError(NetworkError):
    """A server that does not let this store in, however often it tries."""

    exit_code = 7


class MessageError(NetworkError):
    """A message without the required content of an order or a result.

    Its sentence quotes no control characters, whatever the other side sent.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sanitize(sentence))
