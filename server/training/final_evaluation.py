"""The final evaluation of a run's model: per class, per store, fairness and calibration.

The summary has the headline metrics; `evaluation.json` has the rest, with each store's confusion
matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedshelf.common.metrics.calibration import (
    BINS,
    TEMPERATURES,
    Reliability,
    fit_energy_threshold,
    fit_temperature,
)
from fedshelf.common.metrics.confusions import most_confused
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.metrics.energy import share_below
from fedshelf.common.metrics.proportions import wilson_interval
from fedshelf.common.protocol.messages import StoreInfo
from fedshelf.server.report.run_data import EVALUATION_FILE
from fedshelf.server.results import per_store
from fedshelf.server.results.checkpoints import TrainingState
from fedshelf.server.results.count_threshold import counting
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.results.scenes.class_figures import class_figures
from fedshelf.server.results.scenes.figures import scene_figures
from fedshelf.server.results.scores import Scores
from fedshelf.server.training.round_loop import RoundLoop

MOST_CELLS = 2**21  # cells of all stores' confusion matrices in the file; about 4 MB


@dataclass(frozen=True)
class FinalEvaluation:
    """The metrics of a model on the images that the server and the stores hold out.

    Attributes:
        scores: on test images; its reliability has the model's own confidence and, if there is a
            temperature, the scaled one
        validation: on validation images, with reliability at each temperature of `TEMPERATURES`
        temperature: the one that makes the validation images likeliest by the raw scores; None: no
            images
        own_temperature: the same for the adjusted scores; None if no store has an adjustment
        is_adjustable: True if training added class offsets to the scores, which stores add when
            they use the model
        objective: the run's train.objective
    """

    classes: tuple[str, ...]
    scores: Scores
    validation: Scores
    temperature: float | None
    own_temperature: float | None = None
    is_adjustable: bool = False
    objective: str = "classes"

    @cached_property
    def told(self) -> tuple[str, Counts] | None:
        """Source and counts of the run's test result: on the server's images, else on the stores'.

        The stores' counts are of the model as they use it. None if nobody has test images.
        """
        if self.scores.test is not None:
            return "server", self.scores.test
        together = self.scores.together()
        return ("stores", together) if together is not None else None

    @cached_property
    def reliability(self) -> Reliability | None:
        """Reliability of the raw scores on the same test images; None if it was not measured."""
        raw = self.scores.test or self.scores.ways().get("raw")
        return raw.reliability if raw is not None else None

    @cached_property
    def fitted_on(self) -> Reliability | None:
        """Reliability on validation images at each temperature of `TEMPERATURES`.

        The result is None if it was not measured.
        """
        raw = self.validation.ways().get("raw") or self.validation.held_out
        return raw.reliability if raw is not None else None

    def to_summary(
        self, directory: RunDirectory, stores: Mapping[str, StoreInfo]
    ) -> dict[str, Any]:
        """Return the summary's part on the evaluation; write the rest to `evaluation.json`.

        Raises OSError.

        Args:
            stores: all stores of the run
        """
        test = None
        if self.told is not None:
            on, counts = self.told
            test = self._told(counts) | {
                "on": on,
                "interval": _interval(counts),
                "baseline": self._baseline(counts),
            }
        source, rows = per_store.results(self.classes, self.scores, self.validation, stores)
        directory.write(EVALUATION_FILE, self._to_file())
        return {
            "test": test,
            "confused": most_confused(self.classes, self.told[1].confusion) if self.told else [],
            "adjustment": self._adjustment(),
            "calibration": self._calibration(),
            "counting": self._counting(),
            **per_store.to_summary(source, rows, directory.path),
            "evaluation_file": EVALUATION_FILE,
            "withholding": [
                name for name, info in sorted(stores.items()) if info.withholds_evaluations
            ],
        }

    def _counting(self) -> dict[str, Any] | None:
        """Return the threshold for counting products and its errors; None without boxes."""
        if self.told is None:
            return None
        return counting(self.validation.held_out or self.validation.together(), *self.told)

    def _adjustment(self) -> dict[str, Any] | None:
        """Return which scores stores use, raw or adjusted, and the results of both.

        The split that decided it is in it, too.

        The result is None if no class offsets are in use.
        """
        if not self.is_adjustable:
            return None
        results = {
            on: _described(scores)
            for on, scores in (("validation", self.validation), ("test", self.scores))
        }
        return {
            "used": "adjusted" if self.scores.is_adjusted else "raw",
            "chosen_on": "validation" if results["validation"] else None,
            **results,
            "temperature": self.own_temperature,
            "energy_threshold": _energy_threshold(self.validation.ways().get("adjusted")),
        }

    def _calibration(self) -> dict[str, Any] | None:
        """Return the calibration on test images, with and without the temperature.

        `unknown` is the share of these images whose energy is below `energy_threshold`.

        It is None without images.
        """
        fitted_on = self.fitted_on
        reliability = self.reliability
        if reliability is None or not reliability.num_examples:
            return None
        fitted = fit_temperature(fitted_on) if fitted_on else None
        threshold = fit_energy_threshold(fitted_on) if fitted_on else None
        figures = {
            "temperature": self.temperature,
            "interval": [fitted.low, fitted.high] if fitted else None,
            "fitted_on": fitted_on.num_examples if fitted_on else 0,
            "energy_threshold": threshold,
            "unknown": None if threshold is None else share_below(reliability.energies, threshold),
        }
        return (
            figures
            | {"images": reliability.num_examples, "on": self.told[0] if self.told else None}
            | {
                name: _calibration_figures(reliability, index) if index is not None else None
                for name, index in self._temperature_indices(reliability).items()
            }
        )

    def _to_file(self) -> dict[str, Any]:
        """Return each store's results, and the results on all of their images together."""
        source, scores = (
            ("test", self.scores) if self.scores.stores else ("validation", self.validation)
        )
        stores = scores.stores
        raw = scores.raw
        calibration = self._calibration()
        if calibration and self.reliability:
            indices = self._temperature_indices(self.reliability)
            for name, index in (("bins", indices["unscaled"]), ("bins_scaled", indices["scaled"])):
                if index is not None:
                    calibration[name] = _bins(self.reliability, index)
            calibration["validation"] = self._losses()
        few = len(stores) <= per_store.MAX_STORES_ONE_BY_ONE
        counted = self._counting()
        together = scores.together()
        return {
            "classes": list(self.classes),
            "calibration": calibration,
            "scenes": (
                scene_figures(
                    self.told[1],
                    stores if few else {},
                    counted["threshold"] if counted else None,
                    self.classes,
                )
                if self.told
                else None
            ),
            "stores_on": source if stores else None,
            "together": self._told_fully(together) if together is not None else None,
            "stores": (
                {
                    name: (
                        self._told_fully(counts, len(stores))
                        | {"raw": per_store.summarize_counts(raw[name])}
                    )
                    for name, counts in stores.items()
                }
                if few
                else None
            ),
        }

    def _temperature_indices(self, reliability: Reliability) -> dict[str, int | None]:
        """Return the index of the counts with and without the temperature.

        The keys are "scaled" (None without a temperature) and "unscaled".
        """
        temperatures = {"unscaled": 1.0, "scaled": self.temperature}
        return {
            name: None if temperature is None else reliability.temperatures.index(temperature)
            for name, temperature in temperatures.items()
        }

    def _losses(self) -> dict[str, Any] | None:
        """Return the mean loss of the validation images at each temperature of `TEMPERATURES`.

        The lowest one is chosen.
        """
        if (fitted_on := self.fitted_on) is None:
            return None
        losses = [fitted_on.loss(index) for index in range(len(TEMPERATURES))]
        return {
            "images": fitted_on.num_examples,
            "temperatures": list(TEMPERATURES),
            "loss": losses,
        }

    def _told_fully(self, counts: Counts, stores: int = 1) -> dict[str, Any]:
        """Return the results of one store, or of all stores together.

        Its entry `untold` counts images whose classes the store keeps to itself: they count only
        for accuracy and loss.

        Args:
            stores: number of stores in the file; decides whether there is room for the confusion
                matrix
        """
        reliability = counts.reliability
        sure = (
            _calibration_figures(reliability, reliability.temperatures.index(1.0))
            if reliability
            else None
        )
        has_room = stores * len(self.classes) ** 2 <= MOST_CELLS
        further = {
            "untold": {"right": counts.undisclosed_correct, "wrong": counts.undisclosed_wrong},
            "sure": sure,
        }
        return self._told(counts, with_matrix=has_room) | further

    def _baseline(self, counts: Counts) -> dict[str, Any] | None:
        """Return the accuracy of always naming the most frequent class.

        The result is None if no classes are known.
        """
        images = counts.confusion.sum(axis=1)
        if not images.any():
            return None
        return {
            "class": self.classes[int(images.argmax())],
            "accuracy": float(images.max() / images.sum()),
        }

    def _told(self, counts: Counts, *, with_matrix: bool = True) -> dict[str, Any]:
        figures = per_store.summarize_counts(counts, self.objective) | per_store.macros(counts)
        matrix = counts.confusion.tolist() if with_matrix else None
        per_class = class_figures(counts, self.classes) or counts.per_class(self.classes)
        return figures | {"per_class": per_class, "confusion": matrix}


