"""What the end of a run says of its model: per class, per store, how fair, how sure of itself.

The summary has what a person asks for first; `evaluation.json` has the rest, each store's confusion matrix included.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common.calibration import BINS, GRID, Reliability, best_temperature
from common.confusions import most_confused
from common.metrics import Counts, merge
from common.orders import StoreInfo
from server import per_store
from server.checkpoints import State
from server.lines import Scores
from server.report.contents import EVALUATION as FILE
from server.rounds import Rounds
from server.run_directory import RunDirectory

MOST_CELLS = 2**21  # of the stores' confusion matrices in the file; about 4 MB


@dataclass(frozen=True)
class Verdict:
    """A model judged by what the server and the stores hold out.

    scores:      on test images; with `temperature`, how sure the model is with and without it
    validation:  by store, on validation images, how sure at each temperature of `GRID` included
    temperature: at which the validation images are likeliest; None without any
    """

    classes: tuple[str, ...]
    scores: Scores
    validation: Mapping[str, Counts]
    temperature: float | None

    @cached_property
    def told(self) -> tuple[str, Counts] | None:
        """What the run is judged by: the server's test images, else the stores'."""
        if self.scores.test is not None:
            return "server", self.scores.test
        return ("stores", self._together(self.scores.stores)) if self.scores.stores else None

    @cached_property
    def fitted_on(self) -> Reliability | None:
        """What the stores' validation images say at each temperature of `GRID`; None if nobody told."""
        return self._together(self.validation).reliability

    def in_summary(self, directory: RunDirectory, stores: Mapping[str, StoreInfo]) -> dict[str, Any]:
        """The summary's part; writes what is too large for it beside it. stores: all that there are. Raises OSError."""
        test = None
        if self.told is not None:
            on, counts = self.told
            test = self._told(counts) | {"on": on}
        source, rows = per_store.results(self.classes, self.scores.test, self.scores.stores, self.validation, stores)
        directory.write(FILE, self._in_file())
        return {
            "test": test,
            "confused": most_confused(self.classes, self.told[1].confusion) if self.told else [],
            "calibration": self._calibration(),
            **per_store.in_summary(source, rows, directory.path),
            "evaluation_file": FILE,
        }

    def _calibration(self) -> dict[str, Any] | None:
        """How sure the model is of test images, and how often rightly, with and without its temperature."""
        fitted_on, reliability = self.fitted_on, self.told[1].reliability if self.told else None
        if reliability is None or not reliability.num_examples:
            return None
        found = {"temperature": self.temperature, "fitted_on": fitted_on.num_examples if fitted_on else 0}
        return found | {"images": reliability.num_examples, "on": self.told[0] if self.told else None} | {
            name: _sureness(reliability, place) if place < len(reliability.temperatures) else None
            for place, name in enumerate(("unscaled", "scaled"))
        }  # fmt: skip

    def _in_file(self) -> dict[str, Any]:
        """Each store's results, and what they add up to."""
        source, stores = ("test", self.scores.stores) if self.scores.stores else ("validation", self.validation)
        calibration, reliability = self._calibration(), self.told[1].reliability if self.told else None
        if calibration and reliability:
            for place, name in enumerate(("bins", "bins_scaled")[: len(reliability.temperatures)]):
                calibration[name] = _bins(reliability, place)
            calibration["validation"] = self._losses()
        few = len(stores) <= per_store.MOST
        return {
            "classes": list(self.classes),
            "calibration": calibration,
            "stores_on": source if stores else None,
            "together": self._told_fully(self._together(stores)) if stores else None,
            "stores": {name: self._told_fully(counts, len(stores)) for name, counts in stores.items()} if few else None,
        }

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

    def _told(self, counts: Counts, *, with_matrix: bool = True) -> dict[str, Any]:
        figures = per_store.described(counts) | per_store.macros(counts)
        matrix = counts.confusion.tolist() if with_matrix else None
        return figures | {"per_class": counts.per_class(self.classes), "confusion": matrix}

    def _together(self, found: Mapping[str, Counts]) -> Counts:
        return merge(list(found.values()), len(self.classes))


def reach(rounds: Rounds, state: State) -> Verdict:
    """Judge a state's model: its temperature on the stores' validation images, then all on test images."""
    classes = rounds.plan.spec.classes
    validation = rounds.validated(state, GRID)
    counted = merge(list(validation.values()), len(classes)).reliability
    temperature = best_temperature(counted) if counted else None
    scores = rounds.scores(state, (1.0,) if temperature is None else (1.0, temperature))
    return Verdict(classes, scores, validation, temperature)


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
