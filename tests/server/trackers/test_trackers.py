from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from fedshelf.common.config import resolve
from fedshelf.common.errors import ConfigError
from fedshelf.server import trackers
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.trackers.tracker import Curves, ExperimentTracker, TrackedRun, curves
from fedshelf.server.trackers.tracking import Tracking
from tests.helpers.sample_run import history

STORES = ["store-00", "store-01", "store-02"]
RECORDS = history(STORES, 6, failures=False)


class Ledger(ExperimentTracker):
    """Writes into a list of its class; refuses the rounds from `breaks_at` on."""

    title = "Ledger"
    place = "https://me:secret@ledger.example"
    breaks_at = 99
    seen: ClassVar[list[object]] = []

    def __init__(self, tracker_id: str) -> None:
        self.tracker_id = tracker_id

    @classmethod
    def begin(cls, run: TrackedRun) -> "Ledger":
        cls.seen.append(("begin", run.tracker_id))
        return cls(run.tracker_id or "page 7")

    def log(self, step: int, curves: Curves) -> None:
        if step >= self.breaks_at:
            raise OSError("no answer of https://me:secret@ledger.example/page")
        self.seen.append(step)

    def keep(self, files: Sequence[Path], outcome: Curves) -> None:
        self.seen.append(([path.name for path in files], outcome))

    def end(self, status: str) -> None:
        self.seen.append(status)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> type[Ledger]:
    monkeypatch.setitem(trackers.TRACKERS, "ledger", Ledger)  # type: ignore[arg-type]
    monkeypatch.setattr(Ledger, "seen", [])
    monkeypatch.setattr(Ledger, "breaks_at", 99)
    return Ledger


def track(directory: RunDirectory, begun: int, first: int, last: int, notes: list[str]) -> None:
    """Rounds `first` to `last` of a run whose history has `begun`; each second has a checkpoint."""
    config = resolve({"run.track": "ledger"})
    with Tracking(directory, config, notes.append) as tracking:
        tracking.begin(RECORDS[:begun])
        for number in range(first, last + 1):
            tracking.add(RECORDS[number - 1], committed=number - number % 2)
        if last == len(RECORDS):
            tracking.finish({"status": "finished", "test": {"accuracy": 0.8, "images": 10}})


def test_every_round_is_logged_once_whatever_a_run_goes_through(
    ledger: type[Ledger], tmp_path: Path
) -> None:
    """Round 3 has no checkpoint when the run ends, so it is played again; round 5 is only in the
    history when the run goes on.
    """
    notes: list[str] = []
    with closing(RunDirectory.open(tmp_path / "run", resolve({}))) as directory:
        track(directory, 0, 1, 3, notes)
        assert ledger.seen == [("begin", None), 1, 2, "stopped"]
        track(directory, 5, 6, 6, notes)
    kept = (["config.toml"], {"delivered/test/accuracy": 0.8})
    assert ledger.seen[4:] == [("begin", "page 7"), 3, 4, 5, 6, kept, "finished"]
    assert notes == ["Ledger logs to https://ledger.example."] * 2


def test_a_tracker_that_fails_is_told_once_and_a_resume_mends_it(
    ledger: type[Ledger], tmp_path: Path
) -> None:
    notes: list[str] = []
    with closing(RunDirectory.open(tmp_path / "run", resolve({}))) as directory:
        ledger.breaks_at = 3
        track(directory, 0, 1, 6, notes)
        assert ledger.seen == [("begin", None), 1, 2]
        assert notes[1:] == [
            "Ledger failed (no answer of https://ledger.example/page): rounds from 3 on, report and"
            " model are not logged there; the run goes on."
        ]
        ledger.breaks_at = 99
        track(directory, 5, 6, 6, notes)
    assert ledger.seen[3:8] == [("begin", "page 7"), 3, 4, 5, 6]


def test_curves_have_each_store_and_every_figure_of_the_history() -> None:
    found = curves(
        RECORDS[0] | {"test": RECORDS[0]["test"] | {"top3": 0.9}, "stores": {"a b": {"loss": 2.5}}}
    )
    assert found["test/top3"] == 0.9
    assert found["train/stores/a b/loss"] == 2.5
    validation = RECORDS[0]["validation"]["stores"]["store-01"]
    assert found["validation/stores/store-01/accuracy"] == validation["accuracy"]
    assert found["validation/stores/store-01/images"] == 50


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("track", "environment", "said"),
    [
        ("mlfow", {}, "got 'mlfow'; expected mlflow, wandb.* Did you mean mlflow"),
        ("mlflow", {}, "MLFLOW_TRACKING_URI, which is not set"),
        ("wandb", {"WANDB_MODE": "online"}, "no login at Weights & Biases"),
        (
            "ledger",
            {},
            r"needs the package ledger; install it with pip install 'fedshelf\[ledger]'",
        ),
        ("wandb,wandb", {}, "once"),
    ],
)
def test_what_cannot_be_tracked_is_refused_before_the_run(
    track: str,
    environment: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"NETRC": "/nowhere"} | environment).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        trackers.check(resolve({"run.track": track}))
