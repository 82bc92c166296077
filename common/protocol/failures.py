"""Failures of stores, in plain words.

Between store and server only a code and an identifier travel, so no text of a store, such as a
path, reaches the server; the words are made here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

# the form of a detail: no text, path or file name
DETAIL_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
MAX_RETRY_AFTER_SECONDS = 7 * 86_400  # seconds

DIVERGED = (
    "has weights that are not finite: its training diverged; a new run may lower train.lr, or set"
    " train.clip_norm"
)

FailureCode = Literal[
    "data", "unknown-class", "no-images", "out-of-memory", "disk-full", "policy", "refused",
    "invalid", "crashed", "error", "withheld", "secure-sum",
    "diverged", "timeout", "unavailable",
]  # fmt: skip


@dataclass(frozen=True)
class Failure:
    """A store's failure to answer an order.

    reason: plain words for the reader; a store sends none, `make_failure` makes them from code and
        detail
    detail: an identifier that tells more: a rule of the store's policy, the class of an exception
    retry_after: seconds for which it is of no use to ask the store again
    """

    store: str
    code: FailureCode
    reason: str
    detail: str = ""
    retry_after: int = 0


_REASONS: dict[FailureCode, str] = {
    "data": "its images cannot be used; its own log says why",
    "unknown-class": (
        "it has photos of a class that the run does not have; its own log names the class"
    ),
    "no-images": "it has no training images",
    "out-of-memory": "its device ran out of memory even with the smallest batches",
    "disk-full": "its disk is full",
    "policy": "its policy does not allow it",
    "refused": "it cannot work with this configuration; its own log says why",
    "invalid": "it could not understand the order; both sides need the same version of Fedshelf",
    "crashed": "its worker process died, twice with the same order",
    "error": "something unexpected happened; its own log says more",
    "withheld": "its policy withholds the reason, which may depend on photos; its own log says it",
    "secure-sum": "it does not take this step of a secure sum",
    "diverged": DIVERGED,
    "timeout": "no answer in time",
    "unavailable": "not connected",
}


def make_failure(store: str, code: FailureCode, detail: str = "", retry_after: int = 0) -> Failure:
    """Return a failure of `store` in the words for its code, followed by the detail in brackets.

    Args:
        store: its name
        code: the kind of failure
        detail: an identifier that matches DETAIL_PATTERN, or ""
        retry_after: seconds for which it is of no use to ask the store again
    """
    assert not detail or DETAIL_PATTERN.fullmatch(detail), detail
    reason = f"{_REASONS[code]} ({detail})" if detail else _REASONS[code]
    return Failure(store, code, reason, detail, retry_after)


def format_failures(failures: Mapping[str, Failure]) -> str:
    """Return failures by store in one line: "oslo: its disk is full; rome: not connected"."""
    return (
        "; ".join(f"{store}: {failure.reason}" for store, failure in failures.items())
        or "no store was asked"
    )