def _interval(counts: Counts) -> list[float] | None:
    """Return the 95% interval of the accuracy; None without images."""
    return (
        list(wilson_interval(counts.accuracy, counts.num_examples)) if counts.num_examples else None
    )


def evaluate_final_model(round_loop: RoundLoop, state: TrainingState) -> FinalEvaluation:
    """Judge a state's model for the end of the run.

    The validation images decide the temperatures and whether stores use raw or adjusted scores.
    Then the model is judged on all test images.
    """
    validation = round_loop.validation_scores(state)
    ways = validation.ways()
    temperature = _temperature(ways.get("raw") or validation.held_out)
    own = _temperature(ways.get("adjusted"))
    scores = round_loop.scores(
        state,
        (1.0,) if temperature is None else (1.0, temperature),
        is_adjusted=validation.is_adjusted,
    )
    is_adjustable = round_loop.config.strategy.absent != "full"
    return FinalEvaluation(
        round_loop.plan.spec.classes,
        scores,
        validation,
        temperature,
        own,
        is_adjustable,
        round_loop.plan.config.train.objective,
    )


def _temperature(counts: Counts | None) -> float | None:
    fitted = (
        fit_temperature(counts.reliability) if counts is not None and counts.reliability else None
    )
    return fitted.temperature if fitted else None


