"""Callbacks of a Python program: functions that are told each round, and may act on it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fedshelf.common.config.changeable_settings import OPERATOR_KEYS
from fedshelf.common.errors import ConfigError, FedshelfError, RunError
from fedshelf.common.suggest import did_you_mean
from fedshelf.server.results.run_status import RunActivity
from fedshelf.server.stop_request import PauseRequest, StopRequest
from fedshelf.simulations.python.settings import keyword, plain
from fedshelf.simulations.run.simulate import RoundDisplay

CHANGEABLE = OPERATOR_KEYS | {
    "train.lr", "train.backbone_lr", "train.momentum", "train.weight_decay", "train.l1",
    "train.label_smoothing", "train.clip_norm", "train.epochs", "train.batch_size",
}  # fmt: skip
"""The settings that a callback may change between two rounds."""


class SettingsChange(PauseRequest):
    """A callback's wish to go on with other settings.

    Attributes:
        settings: flat settings
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        self.settings = settings


@dataclass
class PlayedRound:
    """A round that is done, as a callback gets it.

    Attributes:
        number: of the round, from 1
        rounds: planned
        record: its line of `history.jsonl`
        directory: of the run
    """

    number: int
    rounds: int
    record: Mapping[str, Any]
    directory: Path
    _stop: StopRequest
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def test(self) -> Mapping[str, Any] | None:
        """Its metrics on the server's test images; None: there are none, or it was not judged."""
        found: Mapping[str, Any] | None = self.record["test"]
        return found

    @property
    def validation(self) -> Mapping[str, Any] | None:
        """Its metrics on validation images; None: there are none, or it was not judged."""
        found: Mapping[str, Any] | None = self.record["validation"]
        return found

    def stop(self) -> None:
        """End the run after this round; its model is judged and written, and it can be resumed."""
        self._stop.request()

    def change(self, **settings: Any) -> None:
        """Go on with other settings from the next round on: `change(train_lr=0.01)`.

        The run pauses, and goes on from its checkpoint with the new `config.toml`. The history
        names the change in the next round's line (`settings_changed`).

        Raises:
            ConfigError: a setting that cannot change within a run.
        """
        known = {keyword(key): key for key in CHANGEABLE}
        for name, value in settings.items():
            if name not in known:
                raise ConfigError(
                    f"Setting {name} cannot change within a run.{did_you_mean(name, known)} Those"
                    f" that can: {', '.join(sorted(known))}."
                )
            self.changes[known[name]] = plain(value)


Callback = Callable[[PlayedRound], object]


class CallbackDisplay:
    """The display of a run's rounds, which also calls callbacks after each.

    Rounds that were recorded before a resume are shown, and not told to callbacks.

    Args:
        make: makes what shows the rounds, given their number
        callbacks: called in this order
    """

    def __init__(self, make: Callable[[int], RoundDisplay], callbacks: Sequence[Callback]) -> None:
        self._make = make
        self._callbacks = callbacks
        self._shown: RoundDisplay | None = None
        self._rounds = 0
        self._plays = False
        self._last = 0  # round shown last
        self._stop: StopRequest | None = None
        self.directory = Path()

    def of_rounds(self, rounds: int) -> Self:
        """Begin to show a run of so many rounds, or go on with it after a change of settings."""
        if self._shown is None or rounds != self._rounds:
            self._shown = self._make(rounds)
        self._rounds = rounds
        self._plays = False
        return self

    def begin(self, directory: Path, stop: StopRequest) -> None:
        """Take the run's directory and its request to stop."""
        self.directory = directory
        self._stop = stop

    @property
    def _display(self) -> RoundDisplay:
        assert self._shown is not None, "of_rounds comes first"
        return self._shown

    def __enter__(self) -> Self:
        self._display.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._display.__exit__(kind, error, traceback)

    def row(self, record: dict[str, Any]) -> None:
        """Show a round, and call the callbacks.

        Raises:
            SettingsChange: one of them changed a setting.
            FedshelfError: one of them raised an error.
        """
        if self._plays or record["round"] > self._last:
            self._display.row(record)
            self._last = record["round"]
        if not self._plays or self._stop is None:
            return
        played = PlayedRound(record["round"], self._rounds, record, self.directory, self._stop)
        for callback in self._callbacks:
            try:
                callback(played)
            except FedshelfError:
                raise
            except Exception as error:  # a person's code may raise anything
                name = getattr(callback, "__name__", type(callback).__name__)
                raise RunError(
                    f"The callback {name} raised {type(error).__name__} ({error}) after round"
                    f" {played.number}. The run is saved; go on with"
                    f" fedshelf.simulate(resume={str(self.directory)!r})."
                ) from error
        if played.changes and played.number < self._rounds and not self._stop():
            raise SettingsChange(played.changes)

    def note(self, text: str) -> None:
        """Show a line."""
        self._display.note(text)

    def doing(self, doing: RunActivity) -> None:
        """Show the run's activity; the first means that rounds are played from here on."""
        self._plays = True
        self._display.doing(doing)

    def training(self, round_number: int, done: int, sampled: int) -> None:
        """Show how many stores have answered."""
        self._display.training(round_number, done, sampled)
