"""The request of a sweep, kept in its directory so that it can go on after a kill."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.system.files import write_json
from fedshelf.common.wording import format_count
from fedshelf.simulations.run.own_code import allow_named
from fedshelf.simulations.sweep.halving import FACTOR, rungs
from fedshelf.simulations.sweep.points import Point

REQUEST_FILE = "sweep.json"
FORMAT = 1


@dataclass(frozen=True)
class SweepRequest:
    """The request of a sweep.

    Attributes:
        settings: setting -> text, the same for all runs
        swept: setting -> its values
        points: the combinations of values that are run
        seeds: each point is run once with each
        halving: whether points that do worse than others end early
    """

    settings: dict[str, str]
    swept: dict[str, list[str]]
    points: list[Point]
    seeds: list[int]
    halving: bool

    def config(self, point: int, seed: int) -> RunConfig:
        """Return the settings of a run, as they are given: the run itself completes them.

        Raises:
            ConfigError: they are no settings, or do not go together.
        """
        return resolve(self.settings, self.points[point], {"run.seed": seed})

    def label(self, point: int) -> str:
        """Return a point in words: `train.lr=0.1 model.name=cnn`."""
        return " ".join(f"{key}={value}" for key, value in self.points[point].items())

    def check(self) -> None:
        """Check all runs' settings before the first begins.

        Raises:
            ConfigError: a run's settings are invalid, or cannot be stopped early and go on.
        """
        if len(self.points) * len(self.seeds) < 2:
            raise ConfigError(
                "A sweep has at least two runs; give a setting several values, for example --set"
                " train.lr=0.01,0.1, or several --seeds."
            )
        for point in range(len(self.points)):
            allow_named({**self.settings, **self.points[point]})
            config = self.config(point, self.seeds[0])
            if self.halving and len(rungs(len(self.points), config.run.rounds)) < 2:
                raise ConfigError(
                    f"--halving got {format_count(len(self.points), 'point')} and run.rounds"
                    f" {config.run.rounds}; expected several points and at least {FACTOR} rounds."
                )
            if self.halving and (
                config.train.schedule == "cosine" or config.strategy.average == "swa"
            ):
                key = (
                    "train.schedule=cosine"
                    if config.train.schedule == "cosine"
                    else "strategy.average=swa"
                )
                raise ConfigError(
                    f"--halving got {key}, which depends on the number of rounds from the start;"
                    " leave one of them out."
                )

    def write(self, directory: Path) -> None:
        """Write the request into the sweep's directory. Raises OSError."""
        write_json(directory / REQUEST_FILE, {"format": FORMAT, **asdict(self)})

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the request of the sweep in a directory.

        Raises:
            RunError: there is none, or it is damaged.
        """
        path = directory / REQUEST_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            if values.pop("format") != FORMAT:
                raise RunError(f"{path} is of another version of Fedshelf; begin a new sweep.")
            return cls(**values)
        except FileNotFoundError:
            raise RunError(
                f"There is no sweep to resume in {directory}: it has no {REQUEST_FILE}; start one"
                " without --resume."
            ) from None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RunError(f"{path} is damaged ({error}); begin a new sweep.") from error


def check_same(stored: SweepRequest, settings: Mapping[str, str], seeds: Sequence[int]) -> None:
    """Check that a sweep to resume was not asked for anything else.

    Raises:
        ConfigError: settings or seeds were given.
    """
    if settings or seeds:
        given = ", ".join([*settings, *(["--seeds"] if seeds else [])])
        raise ConfigError(
            f"A sweep that is resumed keeps its {len(stored.points)} points and its seeds, but"
            f" {given} was given; give --out and --resume alone, or begin a new sweep."
        )
