from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedshelf.server.report.tensorboard import TensorBoardLog
from tests.helpers.sample_run import history

STORES = ["store-00", "store-01", "store-02"]


def curve(directory: Path, tag: str) -> list[tuple[int, float]]:
    reader = EventAccumulator(str(directory), size_guidance={"scalars": 0})
    reader.Reload()
    return [(event.step, event.value) for event in reader.Scalars(tag)]


def write(directory: Path, records: list[dict[str, Any]]) -> None:
    log = TensorBoardLog(directory)
    for record in records:
        log.add(record)
    log.close()


def test_tensorboard_reads_back_the_history(tmp_path: Path) -> None:
    records = history(STORES, 12)
    write(tmp_path, records)
    assert curve(tmp_path, "test/accuracy") == [
        (r["round"], pytest.approx(r["test"]["accuracy"])) for r in records
    ]
    assert curve(tmp_path, "validation/loss") == [
        (r["round"], pytest.approx(r["validation"]["loss"])) for r in records
    ]
    assert curve(tmp_path, "train/loss") == [
        (r["round"], pytest.approx(r["train"]["loss"])) for r in records
    ]
    assert curve(tmp_path, "stores/used") == [(r["round"], len(r["stores"])) for r in records]
    assert curve(tmp_path, "bytes/up") == [(r["round"], r["bytes"]["up"]) for r in records]
    assert curve(tmp_path, "seconds/total") == [
        (r["round"], pytest.approx(r["seconds"]["total"])) for r in records
    ]


def test_a_round_is_readable_before_the_log_is_closed(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.add(history(STORES, 1)[0])
    assert len(curve(tmp_path, "train/loss")) == 1
    log.close()


def test_values_that_are_null_leave_a_gap(tmp_path: Path) -> None:
    records = history(STORES, 4)
    records[1]["test"] = None
    records[2]["train"]["loss"] = None
    write(tmp_path, records)
    assert [step for step, _ in curve(tmp_path, "test/accuracy")] == [1, 3, 4]
    assert [step for step, _ in curve(tmp_path, "train/loss")] == [1, 2, 4]


def test_after_a_resume_no_round_shows_twice(tmp_path: Path) -> None:
    """Killed after round 8, resumed from the checkpoint of 5; again killed after 7, resumed
    from 3.
    """
    first = history(STORES, 8, seed=1)
    second = history(STORES, 7, seed=2)
    third = history(STORES, 9, seed=3)
    write(tmp_path, first)
    write(tmp_path, second[5:])
    write(tmp_path, third[3:])
    expected = first[:3] + third[3:]
    assert curve(tmp_path, "test/accuracy") == [
        (r["round"], pytest.approx(r["test"]["accuracy"])) for r in expected
    ]


def test_a_kill_within_a_record_costs_nothing_else(tmp_path: Path) -> None:
    records = history(STORES, 6)
    write(tmp_path, records[:4])
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    write(tmp_path, records[3:])
    assert [step for step, _ in curve(tmp_path, "test/accuracy")] == [1, 2, 3, 4, 5, 6]


def test_a_log_without_rounds_leaves_no_file(tmp_path: Path) -> None:
    write(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_of_scenes_ap_is_drawn_and_no_accuracy(tmp_path: Path) -> None:
    records = history(["a"], 2, failures=False)
    for record in records:
        record["test"] |= {"ap": 0.25 * record["round"], "count_error": 1.5}
    write(tmp_path, records)
    assert curve(tmp_path, "test/ap") == [(1, 0.25), (2, 0.5)]
    assert curve(tmp_path, "test/count_error") == [(1, 1.5), (2, 1.5)]
    with pytest.raises(KeyError):
        curve(tmp_path, "test/accuracy")
