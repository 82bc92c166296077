"""Alarms: a class that is seen for long enough, told once per event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedshelf.common.errors import ConfigError
from fedshelf.common.inference.video.observations import Observation
from fedshelf.common.suggest import did_you_mean

USUAL_SCORE = 0.8


@dataclass(frozen=True)
class AlarmRule:
    """The condition of an alarm.

    Attributes:
        index: of the class
        score: probability of a frame from which on it shows the class
        frames: consecutive frames that must show it before the alarm, and consecutive frames that
            must not show it before the event is over
        quiet: seconds after an alarm in which it is not given again
    """

    index: int
    score: float
    frames: int
    quiet: float


@dataclass(frozen=True)
class Alarm:
    """An alarm that is given.

    Attributes:
        rule: its condition
        seconds: time of the frame that completed it
        since: time of the first frame of the event
        probability: mean over the frames since then
    """

    rule: AlarmRule
    seconds: float
    since: float
    probability: float


class QuietTime:
    """The time after an alarm in which it is not given again.

    Args:
        seconds: its length
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began: float | None = None

    def begin(self, seconds: float) -> None:
        """Note the time of an alarm."""
        self._began = seconds

    def lasts(self, seconds: float) -> bool:
        """Return whether it lasts at a time."""
        return self._began is not None and seconds - self._began < self._seconds


class AlarmState:
    """One alarm's view of a video, frame by frame.

        absent --`frames` frames in a row show it--> ALARM, present
        present --`frames` frames in a row do not--> absent

    The alarm waits until `quiet` seconds after the last one; an event that is over before is
    not told. A frame that is unknown shows nothing, however probable a class is in it.

    Args:
        rule: the condition
        quiet: that of several views of one alarm; None: its own
    """

    def __init__(self, rule: AlarmRule, quiet: QuietTime | None = None) -> None:
        self._rule = rule
        self._quiet = QuietTime(rule.quiet) if quiet is None else quiet
        self._shown: list[Observation] = []  # at most `frames`, the last ones in a row
        self._since = 0.0
        self._missed = 0
        self._is_present = False

    def add(self, observation: Observation) -> Alarm | None:
        """Add the next frame and return the alarm that it completes, if any."""
        rule = self._rule
        probability = observation.probabilities[rule.index]
        if observation.verdict == "unknown" or probability < rule.score:
            self._shown.clear()
            self._missed += 1
            if self._missed >= rule.frames:
                self._is_present = False
            return None
        self._missed = 0
        if not self._shown:
            self._since = observation.seconds
        self._shown = [*self._shown, observation][-rule.frames :]
        if self._is_present or len(self._shown) < rule.frames:
            return None
        if self._quiet.lasts(observation.seconds):
            return None
        self._is_present = True
        self._quiet.begin(observation.seconds)
        scores = [shown.probabilities[rule.index] for shown in self._shown]
        mean = float(sum(scores) / len(scores))
        return Alarm(rule, observation.seconds, self._since, mean)


class ItemAlarms:
    """One alarm's view of the items of a video, each of which is told once.

    An item's frames count as those of a video do (see `AlarmState`). A frame that does not show the
    item shows nothing of it, so the frames in a row begin anew after it. The quiet time is that of
    the alarm: an item that is still there when it is over is told then.

    Args:
        rule: the condition
    """

    def __init__(self, rule: AlarmRule) -> None:
        self._rule = rule
        self._quiet = QuietTime(rule.quiet)
        self._waiting: dict[int, AlarmState] = {}
        self._told: set[int] = set()

    def add(self, shown: Mapping[int, Observation]) -> list[tuple[int, Alarm]]:
        """Add the next frame and return the alarms that it completes, with their items.

        Args:
            shown: the items in it, by their numbers
        """
        self._waiting = {
            number: self._waiting.get(number) or AlarmState(self._rule, self._quiet)
            for number in sorted(shown)
            if number not in self._told
        }
        completed = []
        for number, state in self._waiting.items():
            if (alarm := state.add(shown[number])) is not None:
                self._told.add(number)
                completed.append((number, alarm))
        return completed


def parse_alarm(
    text: str, frames: int, quiet: float, classes: Sequence[str], names: Sequence[str]
) -> AlarmRule:
    """Return the alarm that a person gave: CLASS or CLASS:SCORE.

    Args:
        text: as given
        frames: see `AlarmRule`
        quiet: see `AlarmRule`
        classes: the model's classes
        names: their names for people, which are understood too

    Raises:
        ConfigError: there is no such class, or the score is no probability.
    """
    if (index := _class_index(text, classes, names)) is not None:
        return AlarmRule(index, USUAL_SCORE, frames, quiet)
    name, _, number = text.rpartition(":")
    index = _class_index(name, classes, names)
    if index is None:
        raise ConfigError(
            f"--alarm got {text!r}; expected CLASS:SCORE with a class of the model"
            f" ({', '.join(names)}).{did_you_mean(name or text, names)}"
        )
    try:
        score = float(number)
    except ValueError:
        score = -1
    if not 0 < score <= 1:
        raise ConfigError(
            f"--alarm got the score {number!r}; expected a probability above 0 and at most 1, as in"
            f" {name}:{USUAL_SCORE}."
        )
    return AlarmRule(index, score, frames, quiet)


def _class_index(name: str, classes: Sequence[str], names: Sequence[str]) -> int | None:
    for known in (names, classes):
        if name in known:
            return list(known).index(name)
    return None
