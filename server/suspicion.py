"""Which stores' updates look poisoned or trained on wrong labels, said in words; nothing here excludes anybody.

Four signs. The first two need updates alone, the others the server's test set:

large:     the norm of what training changed, as in `norm_bound.too_large`
direction: its cosine with what the others' updates predict for a store with its mix of classes (`directions`)
exchange:  it teaches that images of class a are b and those of b are a (`mislabelling`), over several rounds
labels:    it teaches of its classes' images that they are others, over several rounds

A suspicion is a reason to look, and no proof: docs/log.md has how often it errs.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.config import STORES_OWN, RunConfig
from common.orders import Plan, StoreInfo
from common.seeding import rng
from common.strategies.base import Vectors
from server.directions import Floats, gram, strays
from server.gate import Judge, Sample
from server.judge import ServerTest
from server.lines import Trained
from server.mislabelling import Evidence, effect, knows
from server.norm_bound import FEWEST, too_large

LOOK = 500  # test images on which one store's update is looked at
LARGE = 3.5  # times the usual norm; honest ones reached 2.6


def is_on(config: RunConfig) -> bool:
    """Whether stores are looked at: as set, or else with real stores."""
    return config.screening.detect == "on" or (config.screening.detect == "auto" and config.data.dataset == STORES_OWN)


def sample_of(judge: Judge | None, config: RunConfig) -> Sample | None:
    """What looks at single stores' updates, made of what judges the global model; None if nobody will ask it."""
    if judge is None or not is_on(config) or config.screening.test_images < LOOK:
        return None
    assert isinstance(judge, ServerTest)
    return judge.sample(LOOK, config.run.seed)


class Detector:
    """Looks at each round's updates.

    sample: looks at LOOK of the server's test images, or None
    """

    def __init__(self, plan: Plan, sample: Sample | None) -> None:
        self._plan, self._sample = plan, sample
        self._per_round = plan.config.screening.test_images // LOOK

    def look(
        self, trained: Trained, evidence: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, str], dict[str, Mapping[str, Any]]]:
        """What speaks against stores in a round, by store, empty for most rounds; and the evidence after it.

        evidence: of earlier rounds, by store
        """
        updates = trained.updates
        if len(updates) < FEWEST:
            return {}, dict(evidence)
        counts = np.stack([self._counts(trained.asked[update.store]) for update in updates])
        found = self._by_size(trained)
        mixes = counts / counts.sum(axis=1, keepdims=True)
        for place, stray in strays(gram(trained.order.params, Vectors(updates)), mixes, FEWEST).items():
            words = (
                "its update points elsewhere than those of stores with such classes"
                f" (cosine {stray.cosine:.2f}, where {stray.usual:.2f} is usual)"
            )
            found.setdefault(updates[place].store, []).append(words)
        looked_at = self._looked_at(trained, counts, evidence)
        for store, after in looked_at.items():
            if (doubt := self._of_labels(after)) is not None:
                found.setdefault(store, []).append(doubt)
        told = {store: "; ".join(sentences) for store, sentences in sorted(found.items())}
        return told, {**evidence, **{store: after.in_record() for store, after in looked_at.items()}}

    def _by_size(self, trained: Trained) -> dict[str, list[str]]:
        images = {update.store: update.num_examples for update in trained.updates}
        times = too_large(trained.norms, images, LARGE)
        return {store: [f"its update is {most:.1f} times as large as is usual"] for store, most in times.items()}

    def _looked_at(
        self, trained: Trained, counts: Floats, evidence: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Evidence]:
        """The evidence after a look at the updates of some stores; which ones changes with the round."""
        after, updates = dict[str, Evidence](), trained.updates
        if self._sample is None or self._per_round < 1:
            return after
        before = self._sample(trained.order.params)
        if not knows(before, self._sample.targets):
            return after
        order = rng(self._plan.config.run.seed, "suspicion", trained.order.round).permutation(len(updates))
        for place in sorted(order[: self._per_round]):
            store = updates[place].store
            seen = effect(before, self._sample(updates[place].params), self._sample.targets, counts[place])
            if seen.leads:
                after[store] = Evidence.of(evidence.get(store)).after(seen)
        return after

    def _of_labels(self, evidence: Evidence) -> str | None:
        assert self._sample is not None
        classes = self._plan.spec.classes
        images = np.bincount(self._sample.targets, minlength=len(classes)).tolist()
        if (pair := evidence.exchanged(images)) is not None:
            a, b = (classes[label] for label in pair)
            return f"its updates teach that {a} is {b} and {b} is {a}: are the two exchanged?"
        if evidence.is_wrong:
            return "its updates teach of its classes' images that they are others: are its labels right?"
        return None

    def _counts(self, info: StoreInfo) -> Floats:
        """[C], as told; a store that tells nothing is taken to have all classes alike."""
        told = np.array([info.counts.get(label, 0) for label in self._plan.spec.classes], dtype=np.float64)
        return told if told.any() else np.full(len(told), max(1, info.num_examples) / len(told))