def _energy_threshold(counts: Counts | None) -> float | None:
    return (
        fit_energy_threshold(counts.reliability)
        if counts is not None and counts.reliability
        else None
    )


def _described(scores: Scores) -> dict[str, Any] | None:
    """Return the results on all stores' images together, "raw" and "adjusted".

    The result is None if no store has an adjustment.
    """
    ways = scores.ways()
    return (
        {way: per_store.summarize_counts(counts) for way, counts in ways.items()}
        if "adjusted" in ways
        else None
    )


def _calibration_figures(reliability: Reliability, index: int) -> dict[str, Any]:
    """Return the calibration figures at one temperature.

    ece:                        expected calibration error: the gap between confidence and accuracy
    confidence, accuracy, loss: means over the images

    Args:
        index: index of the temperature
    """
    right = int(reliability.correct[index].sum())
    return {
        "ece": reliability.ece(index),
        "confidence": reliability.confidence(index),
        "accuracy": right / reliability.num_examples if reliability.num_examples else None,
        "loss": reliability.loss(index),
    }


def _bins(reliability: Reliability, index: int) -> list[dict[str, Any]]:
    """Return the reliability diagram.

    It has per bin of confidence the images, the hits and the mean confidence.
    """
    rows = zip(
        reliability.images[index],
        reliability.correct[index],
        reliability.confidence_sum[index],
        strict=True,
    )
    return [
        {
            "from": bin_number / BINS,
            "to": (bin_number + 1) / BINS,
            "images": int(images),
            "right": int(right),
            "confidence": float(sure / images) if images else None,
        }
        for bin_number, (images, right, sure) in enumerate(rows)
    ]
