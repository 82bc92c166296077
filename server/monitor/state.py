"""The state of a run as its files tell it, in one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedshelf.server.monitor.progress import Point
from fedshelf.server.results.run_status import AT_WORK, RunActivity, RunStatus

ABSENT_STATES = frozenset({"away", "refused", "set-aside", "revoked"})  # states of a store that nothing can be asked of


@dataclass(frozen=True)
class Underway:
    """The round being played: how many of the stores asked have answered; out: those that have not, as far as known."""

    round: int
    done: int
    sampled: int
    out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreState:
    """One store.

    state:    ready, training, evaluating, away, refused, resting, set-aside or revoked; empty if not known or
              all is over
    since:    seconds since the epoch, or None
    why:      plain words, or empty
    images:   training images
    accuracy: of the model as the store uses it, on its validation images, when it was last asked
    loss, seconds: of its last training
    rounds:   in which its update was used; last_round the latest of them, 0 if none
    failures: rounds in which it gave nothing that could be used
    """

    name: str
    state: str
    since: float | None
    why: str
    images: int | None
    accuracy: float | None
    loss: float | None
    seconds: float | None
    rounds: int
    last_round: int
    failures: int


@dataclass(frozen=True)
class FailureSummary:
    """Failures of one kind at one store, with the reason given last."""

    store: str
    code: str
    reason: str
    rounds: tuple[int, ...]


@dataclass(frozen=True)
class TakenBack:
    """A round that was played again, as its model could not be used. store: it explains that; empty: none does."""

    round: int
    store: str
    reason: str


@dataclass(frozen=True)
class EventNote:
    """A line of the log; `at` in seconds since the epoch."""

    at: float
    text: str


@dataclass(frozen=True)
class RunState:
    """What a run's files say.

    status:    see `RunStatus`
    doing:     what the round loop says that it does, or None; since: seconds since the epoch when it began to
    reason:    why it ended or is about to, in plain words, or empty
    round:     rounds completed; rounds: of how many; quorum: stores that a round needs
    began:     seconds since the epoch when the command started, or None
    accuracy, loss: curves over rounds by "train", "test", "validation"; (round, value)
    best:      round and accuracy of the best round so far, or None
    failures:  rounds times stores without a usable answer, by code; this and all other sums of work tell of rounds that
               were taken back, too
    images:    trained on so far, each counted once an epoch
    images_per_second, seconds_per_round: over the latest rounds, or None before the first
    ends:      seconds since the epoch when the last round is to be expected, or None
    down, up:  bytes to and from the stores
    seconds:   spent per phase
    last_round_at: seconds since the epoch when the last round was recorded, or None
    notes:     the latest lines of the log, oldest first
    taken_back: the rounds of the history that were played again
    rounds_taken_back: how many rounds were completed, and are in the history no more
    spoilt_at: the stores that still have a model whose round was taken back, with that round
    """

    name: str
    directory: str
    status: RunStatus
    doing: RunActivity | None
    since: float | None
    reason: str
    round: int
    rounds: int
    quorum: int
    underway: Underway | None
    began: float | None
    stores: tuple[StoreState, ...]
    accuracy: Mapping[str, tuple[Point, ...]]
    loss: Mapping[str, tuple[Point, ...]]
    best: Point | None
    troubles: tuple[FailureSummary, ...]
    failures: Mapping[str, int]
    images: int
    images_per_second: float | None
    seconds_per_round: float | None
    ends: float | None
    down: int
    up: int
    seconds: Mapping[str, float]
    last_round_at: float | None
    notes: tuple[EventNote, ...]
    taken_back: tuple[TakenBack, ...]
    rounds_taken_back: int
    spoilt_at: Mapping[str, int]

    @property
    def is_at_work(self) -> bool:
        """Whether there is more to come."""
        return self.status in AT_WORK

    @property
    def present(self) -> int:
        """Stores that can be asked for something."""
        return sum(bool(store.state) and store.state not in ABSENT_STATES for store in self.stores)
