"""Failures as they leave a store: a code and an identifier, never text, a path or a file name."""

import errno

from fedshelf.common.errors import ConfigError, DataError, MessageError
from fedshelf.common.protocol.failures import Failure, FailureCode, make_failure


class StoreError(DataError):
    """A store cannot carry out an order.

    `code`, `detail` and `retry_after` leave the store; the message stays there.

    Args:
        retry_after: Seconds for which it is of no use to ask again.
    """

    def __init__(
        self, code: FailureCode, message: str, detail: str = "", retry_after: int = 0
    ) -> None:
        super().__init__(message)
        self.code: FailureCode = code
        self.detail = detail
        self.retry_after = retry_after


def failure_of(store: str, error: Exception) -> Failure:
    """Return the part of `error` that may leave the store: a StoreError's fields, else a code, or
    the error's class.
    """
    if isinstance(error, StoreError):
        return make_failure(store, error.code, error.detail, error.retry_after)
    code = _code(error)
    return make_failure(store, code, type(error).__name__ if code == "error" else "")


def _code(error: Exception) -> FailureCode:
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, MessageError):
        return "invalid"
    if isinstance(error, ConfigError):
        return "refused"
    # torch's, on any device
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out-of-memory"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk-full"
    return "error"
