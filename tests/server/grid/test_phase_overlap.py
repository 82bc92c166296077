"""Time that two phases share goes to both, as their work does, and adds up."""

from fedshelf.server.grid.phase_overlap import Span, seconds_ahead, spans_of_stores


def test_by_hand() -> None:
    """Two workers for ten seconds: one judges all the time, one judges for four and trains for the
    last six.
    """
    spans = [Span(0, 10, is_ahead=False), Span(0, 4, is_ahead=False), Span(4, 12, is_ahead=True)]
    assert seconds_ahead(0, 10, spans) == 10 * 6 / 20


def test_what_lies_outside_counts_nothing() -> None:
    assert seconds_ahead(5, 7, [Span(0, 5, is_ahead=True), Span(6, 9, is_ahead=False)]) == 0
    assert seconds_ahead(5, 7, [Span(0, 9, is_ahead=True)]) == 2
    assert seconds_ahead(5, 7, []) == 0


def test_stores_that_train_while_another_one_judges_by_hand() -> None:
    """Of ten seconds a judges for 2 and trains for 5, as it usually does; b judges for 6 and trains
    on; c never judges and trains from the beginning; the server judges for the last 4.
    """
    spans = spans_of_stores(100, 110, {"a": 102, "b": 106}, ["a", "b", "c"], {"a": 5, "c": 30})
    assert sorted((span.began, span.ended) for span in spans if span.is_ahead) == [
        (100, 110),
        (102, 107),
        (106, 110),
    ]
    assert seconds_ahead(100, 110, spans) == 10 * (10 + 5 + 4) / (10 + 5 + 4 + 2 + 6 + 4)


def test_a_store_that_has_not_answered_still_judges() -> None:
    spans = spans_of_stores(0, 10, {"a": None}, ["a"], {})
    assert seconds_ahead(0, 10, spans) == 0
    assert seconds_ahead(0, 10, spans_of_stores(0, 10, {"a": 0}, [], {})) == 0
