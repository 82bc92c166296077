"""Overlap of two phases: work for the next phase that was done during the present one."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """One worker's work on one job.

    Attributes:
        began, ended: seconds of one clock
        is_ahead: whether it is for the next phase
    """

    began: float
    ended: float
    is_ahead: bool


def seconds_ahead(begin: float, end: float, spans: Iterable[Span]) -> float:
    """Return the seconds between `begin` and `end` that count for the next phase.

    Their share of that time is the next phase's share of the workers' time, so both phases' seconds
    still add up to the time that passed, for any number of workers. Without work the result is 0.
    """
    spent = {True: 0.0, False: 0.0}
    for span in spans:
        spent[span.is_ahead] += max(min(span.ended, end) - max(span.began, begin), 0.0)
    whole = sum(spent.values())
    return (end - begin) * spent[True] / whole if whole else 0.0


def spans_of_stores(
    begin: float,
    end: float,
    judging: Mapping[str, float | None],
    training: Collection[str],
    usual: Mapping[str, float],
) -> list[Span]:
    """Return the work of real stores and their server during an evaluation.

    It is known as far as the server can tell.

    Once all stores have judged, the server judges on its own images.

    Args:
        begin, end: start and end of the evaluation
        judging: the stores asked to judge, with the time at which the answer was there; None: not
            yet
        training: the stores that train the next round as soon as they have judged
        usual: seconds that a store trained in its last round, after which it is idle; a store
            without any counts until the end
    """
    answered = {store: end if at is None else at for store, at in judging.items()}
    spans = [Span(begin, at, is_ahead=False) for at in answered.values()]
    for store in training:
        began = answered.get(store, begin)
        spans.append(Span(began, min(end, began + usual.get(store, math.inf)), is_ahead=True))
    return [*spans, Span(max(answered.values(), default=begin), end, is_ahead=False)]
