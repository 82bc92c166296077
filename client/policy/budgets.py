"""Usage of the policy's budgets: the amounts that a store has spent on each day."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

from filelock import FileLock
from pydantic import TypeAdapter, ValidationError

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import write_json

USAGE_FILE = "usage.json"
KEPT_DAYS = 60  # days


@dataclass(frozen=True)
class Spent:
    """Amounts spent; a commutative monoid under `+`.

    Attributes:
        trainings, judgements: Orders begun.
        seconds: Of computing.
        down, up: Bytes received and sent.
    """

    trainings: int = 0
    judgements: int = 0
    seconds: float = 0.0
    down: int = 0
    up: int = 0

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(
            *(getattr(self, field.name) + getattr(other, field.name) for field in fields(self))
        )


_DAYS = TypeAdapter(dict[str, Spent])


class Usage:
    """Amounts spent on each local calendar day, in a file that several processes may add to.

    A day's budget is granted once: after the clock is set back, the earlier day still has the
    amounts spent on it, and so has the later one when it comes. The `KEPT_DAYS` days that were
    begun last are kept, whatever their dates, so that a clock that was years ahead for a while
    loses nothing either.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._now = now
        self._lock = FileLock(path.with_name(f".{path.name}.lock"))

    def today(self) -> Spent:
        """Return the amounts spent since local midnight. Raises ConfigError if the file is
        damaged.
        """
        return self._read().get(self._today(), Spent())

    def add(self, spent: Spent) -> None:
        """Add these amounts, on disk before it returns.

        Raises ConfigError if the file is damaged, OSError.
        """
        with self._lock:
            days = self._read()
            day = self._today()
            days[day] = days.get(day, Spent()) + spent
            write_json(self._path, {name: asdict(days[name]) for name in list(days)[-KEPT_DAYS:]})

    def _today(self) -> str:
        return datetime.fromtimestamp(self._now()).date().isoformat()

    def _read(self) -> dict[str, Spent]:
        """Return the amounts by day, in the order in which the days were begun."""
        try:
            days = _DAYS.validate_python(json.loads(self._path.read_text(encoding="utf-8")))
            if not all(math.isfinite(spent.seconds) for spent in days.values()):
                raise ValueError("seconds that are no number")
            return days
        except FileNotFoundError:
            return {}
        except (ValueError, ValidationError, RecursionError):
            raise ConfigError(
                f"{self._path} is damaged: what was spent today of the policy's budgets is not"
                " known. Delete it to count from nothing."
            ) from None
