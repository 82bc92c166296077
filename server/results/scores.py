"""Results of the evaluation of one model, by raw and by adjusted scores.

The model is evaluated at the server and at the stores.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedshelf.common.metrics.counts import Counts, merge
from fedshelf.common.protocol.messages import Evaluation


@dataclass(frozen=True)
class Scores:
    """Counts of one model.

    Attributes:
        test: on the server's images, by the model's own ("raw") scores
        raw: of each store, on the images that it holds out, by raw scores
        adjusted: on the same images, with the adjustment added
            (`common.strategies.shared.class_skew`), of the stores that have one
        is_adjusted: whether the stores use the model with their adjustments
        diverged: stores whose images gave a loss that is not finite
        held_out: on the server's images that choose rounds if no store's can
            (`server.training.selection_images`), raw
    """

    test: Counts | None
    raw: Mapping[str, Counts]
    adjusted: Mapping[str, Counts] = field(default_factory=dict)
    is_adjusted: bool = True
    held_out: Counts | None = None
    diverged: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls,
        test: Counts | None,
        evaluations: Mapping[str, Evaluation],
        is_adjusted: bool | None = None,
    ) -> "Scores":
        """Return the scores of a model from the server's counts and the stores' evaluations.

        Args:
            is_adjusted: as it was chosen on other images; None: chosen on these, by the lower sum
                of losses
        """
        raw = {name: evaluation.counts for name, evaluation in evaluations.items()}
        adjusted = {
            name: evaluation.adjusted
            for name, evaluation in evaluations.items()
            if evaluation.adjusted is not None
        }
        if is_adjusted is None:
            is_adjusted = _loss_sum(adjusted) <= _loss_sum({name: raw[name] for name in adjusted})
        return cls(test, raw, adjusted, is_adjusted)

    @property
    def stores(self) -> Mapping[str, Counts]:
        """Counts of each store, as it uses the model."""
        return {**self.raw, **self.adjusted} if self.is_adjusted else self.raw

    def together(self) -> Counts | None:
        """Return all stores' counts merged, as they use the model; None without any."""
        return _merged(self.stores)

    def deciding(self) -> tuple[str, Counts] | None:
        """Return the counts that the best round is chosen by, with their key.

        The key is one of `delivered_round.DECIDING_IMAGES`.

        These are the counts on the stores' validation images, else on the server's, else on its
        test images; None without any.
        """
        by_images = {
            "validation": self.together(),
            "server-validation": self.held_out,
            "test": self.test,
        }
        return next(((on, counts) for on, counts in by_images.items() if counts is not None), None)

    def ways(self) -> dict[str, Counts]:
        """Return all stores' counts merged: "raw", and "adjusted" if any store has an adjustment.

        The result is {} without any counts.
        """
        ways = {"raw": self.raw} | (
            {"adjusted": {**self.raw, **self.adjusted}} if self.adjusted else {}
        )
        merged = {way: _merged(counts) for way, counts in ways.items()}
        return {way: counts for way, counts in merged.items() if counts is not None}


def _merged(counts_by_store: Mapping[str, Counts]) -> Counts | None:
    counts = list(counts_by_store.values())
    return merge(counts, len(counts[0].confusion)) if counts else None


def _loss_sum(counts_by_store: Mapping[str, Counts]) -> float:
    return sum(counts.loss_sum or 0.0 for counts in counts_by_store.values())
