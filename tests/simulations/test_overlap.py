"""Time that two phases share goes to both, as their work does, and adds up."""

from simulations.engines.overlap import Span, seconds_ahead


def test_by_hand() -> None:
    """Two workers for ten seconds: one judges all the time, one judges for four and trains for the last six."""
    spans = [Span(0, 10, is_ahead=False), Span(0, 4, is_ahead=False), Span(4, 12, is_ahead=True)]
    assert seconds_ahead(0, 10, spans) == 10 * 6 / 20


def test_what_lies_outside_counts_nothing() -> None:
    assert seconds_ahead(5, 7, [Span(0, 5, is_ahead=True), Span(6, 9, is_ahead=False)]) == 0
    assert seconds_ahead(5, 7, [Span(0, 9, is_ahead=True)]) == 2
    assert seconds_ahead(5, 7, []) == 0
