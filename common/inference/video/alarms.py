"""Alarms: a class that is seen for long enough, told once per event."""

from collections.abc import Sequence
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


class AlarmState:
    """One alarm's view of a video, frame by frame.

        absent --`frames` frames in a row show it--> ALARM, present
        present --`frames` frames in a row do not--> absent

    The alarm waits until `quiet` seconds after the last one; an event that is over before is
    not told. A frame that is unknown shows nothing, however probable a class is in it.

    Args:
        rule: the condition
    """

    def __init__(self, rule: AlarmRule) -> None:
        self._rule = rule
        self._shown: list[Observation] = []  # at most `frames`, the last ones in a row
        self._since = 0.0
        self._missed = 0
        self._is_present = False
        self._last_alarm: float | None = None

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
        if self._is_present or len(self._shown) < rule.frames or self._is_quiet(observation):
            return None
        self._is_present = True
        self._last_alarm = observation.seconds
        scores = [shown.probabilities[rule.index] for shown in self._shown]
        mean = float(sum(scores) / len(scores))
        return Alarm(rule, observation.seconds, self._since, mean)

    def _is_quiet(self, observation: Observation) -> bool:
        last = self._last_alarm
        return last is not None and observation.seconds - last < self._rule.quiet


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
