"""Sums over a history's rounds, updated with each round, so that a long run costs no more to watch
than a short one.
"""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

RECENT = 20  # rounds whose mean time predicts the rest

Point = tuple[int, float]


@dataclass
class Share:
    """One store's part in the rounds so far.

    images, loss, seconds: of its last training
    accuracy: of its last evaluation
    trouble:  code of its last failure if that came after its last training, else empty
    """

    rounds: int = 0
    last_round: int = 0
    images: int | None = None
    loss: float | None = None
    seconds: float | None = None
    accuracy: float | None = None
    trouble: str = ""


@dataclass
class FailureCounts:
    """Failures of one kind at one store: the rounds, and the last reason."""

    rounds: list[int] = field(default_factory=list)
    reason: str = ""


class RunProgress:
    """Sums over a history; `add` takes its records in order."""

    def __init__(self) -> None:
        self.round = self.played = 0
        # round, store that explains it (empty: none does), reason
        self.taken_back: list[tuple[int, str, str]] = []
        self.accuracy: dict[str, list[Point]] = {"test": [], "validation": []}
        self.loss: dict[str, list[Point]] = {"train": [], "test": [], "validation": []}
        self.shares: dict[str, Share] = {}
        self.troubles: dict[tuple[str, str], FailureCounts] = {}
        self.seconds: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.images = 0
        # images, seconds of train and total
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=RECENT)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one round."""
        self.round = record["round"]
        self.played = self.played + 1
        if told := record.get("taken_back"):
            self.taken_back.append((told["round"], told["store"] or "", told["reason"]))
        for group, metric, points in self._curves():
            value = (record.get(group) or {}).get(metric)
            if value is not None:
                points.append((self.round, value))
        for store, used in record["stores"].items():
            self._used(self._share(store), used)
        for store, failure in record["failed"].items():
            self._failed(store, failure)
        for store, found in ((record.get("validation") or {}).get("stores") or {}).items():
            self._share(store).accuracy = found.get("accuracy")
        self.seconds.update(record["seconds"])
        self.bytes.update(record["bytes"])
        images = record["train"].get("images") or 0
        self.images += images
        self._recent.append(
            (images, record["seconds"].get("train", 0.0), record["seconds"].get("total", 0.0))
        )

    def images_per_second(self) -> float | None:
        """Return the images of the latest rounds, each counted once a round, per second of
        training.
        """
        seconds = sum(train for _, train, _ in self._recent)
        return sum(images for images, _, _ in self._recent) / seconds if seconds else None

    def seconds_per_round(self) -> float | None:
        """Return the mean time (s) of the latest rounds."""
        return (
            sum(total for _, _, total in self._recent) / len(self._recent) if self._recent else None
        )

    def failures(self) -> Counter[str]:
        """Return the number of failures of each kind."""
        found: Counter[str] = Counter()
        for (_, code), troubles in self.troubles.items():
            found[code] += len(troubles.rounds)
        return found

    def _curves(self) -> Iterator[tuple[str, str, list[Point]]]:
        for metric, curves in (("accuracy", self.accuracy), ("loss", self.loss)):
            for group, points in curves.items():
                yield group, metric, points

    def _share(self, store: str) -> Share:
        return self.shares.setdefault(store, Share())

    def _used(self, share: Share, used: Mapping[str, Any]) -> None:
        share.rounds += 1
        share.last_round = self.round
        share.trouble = ""
        share.images = used.get("images")
        share.loss = used.get("loss")
        share.seconds = used.get("seconds")

    def _failed(self, store: str, failure: Mapping[str, Any]) -> None:
        code = str(failure.get("code") or "error")
        self._share(store).trouble = code
        troubles = self.troubles.setdefault((store, code), FailureCounts())
        troubles.rounds.append(self.round)
        troubles.reason = str(failure.get("reason") or "")
