"""The outcomes of a comparison, by arm, store and seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

from fedshelf.common.metrics.counts import Counts, merge
from fedshelf.simulations.compare.arms.arms import (
    ALONE,
    FEDERATED,
    LONGER,
    OF_ONE_STORE,
    POOLED,
    TUNED,
    WITHOUT,
    Arm,
)
from fedshelf.simulations.compare.curves import Curve
from fedshelf.simulations.compare.held_out import HeldOut
from fedshelf.simulations.compare.statistics.margins import Gain, Paired, gain
from fedshelf.simulations.compare.statistics.paired_accuracy import Answers, Judged
from fedshelf.simulations.compare.trainer import SERVER_TEST, ArmResult
from fedshelf.simulations.federation.federation import Federation

ARM_KINDS = (ALONE, FEDERATED, LONGER, TUNED, POOLED)  # in the order in which they are shown


class SeedOutcome:
    """The outcomes of one seed.

    Args:
        seed: the seed
        federation: the stores that it deals
        held_out: the images on which models are judged
        arms: all trainings, in the order of their numbers
        outcomes: by the number of the arm
    """

    def __init__(
        self,
        seed: int,
        federation: Federation,
        held_out: HeldOut,
        arms: Sequence[Arm],
        outcomes: Mapping[int, ArmResult],
    ) -> None:
        self.seed = seed
        self.federation = federation
        self.held_out = held_out
        self.arm_results = {arm.name: outcomes[arm_number] for arm_number, arm in enumerate(arms)}
        self.stores = sorted(federation.stores)
        self.image_numbers = held_out.image_numbers()
        kinds = {arm.kind for arm in arms}
        self.kinds = [kind for kind in ARM_KINDS if kind in kinds]
        self.is_adjusted = cache(self._is_adjusted)

    def own(self, kind: str, store: str) -> Judged:
        """Return the results of a store's model on its own images, as the store uses the model."""
        return self._outcome(kind, store).judged[store].used(is_adjusted=self.is_adjusted(kind))

    def raw(self, kind: str, store: str) -> Judged:
        """Return the results of a store's model on its own images, by the model's own scores."""
        return self._outcome(kind, store).judged[store].raw

    def server(self, kind: str, store: str) -> Judged | None:
        """Return the results of a store's model on the server's test set; None without one."""
        answers = self._outcome(kind, store).judged.get(SERVER_TEST)
        return None if answers is None else answers.raw

    def curve(self, kind: str) -> list[Curve]:
        """Return the learning curves of the models of a kind."""
        return [outcome.curve for outcome in self._outcomes(kind)]

    def paired(self, store: str, of: str, over: str) -> Paired:
        """Compare a store's model of one kind with that of another, image by image."""
        return Paired.of(
            store, self.image_numbers[store], self.own(over, store), self.own(of, store)
        )

    def accuracy(self, kind: str, *, raw: bool = False) -> float:
        """Return the mean over stores of the accuracies on their own images.

        Each store with images counts the same.

        Args:
            kind: the kind of models
            raw: whether to use the models' own scores, and not those that the stores use
        """
        results = [(self.raw if raw else self.own)(kind, store) for store in self.stores]
        return fmean(result.counts.accuracy for result in results if len(result.right))

    def _is_adjusted(self, kind: str) -> bool:
        """Return whether the stores' class shares are added to the scores of all models of a kind.

        They are if that does not raise the loss on the validation images, or if there are none of
        these.
        """
        outcomes = self._outcomes(kind)
        validated = list(
            _adjustable(answers for outcome in outcomes for answers in outcome.validated.values())
        )
        if not validated:
            return any(
                _adjustable(answers for outcome in outcomes for answers in outcome.judged.values())
            )
        raw, adjusted = (
            # a simulated store has no policy that withholds it
            sum(answer.used(is_adjusted=is_adjusted).counts.loss_sum or 0.0 for answer in validated)
            for is_adjusted in (False, True)
        )
        return adjusted <= raw

    def _outcome(self, kind: str, store: str) -> ArmResult:
        return self.arm_results[f"{kind}/{store}" if kind in (*OF_ONE_STORE, WITHOUT) else kind]

    def _outcomes(self, kind: str) -> list[ArmResult]:
        return (
            [self._outcome(kind, store) for store in self.stores]
            if kind in OF_ONE_STORE
            else [self.arm_results[kind]]
        )


@dataclass(frozen=True)
class ResultRow:
    """A store's row in the results.

    Attributes:
        label: the store's name, preceded by its seed if each seed deals other stores
        store: the store's name
        seeds: the seeds in which it took part
    """

    label: str
    store: str
    seeds: Sequence[SeedOutcome]

    def counts(self, kind: str) -> Counts:
        """Return the counts of the store's models of a kind on its own images, in all its seeds."""
        return _merge_counts([seed.own(kind, self.store).counts for seed in self.seeds])

    def raw_counts(self, kind: str) -> Counts:
        """Return the same counts by the models' own scores."""
        return _merge_counts([seed.raw(kind, self.store).counts for seed in self.seeds])

    def server(self, kind: str) -> Counts | None:
        """Return the counts of the store's models on the server's test set; None without one."""
        results = [
            result for seed in self.seeds if (result := seed.server(kind, self.store)) is not None
        ]
        return _merge_counts([result.counts for result in results]) if results else None

    def gain(self, of: str, over: str) -> Gain | None:
        """Return the gain by models of the kind `of` over the kind `over`; None without images."""
        return gain([[seed.paired(self.store, of, over)] for seed in self.seeds])


class ComparisonResults:
    """A comparison's seeds, and its rows of stores.

    `is_dealt_anew` is True if each seed deals other stores than the next, although their names are
    the same.

    Args:
        seeds: the outcomes of the seeds, at least one
        is_dealt: whether a seed deals a data set to stores; else the stores exist already
    """

    def __init__(self, seeds: Sequence[SeedOutcome], *, is_dealt: bool) -> None:
        self.seeds = seeds
        self.kinds = seeds[0].kinds
        self.is_dealt = is_dealt
        self.is_dealt_anew = is_dealt and len(seeds) > 1
        if self.is_dealt_anew:
            self.rows = [
                ResultRow(f"seed {seed.seed}, {store}", store, [seed])
                for seed in seeds
                for store in seed.stores
            ]
        else:
            self.rows = [ResultRow(store, store, seeds) for store in seeds[0].stores]

    def gain(self, of: str, over: str) -> Gain:
        """Return the mean gain over the stores that have images to judge on, and over the seeds."""
        mean_gain = gain(
            [[seed.paired(store, of, over) for store in seed.stores] for seed in self.seeds]
        )
        assert mean_gain is not None, "there are images to judge on"
        return mean_gain

    def everywhere(self, kind: str) -> Counts:
        """Return all stores' counts on their own images as one."""
        return _merge_counts([row.counts(kind) for row in self.rows])


def _adjustable(all_answers: Iterator[Answers]) -> Iterator[Answers]:
    return (answers for answers in all_answers if answers.adjusted is not None)


def _merge_counts(counts: list[Counts]) -> Counts:
    return merge(counts, len(counts[0].confusion))
