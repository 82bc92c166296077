"""The changes by which a bad store harms labels and updates; how runs are counted; one run for
real.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks import suspicion
from benchmarks.harm import play, spoiled, wrong_labels
from benchmarks.suspicion import (
    DATA,
    HARMS,
    MODELS,
    PARTITIONS,
    Case,
    Outcome,
    cases,
    cells,
    chosen,
    mistakes,
)
from fedshelf.common.config import resolve


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """As a run has it, and only here."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


CASE = Case("exchanged", "shelf", "iid", "niid-cnn", 8, 8, 11)


def outcome(found: Mapping[str, int], bad: str | None = "b") -> Outcome:
    case = CASE if bad else replace(CASE, harm="honest")
    return Outcome(case, bad, found, dict.fromkeys(found, "why"), 20)


def test_labels_by_hand() -> None:
    labels = torch.tensor([0, 1, 2, 3, 2])
    own = torch.tensor([2, 2, 3, 3, 3, 1])
    assert wrong_labels("exchanged", labels, own, 4).tolist() == [0, 1, 3, 2, 3]
    assert wrong_labels("shifted", labels, own, 4).tolist() == [1, 2, 3, 0, 3]
    assert labels.tolist() == [0, 1, 2, 3, 2]
    alone = torch.tensor([0, 0])  # of a class alone, the images become those of another
    assert wrong_labels("exchanged", alone, alone, 4).tolist() == [1, 1]


def test_updates_by_hand() -> None:
    change = torch.tensor([3.0, -4.0])
    assert spoiled("flipped", change, 0).tolist() == [-3, 4]
    assert spoiled("scaled", change, 0).tolist() == [30, -40]
    assert spoiled("noise", change, 0).norm().item() == pytest.approx(5)
    assert spoiled("noise", change, 0).tolist() != spoiled("noise", change, 1).tolist()


def test_rows_by_hand() -> None:
    outcomes = [
        outcome({"b": 3}),
        outcome({"a": 2, "b": 8}),
        outcome({}),
        outcome({"a": 5, "c": 6}, bad=None),
    ]
    # honest: three times seven, and eight; told of them: a, then a and c. Bad ones: three, told in
    # 3 and 8
    assert cells(outcomes) == ["4", "3 of 29", "2 of 3", "5.5 (3 to 8)"]
    assert cells(outcomes[3:]) == ["1", "2 of 8", "-", "-"]
    assert cells(outcomes[2:3]) == ["1", "0 of 7", "0 of 1", "-"]


def test_every_mistake_has_a_line() -> None:
    name = "exchanged shelf iid niid-cnn 8 of 8 stores, seed 11"
    assert list(mistakes(outcome({"b": 3}))) == []
    assert list(mistakes(outcome({"a": 2}))) == [
        f"missed: {name}: b, in 20 rounds",
        f"false alarm: {name}: a in round 2: why",
    ]


def test_two_seeds_play_every_setting_with_both_networks() -> None:
    found = list(cases([11, 12], list(DATA), 20, 8))
    settings = {(case.harm, case.dataset, case.partition, case.model) for case in found}
    assert len(found) == len(settings) == len(HARMS) * len(DATA) * len(PARTITIONS) * len(MODELS)
    for case in found:
        assert resolve(case.settings()).run.seed == case.seed
        assert (case.stores, case.cohort, case.settings()["cohort.fraction"]) == (20, 8, 0.4)


def test_runs_are_chosen_by_how_their_names_begin() -> None:
    found = list(cases([11], ["shelf"], 20, 20))
    assert chosen(found, None) == found
    assert [case.partition for case in chosen(found, "honest shelf iid,noise shelf labels")] == [
        "iid",
        "labels:2",
    ]
    with pytest.raises(SystemExit, match="nothing"):
        chosen(found, "nothing")


def test_a_run_ends_when_its_bad_store_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path))
    monkeypatch.setattr(suspicion, "ROUNDS", 8)
    case = replace(CASE, harm="scaled", stores=4, cohort=4)
    found = Outcome(case, **play(case.settings() | {"data.holdout": 0.9}, case.harm))
    assert found.bad in found.told
    assert found.found == found.rounds == 3  # refused three times in a row, it is set aside
    assert "times as large" in found.why[str(found.bad)]
    assert found.alarms == {}
