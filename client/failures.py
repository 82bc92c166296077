"""What a store says when it cannot do as asked: a code and plain words, never a path or a file name."""

from common.errors import ConfigError, DataError, MessageError
from common.orders import Failure, FailureCode

_REASONS: dict[FailureCode, str] = {
    "data": "the store's images cannot be used; its own log says why",
    "refused": "the store cannot work with this configuration; its own log says why",
    "invalid": "the order could not be understood; both sides need the same version of Fedshelf",
    "out-of-memory": "the store's device ran out of memory; a smaller train.batch_size may help",
}


class StoreError(DataError):
    """A store cannot do as asked. `code` and `reason` leave the store; the message stays there."""

    def __init__(self, code: FailureCode, reason: str, message: str = "") -> None:
        super().__init__(message or reason)
        self.code: FailureCode = code
        self.reason = reason


def failure_of(store: str, error: Exception) -> Failure:
    """What may leave the store of `error`: the code and reason of a StoreError, else words of ours."""
    if isinstance(error, StoreError):
        return Failure(store, error.code, error.reason)
    code = _code(error)
    return Failure(
        store, code, _REASONS.get(code, f"an unexpected {type(error).__name__}; the store's own log says more")
    )


def _code(error: Exception) -> FailureCode:
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, MessageError):
        return "invalid"
    if isinstance(error, ConfigError):
        return "refused"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's, on any device
        return "out-of-memory"
    return "error"
