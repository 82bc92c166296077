"""What the end of a run says of its model: per class, per store, how fair, how sure of itself.

The summary has what a person asks for first; `evaluation.json` has the rest, each store's confusion matrix included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedshelf.common.metrics.calibration import BINS, GRID, Reliability, fit
from fedshelf.common.metrics.confusions import most_confused
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.intervals import wilson
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.report.run_data import EVALUATION as FILE
from fedshelf.server.results import per_store
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.round_loop import RoundLoop

MOST_CELLS = 2**21  # of the stores' confusion matrices in the file; about 4 MB


@dataclass(frozen=True)
class FinalEvaluation:
    """A model judged by what the server and the stores hold out.

    scores:      on test images; with temperatures, how sure the model is with and without them
    validation:  on validation images, how sure at each temperature of `GRID` included
    temperature: at which the validation images are likeliest by the model's own scores; None without any
    own_temperature: so, by the adjusted scores; None where no store has an adjustment
    is_adjustable: whether training added something to the scores that stores add when they use the model, too
    """

    classes: tuple[str, ...]
    scores: Scores
    validation: Scores
    temperature: float | None
    own_temperature: float | None = None
    is_adjustable: bool = False

    @cached_property
    def told(self) -> tuple[str, Counts] | None:
        """Source and counts of the run's test result: the server's images, else the stores', as they use the model."""
        if self.scores.test is not None:
            return "server", self.scores.test
        together = self.scores.together()
        return ("stores", together) if together is not None else None

    @cached_property
    def reliability(self) -> Reliability | None:
        """The confidence of the model, by its own scores, on the same images; None if it was not measured."""
        raw = self.scores.test or self.scores.ways().get("raw")
        return raw.reliability if raw is not None else None

    @cached_property
    def fitted_on(self) -> Reliability | None:
        """The confidence on validation images at each temperature of `GRID`; None if it was not measured."""
        raw = self.validation.ways().get("raw") or self.validation.held_out
        return raw.reliability if raw is not None else None

    def in_summary(self, directory: RunDirectory, stores: Mapping[str, StoreInfo]) -> dict[str, Any]:
        """The summary's part; writes what is too large for it beside it. stores: all that there are. Raises OSError."""
        test = None
        if self.told is not None:
            on, counts = self.told
            test = self._told(counts) | {"on": on, "interval": _interval(counts), "baseline": self._baseline(counts)}
        source, rows = per_store.results(self.classes, self.scores, self.validation, stores)
        directory.write(FILE, self._in_file())
        return {
            "test": test,
            "confused": most_confused(self.classes, self.told[1].confusion) if self.told else [],
            "adjustment": self._adjustment(),
            "calibration": self._calibration(),
            **per_store.in_summary(source, rows, directory.path),
            "evaluation_file": FILE,
        }

    def _adjustment(self) -> dict[str, Any] | None:
        """By which scores stores use the model, what that was chosen on, and what all their images say of both."""
        if not self.is_adjustable:
            return None
        found = {on: _described(scores) for on, scores in (("validation", self.validation), ("test", self.scores))}
        return {
            "used": "adjusted" if self.scores.is_adjusted else "raw",
            "chosen_on": "validation" if found["validation"] else None,
            **found,
            "temperature": self.own_temperature,
        }

    def _calibration(self) -> dict[str, Any] | None:
        """How sure the model is of test images, and how often rightly, with and without its temperature."""
        fitted_on, reliability = self.fitted_on, self.reliability
        if reliability is None or not reliability.num_examples:
            return None
        fitted = fit(fitted_on) if fitted_on else None
        found = {
            "temperature": self.temperature,
            "interval": [fitted.low, fitted.high] if fitted else None,
            "fitted_on": fitted_on.num_examples if fitted_on else 0,
        }
        return found | {"images": reliability.num_examples, "on": self.told[0] if self.told else None} | {
            name: _sureness(reliability, place) if place is not None else None
            for name, place in self._places(reliability).items()
        }  # fmt: skip

    def _in_file(self) -> dict[str, Any]:
        """Each store's results, and what they add up to."""
        source, scores = ("test", self.scores) if self.scores.stores else ("validation", self.validation)
        stores, raw, calibration = scores.stores, scores.raw, self._calibration()
        if calibration and self.reliability:
            places = self._places(self.reliability)
            for name, place in (("bins", places["unscaled"]), ("bins_scaled", places["scaled"])):
                if place is not None:
                    calibration[name] = _bins(self.reliability, place)
            calibration["validation"] = self._losses()
        few, together = len(stores) <= per_store.MAX_STORES_ONE_BY_ONE, scores.together()
        return {
            "classes": list(self.classes),
            "calibration": calibration,
            "stores_on": source if stores else None,
            "together": self._told_fully(together) if together is not None else None,
            "stores": {
                name: self._told_fully(counts, len(stores)) | {"raw": per_store.described(raw[name])}
                for name, counts in stores.items()
            }
            if few
            else None,
        }

    def _places(self, reliability: Reliability) -> dict[str, int | None]:
        """Return the index of the counts with the temperature ("scaled"; None without one) and without ("unscaled")."""
        at = {"unscaled": 1.0, "scaled": self.temperature}
        return {name: None if each is None else reliability.temperatures.index(each) for name, each in at.items()}

    def _losses(self) -> dict[str, Any] | None:
        """The mean loss of the validation images at each temperature: what the one chosen is the lowest of."""
        if (fitted_on := self.fitted_on) is None:
            return None
        losses = [fitted_on.loss(place) for place in range(len(GRID))]
        return {"images": fitted_on.num_examples, "temperatures": list(GRID), "loss": losses}

    def _told_fully(self, counts: Counts, stores: int = 1) -> dict[str, Any]:
        """A store's results. untold: images whose classes it keeps to itself, which count for accuracy and loss only"""
        reliability = counts.reliability
        sure = _sureness(reliability, reliability.temperatures.index(1.0)) if reliability else None
        has_room = stores * len(self.classes) ** 2 <= MOST_CELLS
        further = {"untold": {"right": counts.right, "wrong": counts.wrong}, "sure": sure}
        return self._told(counts, with_matrix=has_room) | further

    def _baseline(self, counts: Counts) -> dict[str, Any] | None:
        """The accuracy of always naming the commonest class of these images; None if nobody tells their classes."""
        images = counts.confusion.sum(axis=1)
        if not images.any():
            return None
        return {"class": self.classes[int(images.argmax())], "accuracy": float(images.max() / images.sum())}

    def _told(self, counts: Counts, *, with_matrix: bool = True) -> dict[str, Any]:
        figures = per_store.described(counts) | per_store.macros(counts)
        matrix = counts.confusion.tolist() if with_matrix else None
        return figures | {"per_class": counts.per_class(self.classes), "confusion": matrix}


