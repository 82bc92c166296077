"""The history says which of the operator's settings held in each round."""

from fedshelf.common.config import resolve
from fedshelf.server.results.operator_settings import format_changes, remark

FIRST = resolve({"cohort.min_stores": 3, "run.rounds": 9})
THEN = resolve({"cohort.min_stores": 2, "run.rounds": 9, "train.lr": 0.5, "run.device": "cpu"})


def test_the_first_line_has_all_and_later_ones_what_changed() -> None:
    first = remark([], FIRST)
    assert first["settings"]["cohort.min_stores"] == 3
    assert format_changes(first) == ""
    history = [{"round": 1, **first}, {"round": 2}]
    assert remark(history, FIRST) == {}
    changed = remark(history, THEN)
    assert changed == {"settings_changed": {"cohort.min_stores": [3, 2]}}
    assert format_changes(changed) == "Settings that hold from here on: cohort.min_stores 3 -> 2."
    history.append({"round": 3, **changed})
    assert remark(history, THEN) == {}
    assert remark(history, FIRST) == {"settings_changed": {"cohort.min_stores": [2, 3]}}


def test_a_history_of_an_earlier_version_gets_all_settings_with_its_next_round() -> None:
    assert remark([{"round": 1}], FIRST).keys() == {"settings"}
