"""The states of a run, at work and at its end, with one set of words for all outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count, format_first

if TYPE_CHECKING:
    # loads pydantic, which a command that only shows a run does not need
    from fedshelf.server.results.run_directory import Record

MAX_STORES_IN_SENTENCE = 5  # stores that a sentence names; it only counts the others


class RunStatus(StrEnum):
    """The state of a run.

    STARTING:   the processes start, or the app starts again
    WAITING:    fewer stores are connected than a round needs
    BLOCKED:    enough stores are connected, but some of them may not be asked now
    TRAINING:   the stores of a round train
    JUDGING:    all have answered; their updates are combined, and the new model is judged
    FINISHING:  all rounds are done; the model that is delivered is judged and written
    DELIVERING: the model goes to the stores
    DEAD:       the run is not over, and no process is at work on it
    """

    STARTING = "starting"
    WAITING = "waiting"
    BLOCKED = "blocked"
    TRAINING = "training"
    JUDGING = "judging"
    FINISHING = "finishing"
    DELIVERING = "delivering"
    FINISHED = "finished"
    STOPPED = "stopped"
    FAILED = "failed"
    DEAD = "dead"


AT_WORK = frozenset(
    {
        RunStatus.STARTING,
        RunStatus.WAITING,
        RunStatus.BLOCKED,
        RunStatus.TRAINING,
        RunStatus.JUDGING,
        RunStatus.FINISHING,
        RunStatus.DELIVERING,
    }
)
IN_A_ROUND = frozenset({RunStatus.TRAINING, RunStatus.JUDGING})
HELD_UP = frozenset({RunStatus.WAITING, RunStatus.BLOCKED})
FAILED_STATES = frozenset({RunStatus.FAILED, RunStatus.DEAD})

WORDS: Mapping[RunStatus, str] = {
    RunStatus.STARTING: "Starting",
    RunStatus.WAITING: "Waiting for stores",
    RunStatus.BLOCKED: "Blocked",
    RunStatus.TRAINING: "Training",
    RunStatus.JUDGING: "Judging",
    RunStatus.FINISHING: "Finishing",
    RunStatus.DELIVERING: "Delivering",
    RunStatus.FINISHED: "Finished",
    RunStatus.STOPPED: "Stopped",
    RunStatus.FAILED: "Failed",
    RunStatus.DEAD: "Not running",
}


_OUTSIDE_ROUNDS: Mapping[RunStatus, str] = {
    RunStatus.STARTING: "The server is starting.",
    RunStatus.FINISHING: (
        "The rounds are over; the model that is delivered is being judged and written."
    ),
    RunStatus.DELIVERING: "The rounds are over; the model goes to the connected stores.",
}


@dataclass(frozen=True)
class RunActivity:
    """The present work of a run, as the round loop reports it.

    Attributes:
        round: the one that is played or waited for; 0: none
        stores: the connected ones, while the run waits; the ones asked, while it trains
        needed: stores that a round needs, while the run waits
        until: Unix time (s) at which the run gives up, while it waits
        why: what keeps connected stores from taking part, in plain words
    """

    status: RunStatus
    round: int = 0
    stores: tuple[str, ...] = ()
    needed: int = 0
    until: float | None = None
    why: str = ""

    def sentence(self, rounds: int) -> str:
        """Return a sentence on the present work of a run of `rounds` rounds."""
        round_text = f"{self.round:,} of {rounds:,}"
        match self.status:
            case RunStatus.WAITING:
                missing = f"{format_count(self.needed, 'store')} needed for round {round_text}"
                return f"{missing}, {len(self.stores):,} there: {listed(self.stores)}."
            case RunStatus.BLOCKED:
                there = (
                    f"{len(self.stores):,} of {format_count(self.needed, 'store')} needed can"
                    " train now"
                )
                return f"Round {round_text} cannot begin: {there}. {printable(self.why)}."
            case RunStatus.TRAINING:
                return (
                    f"Round {round_text}: {format_count(len(self.stores), 'store')} asked to train."
                )
            case RunStatus.JUDGING:
                return (
                    f"Round {round_text}: all stores have answered; the new model is being judged."
                )
            case RunStatus.DELIVERING if self.round:
                return f"Round {round_text} is done; the model goes to the stores, as asked."
            case _:
                return _OUTSIDE_ROUNDS[self.status]

    def to_event(self) -> dict[str, Any]:
        """Return the activity as a dict for a file, from which `from_event` reads it."""
        return asdict(self)

    @classmethod
    def from_event(cls, event: Mapping[str, Any]) -> "RunActivity | None":
        """Read an activity from a file's dict; None if it is no activity."""
        try:
            return cls(
                **{
                    **event,
                    "status": RunStatus(event["status"]),
                    "stores": tuple(map(str, event["stores"])),
                }
            )
        except (KeyError, TypeError, ValueError):
            return None


class RunObserver(Protocol):
    """Observer of a training run."""

    def row(self, record: "Record") -> None:
        """Take the history line of a round that is done."""

    def note(self, text: str) -> None:
        """Take a message worth a line."""

    def doing(self, doing: RunActivity) -> None:
        """Take the activity that the run has begun."""

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Take the progress of a round: `done` of `sampled` stores have answered."""


def listed(stores: Sequence[str]) -> str:
    """Return the names of a few stores, and how many more there are.

    For example "oslo-7, rome and 5 more"; "none" of none.
    """
    return (
        format_first([printable(store) for store in sorted(stores)], MAX_STORES_IN_SENTENCE)
        or "none"
    )
