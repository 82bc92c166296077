"""Sums over a history's rounds, updated with each round: a long run costs no more to watch."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fedshelf.server.figure_names import listed_figures, main_figure

RECENT_ROUNDS = 20  # rounds whose mean time predicts the rest

Point = tuple[int, float]


@dataclass
class StoreShare:
    """One store's part in the rounds so far.

    Attributes:
        rounds:     rounds that used its update
        last_round: the latest of them
        images:     of its last training
        loss:       of its last training
        seconds:    of its last training
        accuracy:   of its last evaluation
        quality:    its main figure (see `main_figure`): accuracy, or of scenes AP or IoU
        trouble:    code of its last failure if that came after its last training, else empty
    """

    rounds: int = 0
    last_round: int = 0
    images: int | None = None
    loss: float | None = None
    seconds: float | None = None
    accuracy: float | None = None
    quality: float | None = None
    trouble: str = ""


@dataclass
class FailureCounts:
    """Failures of one kind at one store: the rounds, and the last reason."""

    rounds: list[int] = field(default_factory=list)
    reason: str = ""


class RunProgress:
    """Sums over a history; `add` takes its records in order.

    Attributes:
        round:      the last round
        played:     number of rounds, those that were played again included
        taken_back: rounds played again: round, store that explains it (empty: none), reason
        accuracy:   curves of (round, value) by "test" and "validation"
        figure:     key of the main figure: accuracy, or of scenes ap or iou
        quality:    curves of the main figure by "test" and "validation"
        listed:     the figures beside it, of the latest evaluation
        loss:       curves by "train", "test" and "validation"
        shares:     each store's part
        troubles:   failures by store and code
        seconds:    time by phase
        bytes:      traffic by direction
        images:     images trained on, each counted once a round
    """

    def __init__(self) -> None:
        self.round = self.played = 0
        # round, store that explains it (empty: none does), reason
        self.taken_back: list[tuple[int, str, str]] = []
        self.accuracy: dict[str, list[Point]] = {"test": [], "validation": []}
        self.figure = "accuracy"
        self.quality: dict[str, list[Point]] = {"test": [], "validation": []}
        self.listed: dict[str, float | None] = {}
        self.loss: dict[str, list[Point]] = {"train": [], "test": [], "validation": []}
        self.shares: dict[str, StoreShare] = {}
        self.troubles: dict[tuple[str, str], FailureCounts] = {}
        self.seconds: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.images = 0
        # images, seconds of train and total
        self._recent: deque[tuple[int, float, float]] = deque(maxlen=RECENT_ROUNDS)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add one round, given as its history record."""
        self.round = record["round"]
        self.played = self.played + 1
        if rollback := record.get("taken_back"):
            self.taken_back.append((rollback["round"], rollback["store"] or "", rollback["reason"]))
        if latest := record.get("validation") or record.get("test"):
            self.figure = main_figure(latest)
            self.listed = listed_figures(latest)
        for group, metric, points in self._curves():
            value = (record.get(group) or {}).get(metric)
            if value is not None:
                points.append((self.round, value))
        for store, training in record["stores"].items():
            self._record_training(self._share(store), training)
        for store, failure in record["failed"].items():
            self._record_failure(store, failure)
        for store, evaluation in ((record.get("validation") or {}).get("stores") or {}).items():
            self._share(store).accuracy = evaluation.get("accuracy")
            self._share(store).quality = evaluation.get(self.figure)
        self.seconds.update(record["seconds"])
        self.bytes.update(record["bytes"])
        images = record["train"].get("images") or 0
        self.images += images
        self._recent.append(
            (images, record["seconds"].get("train", 0.0), record["seconds"].get("total", 0.0))
        )

    def images_per_second(self) -> float | None:
        """Return the images per second of training over the latest rounds; None before the first.

        Each image is counted once a round.
        """
        seconds = sum(train for _, train, _ in self._recent)
        return sum(images for images, _, _ in self._recent) / seconds if seconds else None

    def seconds_per_round(self) -> float | None:
        """Return the mean time (s) of the latest rounds; None before the first."""
        return (
            sum(total for _, _, total in self._recent) / len(self._recent) if self._recent else None
        )

    def failures(self) -> Counter[str]:
        """Return the number of failures of each kind."""
        counts: Counter[str] = Counter()
        for (_, code), troubles in self.troubles.items():
            counts[code] += len(troubles.rounds)
        return counts

    def _curves(self) -> Iterator[tuple[str, str, list[Point]]]:
        for metric, curves in (
            ("accuracy", self.accuracy),
            (self.figure, self.quality),
            ("loss", self.loss),
        ):
            for group, points in curves.items():
                yield group, metric, points

    def _share(self, store: str) -> StoreShare:
        return self.shares.setdefault(store, StoreShare())

    def _record_training(self, share: StoreShare, training: Mapping[str, Any]) -> None:
        share.rounds += 1
        share.last_round = self.round
        share.trouble = ""
        share.images = training.get("images")
        share.loss = training.get("loss")
        share.seconds = training.get("seconds")

    def _record_failure(self, store: str, failure: Mapping[str, Any]) -> None:
        code = str(failure.get("code") or "error")
        self._share(store).trouble = code
        troubles = self.troubles.setdefault((store, code), FailureCounts())
        troubles.rounds.append(self.round)
        troubles.reason = str(failure.get("reason") or "")
