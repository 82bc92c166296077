"""The state of a run as its files give it, in one frozen value."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedshelf.server.monitor.progress import Point
from fedshelf.server.results.run_status import AT_WORK, RunActivity, RunStatus

# states of a store that cannot be given work
ABSENT_STATES = frozenset({"away", "refused", "set-aside", "revoked"})


@dataclass(frozen=True)
class Underway:
    """The current round.

    Attributes:
        round:   its number
        done:    stores that have answered
        sampled: stores that were asked
        out:     names of those that have not answered, as far as known
    """

    round: int
    done: int
    sampled: int
    out: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreState:
    """The state of one store.

    Attributes:
        name:       its name
        state:      ready, training, evaluating, away, refused, resting, set-aside or revoked; empty
            if
            unknown or after the end of the run
        since:      Unix time (s), or None
        why:        reason in plain words, or empty
        images:     training images
        accuracy:   of the model as the store uses it, on its validation images, at its last
            evaluation
        quality:    the run's main figure in its place, for scenes AP or IoU
        loss:       of its last training
        seconds:    of its last training
        rounds:     number of rounds that used its update
        last_round: the latest of them, 0 if none
        failures:   number of rounds in which it gave no usable answer
    """

    name: str
    state: str
    since: float | None
    why: str
    images: int | None
    accuracy: float | None
    quality: float | None
    loss: float | None
    seconds: float | None
    rounds: int
    last_round: int
    failures: int


@dataclass(frozen=True)
class FailureSummary:
    """Failures of one kind at one store, with the last reason."""

    store: str
    code: str
    reason: str
    rounds: tuple[int, ...]


@dataclass(frozen=True)
class TakenBack:
    """A round that was played again, as its model could not be used.

    Attributes:
        round:  its number
        store:  the store that explains it; empty: none does
        reason: why, in words
    """

    round: int
    store: str
    reason: str


@dataclass(frozen=True)
class EventNote:
    """A line of the log; `at` is Unix time (s)."""

    at: float
    text: str


@dataclass(frozen=True)
class RunState:
    """The state of a run, from its files.

    Attributes:
        name:      name of the run
        directory: its run directory
        status:    see `RunStatus`
        doing:     activity reported by the round loop, or None
        since:     Unix time (s) at which the activity began
        reason:    why it ended or is about to, in plain words, or empty
        round:     rounds completed
        rounds:    rounds planned
        quorum:    stores that a round needs
        underway:  the current round, or None
        began:     Unix time (s) at which the command started, or None
        stores:    all known stores, by name
        accuracy:  curves over rounds by "test" and "validation"; (round, value)
        figure:    key of the main figure: as `main_figure` returns it
        quality:   curves of the main figure by "test" and "validation"
        listed:    the figures beside it, of the latest evaluation
        loss:      curves over rounds by "train", "test" and "validation"; (round, value)
        best:      round and main figure of the best round so far, or None
        troubles:  failures by store and kind, the most frequent first
        failures:  number of stores' unusable answers over all rounds, by code; this and all other
            sums
            of work include rounds that were taken back
        images:    trained on so far, each counted once an epoch
        images_per_second: over the latest rounds, or None before the first
        seconds_per_round: over the latest rounds, or None before the first
        ends:      Unix time (s) at which the last round is expected to end, or None
        down:      bytes to the stores
        up:        bytes from the stores
        seconds:   spent per phase
        last_round_at: Unix time (s) at which the last round was recorded, or None
        notes:     the latest lines of the log, oldest first
        taken_back: the rounds of the history that were played again
        rounds_taken_back: number of rounds that were completed, and are no longer in the history
        spoilt_at: stores that still have a model whose round was taken back, with that round
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
    figure: str
    quality: Mapping[str, tuple[Point, ...]]
    listed: Mapping[str, float | None]
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
        """True while the run goes on."""
        return self.status in AT_WORK

    @property
    def present(self) -> int:
        """Number of stores that can be asked for work."""
        return sum(bool(store.state) and store.state not in ABSENT_STATES for store in self.stores)
