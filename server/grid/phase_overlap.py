"""Time that two phases shared: work for the next phase that was done while the present one went on."""

import math
from collections.abc import Collection, Iterable, Mapping
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


def spans_of_stores(
    begin: float,
    end: float,
    judging: Mapping[str, float | None],
    training: Collection[str],
    usual: Mapping[str, float],
) -> list[Span]:
    """The work of real stores and their server from `begin` to `end` of an evaluation, as the server can tell it.

    judging:  the stores asked to judge, with the time at which the answer was there; None: not yet
    training: the stores that train the next round as soon as they have judged
    usual:    seconds for which a store trained in its last round, after which it is idle; of a store without any, all
              the time counts

    Once all stores have judged, the server judges on its own images.
    """
    answered = {store: end if at is None else at for store, at in judging.items()}
    spans = [Span(begin, at, is_ahead=False) for at in answered.values()]
    for store in training:
        began = answered.get(store, begin)
        spans.append(Span(began, min(end, began + usual.get(store, math.inf)), is_ahead=True))
    return [*spans, Span(max(answered.values(), default=begin), end, is_ahead=False)]