def _interval(counts: Counts) -> list[float] | None:
    """The 95% interval of the accuracy; None without images."""
    return list(wilson(counts.accuracy, counts.num_examples)) if counts.num_examples else None


def reach(rounds: RoundLoop, state: TrainingState) -> FinalEvaluation:
    """Judge a state's model: its temperatures and by which scores stores use it on their validation images, then all
    on test images.
    """
    validation = rounds.validated(state)
    ways = validation.ways()
    temperature, own = _temperature(ways.get("raw") or validation.held_out), _temperature(ways.get("adjusted"))
    scores = rounds.scores(
        state, (1.0,) if temperature is None else (1.0, temperature), is_adjusted=validation.is_adjusted
    )
    is_adjustable = rounds.config.strategy.absent != "full"
    return FinalEvaluation(rounds.plan.spec.classes, scores, validation, temperature, own, is_adjustable)


def _temperature(counts: Counts | None) -> float | None:
    fitted = fit(counts.reliability) if counts is not None and counts.reliability else None
    return fitted.temperature if fitted else None


def _described(scores: Scores) -> dict[str, Any] | None:
    """Return the results on all stores' images together, "raw" and "adjusted"; None if no store has an adjustment."""
    ways = scores.ways()
    return {way: per_store.described(counts) for way, counts in ways.items()} if "adjusted" in ways else None


def _sureness(reliability: Reliability, place: int) -> dict[str, Any]:
    """ece: by how much confidence and accuracy differ; confidence, accuracy, loss: means over the images"""
    right = int(reliability.right[place].sum())
    return {
        "ece": reliability.ece(place),
        "confidence": reliability.confidence(place),
        "accuracy": right / reliability.num_examples if reliability.num_examples else None,
        "loss": reliability.loss(place),
    }


def _bins(reliability: Reliability, place: int) -> list[dict[str, Any]]:
    """The reliability picture: of each step of confidence the images, how many were right, how sure the model was."""
    rows = zip(reliability.images[place], reliability.right[place], reliability.sure[place], strict=True)
    return [
        {
            "from": number / BINS,
            "to": (number + 1) / BINS,
            "images": int(images),
            "right": int(right),
            "confidence": float(sure / images) if images else None,
        }
        for number, (images, right, sure) in enumerate(rows)
    ]
