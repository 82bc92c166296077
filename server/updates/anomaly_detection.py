"""Detection of updates that look poisoned or trained on wrong labels.

It names stores and excludes none.

There are five signs. The first two need the updates alone, the others the server's test set:

large: the norm of the change by training, compared with stores that took as many steps
    (`norm_regression`)
direction: the cosine of that change with the one that the others' updates predict for a store with
    its mix of classes (`directions`)
exchange: the store's images of class a look like the test set's images of b, and those of b like a
    (`mislabelling`); where this is slight, the update of the layers below the head must follow
    labels that are so exchanged (`label_guesses`)
shift: that update follows a list of classes that is shifted by one, and the head shows images
    unlike their labels, both together by SHIFTED_LEAD
labels: that update follows labels by which the images are of the classes that they look like to the
    head, and the head shows images unlike their labels, both together by WRONG_LEAD

A suspicion is a reason to look, not a proof: docs/log.md has the rate of false alarms.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from fedshelf.common import strategies
from fedshelf.common.config import STORES_OWN, RunConfig
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Plan, StoreInfo
from fedshelf.common.strategies.shared.base import UpdateVectors
from fedshelf.server.updates import label_guesses
from fedshelf.server.updates.directions import Floats, gram, strays
from fedshelf.server.updates.evaluator import FeatureSample, ModelEvaluator, ServerEvaluator
from fedshelf.server.updates.label_guesses import (
    ALIKE,
    EXCHANGED,
    SHIFTED,
    GuessComparison,
    GuessedLabels,
)
from fedshelf.server.updates.mislabelling import (
    DOUBT_SCORE,
    EXCHANGED_SCORE,
    WRONG_SCORE,
    LabelEvidence,
    Looks,
)
from fedshelf.server.updates.norm_bound import MIN_UPDATES_FOR_MEDIAN
from fedshelf.server.updates.norm_regression import times_usual
from fedshelf.server.updates.screening import RoundOutcome

SUSPICIOUS_NORM_FACTOR = 3.5  # times the usual norm
# leads of guesses about labels in the layers below the head, less the lead of right labels in the
# head: of shifted and exchanged labels, and of those that look like others
SHIFTED_LEAD = 0.35
EXCHANGED_LEAD = 0.35
WRONG_LEAD = 0.3


def is_on(config: RunConfig) -> bool:
    """Return whether stores are examined: as the setting says; by default only real stores are.

    A secure sum has no single updates to examine.
    """
    return config.screening.detect == "on" or (
        config.screening.detect == "auto"
        and config.data.dataset == STORES_OWN
        and not config.privacy.secure_sum
    )


def sample_of(judge: ModelEvaluator | None, config: RunConfig) -> FeatureSample | None:
    """Return a sample of the server's test images, from the evaluator of the global model.

    The result is None if there is no evaluator or the detection does not use test images.
    """
    if judge is None or not is_on(config) or not config.screening.test_images:
        return None
    assert isinstance(judge, ServerEvaluator)
    return judge.sample(config.screening.test_images, config.run.seed)


def build(
    plan: Plan, sample: FeatureSample | None, layout: Layout, note: Callable[[str], None]
) -> "AnomalyDetector | None":
    """Return a run's detector; None if detection is off, or has no weights to examine.

    Args:
        sample: returns the features of some of the server's test images, or None
        note: tells a person that a strategy leaves nothing to examine
    """
    if not is_on(plan.config):
        return None
    if strategies.find(plan.config.strategy.name).closed_form:
        note(
            f"Strategy {plan.config.strategy.name} trains no weights, so nobody looks for swapped"
            " labels (screening.detect); sums that contradict each other are refused."
        )
        return None
    return AnomalyDetector(plan, sample, layout)


class AnomalyDetector:
    """Examines each round's updates.

    Args:
        sample: returns the features of some of the server's test images, or None
    """

    def __init__(self, plan: Plan, sample: FeatureSample | None, layout: Layout) -> None:
        self._plan = plan
        self._sample = sample
        self._layout = layout

    def look(
        self, trained: RoundOutcome, evidence: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
        """Return the suspicions of a round, {store: reason}, and the evidence after it.

        Most rounds have no suspicions: {}.

        Args:
            evidence: of earlier rounds, by store
        """
        updates = trained.updates
        if len(updates) < MIN_UPDATES_FOR_MEDIAN:
            return {}, dict(evidence)
        counts = np.stack([self._counts(trained.asked[update.store]) for update in updates])
        reasons = self._large_updates(trained)
        mixes = counts / counts.sum(axis=1, keepdims=True)
        for index, stray in strays(
            gram(trained.order.params, UpdateVectors(updates)), mixes, MIN_UPDATES_FOR_MEDIAN
        ).items():
            words = (
                "its update points elsewhere than those of stores with such classes"
                f" (cosine {stray.cosine:.2f}, where {stray.usual:.2f} is usual)"
            )
            reasons.setdefault(updates[index].store, []).append(words)
        label_evidence = self._label_evidence(trained, counts, evidence)
        guesses = self._guesses(trained, counts, label_evidence, evidence) if label_evidence else {}
        after = dict(evidence)
        for update, own in zip(updates, counts, strict=True):
            if update.store in label_evidence:
                seen = label_evidence[update.store]
                guessed = guesses[update.store]
                after[update.store] = seen.to_record() | guessed.to_record()
                if (doubt := self._label_suspicion(seen, guessed, own)) is not None:
                    reasons.setdefault(update.store, []).append(doubt)
        return {store: "; ".join(sentences) for store, sentences in sorted(reasons.items())}, after

    def _large_updates(self, trained: RoundOutcome) -> dict[str, list[str]]:
        config = self._plan.config
        updates = trained.updates
        steps = [
            min(max(1, update.steps), config.most_steps(update.num_examples)) for update in updates
        ]
        shares = np.array(
            [min(1.0, update.num_examples / config.train.batch) for update in updates]
        )
        norms = np.array([trained.norms[update.store] for update in updates])
        times = times_usual(norms, np.array(steps, dtype=np.float64), shares)
        return {
            update.store: [
                f"its update is {factor:.1f} times as large as is usual for so many steps"
            ]
            for update, factor in zip(updates, times, strict=True)
            if factor > SUSPICIOUS_NORM_FACTOR
        }

    def _label_evidence(
        self, trained: RoundOutcome, counts: Floats, evidence: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, LabelEvidence]:
        """Return the evidence after this round, of each store whose update trained the head.

        Args:
            counts: [n, C], training images by class of the n updates' stores
        """
        after = dict[str, LabelEvidence]()
        looks = (
            None
            if self._sample is None
            else Looks.of(self._sample(trained.order.params), self._sample.targets)
        )
        if looks is None:
            return after
        head = self._layout.head_slices()[0]
        start = trained.order.params[head].cpu()
        for update, own in zip(trained.updates, counts, strict=True):
            change = update.params_slice(head.start, head.stop).cpu() - start
            seen = looks.likeness(change.view(len(own), -1).double().numpy(), own)
            if seen:
                after[update.store] = LabelEvidence.of(evidence.get(update.store)).after(seen)
        return after

    def _guesses(
        self,
        trained: RoundOutcome,
        counts: Floats,
        labels: Mapping[str, LabelEvidence],
        evidence: Mapping[str, Mapping[str, Any]],
    ) -> dict[str, GuessedLabels]:
        """Return the evidence of the layers below the head after this round, by store.

        Args:
            counts: [n, C], training images by class of the n updates' stores
            labels: the evidence of the head after this round
            evidence: of earlier rounds
        """
        assert self._sample is not None
        order = trained.order
        stores = [update.store for update in trained.updates]
        examined = label_guesses.examination(
            labels, dict(zip(stores, counts, strict=True)), self._sample.targets
        )
        spans = label_guesses.spans(self._layout, len(stores) + len(examined.gradients))
        after = {store: GuessedLabels.of(evidence.get(store)) for store in labels}
        if not spans or not examined.gradients:
            return after
        start = torch.cat([order.params[span] for span in spans]).cpu()
        changes = [
            torch.cat([update.params_slice(s.start, s.stop) for s in spans]).cpu().double() - start
            for update in trained.updates
        ]
        gradients = {}
        for of, label in examined.gradients:
            gradient = self._sample.gradient(
                order.params, of, label, label_guesses.GRADIENT_IMAGES, order.round
            )
            gradients[of, label] = (
                torch.cat([gradient[span] for span in spans]).cpu().double().numpy()
            )
        comparison = GuessComparison(np.stack(changes), gradients)
        for row, store in enumerate(stores):
            if store not in labels:
                continue
            candidate = labels[store].exchange_candidate()
            known = after[store].about(candidate[0] if candidate else None)
            for kind, guess in examined.guesses[store].items():
                if (gain := comparison.gain(row, counts[row], guess)) is not None:
                    known = known.after(kind, *gain)
            after[store] = known
        return after

    def _label_suspicion(
        self, evidence: LabelEvidence, guessed: GuessedLabels, counts: Floats
    ) -> str | None:
        if (candidate := evidence.exchange_candidate()) is not None:
            pair, score = candidate
            below = guessed.lead(EXCHANGED) if guessed.pair == pair else 0.0
            if score < EXCHANGED_SCORE or (below > 0 and below - score > EXCHANGED_LEAD):
                a, b = (self._plan.spec.classes[label] for label in pair)
                return f"its updates teach that {a} is {b} and {b} is {a}: are the two exchanged?"
        lead = evidence.lead(counts)
        below = guessed.lead(SHIFTED)
        if below > 0 and below - lead > SHIFTED_LEAD:
            return (
                "its updates teach each class's images the name of the next: is its list of classes"
                " shifted by one?"
            )
        below = guessed.lead(ALIKE)
        is_wrong = (
            lead < DOUBT_SCORE and below > 0 and below - lead > WRONG_LEAD
            if ALIKE in guessed.evidence
            else lead < WRONG_SCORE
        )
        if is_wrong:
            return (
                "its updates teach of its classes' images that they are others: are its labels"
                " right?"
            )
        return None

    def _counts(self, info: StoreInfo) -> Floats:
        """Return a store's images by class, [C]; equal shares if it tells nothing."""
        counts = np.array(
            [info.counts.get(label, 0) for label in self._plan.spec.classes], dtype=np.float64
        )
        return (
            counts
            if counts.any()
            else np.full(len(counts), max(1, info.num_examples) / len(counts))
        )
