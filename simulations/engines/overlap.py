"""Time that two phases shared: work for the next phase that was done while the present one went on."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One worker's work on one job. began, ended: seconds of one clock; is_ahead: whether it is for the next phase."""

    began: float
    ended: float
    is_ahead: bool


def seconds_ahead(begin: float, end: float, spans: Iterable[Span]) -> float:
    """Return how much of the time from `begin` to `end` goes to the next phase: as much of it as of the workers' time.

    So both phases' seconds still add up to the time that passed, whatever the number of workers. Without work: 0.
    """
    spent = {True: 0.0, False: 0.0}
    for span in spans:
        spent[span.is_ahead] += max(min(span.ended, end) - max(span.began, begin), 0.0)
    whole = sum(spent.values())
    return (end - begin) * spent[True] / whole if whole else 0.0
