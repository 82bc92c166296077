"""Which stores' updates look poisoned or trained on wrong labels, said in words; nothing here excludes anybody.

Four signs, each against the rest of the cohort. The first two need updates alone, the others the server's test set:

large:     the norm of what training changed, as in `norm_bound.too_large`
direction: its cosine with the sum of the others' (sign-flipped, noise); says something only where stores agree at all
worse:     on the classes that the store says it has, its model is no better than the global one it began with and
           far below other stores' on theirs: training on one's own photos helps with one's own classes
exchange:  its model takes class a for b and b for a, more than other stores that have these classes

A suspicion is a reason to look, and no proof. The thresholds were fitted to some sixty runs of eight stores, in which
two bad stores were missed. In 72 runs that they were not fitted to (`benchmarks.suspicion`: other seeds, two networks,
cohorts of 8 of 8, 8 of 20 and 20 of 20), 50 of 60 bad stores were told within 20 rounds, and in the twelve of them
without a bad store 4 of 168 honest ones. Eight of the ten misses came where 8 of 20 stores take part in a round. Honest
stores were told only where stores have few classes (Dirichlet(0.1), two classes a store), nearly all for their
direction. docs/log.md has the figures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from common.config import STORES_OWN, RunConfig
from common.orders import Plan, StoreInfo, Update
from common.params import Rows, blocks
from common.seeding import rng
from common.strategies.base import Vectors
from server.gate import Judge
from server.judge import ServerTest
from server.norm_bound import FEWEST, too_large

LOOK = 500  # test images on which one store's model is judged
LARGE = 4.0  # times the usual norm
AGREEING = 0.3  # median cosine from which a direction of one's own says something ...
OWN_WAY = 0.1  # ... if it has less than this share of the median cosine
FEW_IMAGES = 20  # a store with fewer does not move a model enough to judge it by
BEHIND = 0.5  # share of the median store's accuracy on own classes
OWNED = 0.3  # a store has a class if it has this share of the images that it would have if all were alike
EXCHANGED, TAKEN = 0.3, 0.25  # exchange, in rates: more than other stores by, and at least

Rates = NDArray[np.float64]


def is_on(config: RunConfig) -> bool:
    """Whether stores are looked at: as set, or else with real stores."""
    return config.screening.detect == "on" or (config.screening.detect == "auto" and config.data.dataset == STORES_OWN)


def sample_of(judge: Judge | None, config: RunConfig) -> Judge | None:
    """What judges single stores' models, made of what judges the global one; None if nobody will ask it."""
    if judge is None or not is_on(config) or config.screening.test_images < FEWEST * LOOK:
        return None
    assert isinstance(judge, ServerTest)
    return judge.sample(LOOK, config.run.seed)


@dataclass(frozen=True)
class Looked:
    """What judging a store's model on the sample gave.

    rates: [C, C], row = true class: the share of its images taken for each class
    mix:   [C], shares of the classes among the images that the store says it has
    """

    rates: Rates
    mix: Rates

    @property
    def own(self) -> float:
        """Accuracy on the store's own mix of classes."""
        return float(self.mix @ np.diag(self.rates))

    def has(self, label: int) -> bool:
        """Whether the store says it has a fair number of images of this class."""
        return bool(self.mix[label] >= OWNED / len(self.mix))


class Detector:
    """Looks at each round's updates.

    sample: judges parameters on LOOK of the server's test images, or None
    """

    def __init__(self, plan: Plan, sample: Judge | None) -> None:
        self._plan, self._sample = plan, sample
        self._per_round = plan.config.screening.test_images // LOOK

    def look(
        self, start: Tensor, updates: Sequence[Update], infos: Mapping[str, StoreInfo], round: int
    ) -> dict[str, str]:
        """What speaks against stores whose training began at `start` [P], by store; empty for most rounds."""
        if len(updates) < FEWEST:
            return {}
        found = by_size_and_direction(start, updates)
        for store, sentence in self._by_effect(start, updates, infos, round).items():
            found.setdefault(store, []).append(sentence)
        return {store: "; ".join(sentences) for store, sentences in sorted(found.items())}

    def _by_effect(
        self, start: Tensor, updates: Sequence[Update], infos: Mapping[str, StoreInfo], round: int
    ) -> dict[str, str]:
        """Judge the models of some stores; which ones changes with the round."""
        if self._sample is None or self._per_round < FEWEST:
            return {}
        order = rng(self._plan.config.run.seed, "suspicion", round).permutation(len(updates))
        looked = {}
        for update in (updates[place] for place in sorted(order[: self._per_round])):
            if update.num_examples >= FEW_IMAGES:
                looked[update.store] = Looked(self._rates(update.params), self._mix(infos[update.store]))
        return by_effect(self._rates(start), looked, self._plan.spec.classes)

    def _rates(self, params: Tensor) -> Rates:
        assert self._sample is not None
        confusion = self._sample(params).confusion
        rates: Rates = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
        return rates

    def _mix(self, info: StoreInfo) -> Rates:
        """As told; a store that tells nothing is taken to have all classes alike."""
        told = np.array([info.counts.get(label, 0) for label in self._plan.spec.classes], dtype=np.float64)
        return told / told.sum() if told.any() else np.full(len(told), 1 / len(told))


def by_size_and_direction(start: Tensor, updates: Sequence[Update]) -> dict[str, list[str]]:
    """What the updates alone say against stores."""
    stores = [update.store for update in updates]
    images = {update.store: update.num_examples for update in updates}
    norms, cosines = norms_and_cosines(start, Vectors(updates))
    found: dict[str, list[str]] = {}
    for store, times in too_large(dict(zip(stores, norms, strict=True)), images, LARGE).items():
        found[store] = [f"its update is {times:.1f} times as large as is usual"]
    usual = median(cosines)
    for store, cosine in zip(stores, cosines, strict=True):
        if usual >= AGREEING and cosine < OWN_WAY * usual:
            words = f"its update points elsewhere than the others' (cosine {cosine:.2f}, where {usual:.2f} is usual)"
            found.setdefault(store, []).append(words)
    return found


def norms_and_cosines(start: Tensor, vectors: Rows) -> tuple[list[float], list[float]]:
    """Of the differences d_i = v_i - start of n vectors [P]: ||d_i||, and cos(d_i, sum_j d_j - d_i); 0 for no d_i."""
    start = start.to(vectors[0].device)
    sums = torch.zeros(2, len(vectors), dtype=torch.float64, device=start.device)  # d_i d_i, d_i s
    begin, whole = 0, torch.zeros((), dtype=torch.float64, device=start.device)  # s s, for s = sum_j d_j
    for pieces in blocks(vectors):
        block = torch.stack(pieces)
        block -= start[begin : begin + block.shape[1]]
        begin += block.shape[1]
        total = block.sum(dim=0)
        sums[0] += torch.linalg.vecdot(block, block)
        sums[1] += block @ total
        whole += total @ total
    squares, products = sums
    rest = (whole - 2 * products + squares).clamp(min=0)  # ||s - d_i||^2
    cosines = ((products - squares) / (squares * rest).sqrt()).nan_to_num(0.0, 0.0, 0.0)
    return squares.sqrt().tolist(), cosines.tolist()


def by_effect(before: Rates, looked: Mapping[str, Looked], classes: Sequence[str]) -> dict[str, str]:
    """What the models say against stores, given the rates of the global model they began with."""
    if len(looked) < FEWEST:
        return {}
    usual = median(each.own for each in looked.values())
    found = {}
    for store, own in looked.items():
        others = [each for name, each in looked.items() if name != store]
        began = float(own.mix @ np.diag(before))
        if (pair := exchanged(own, others, before)) is not None:
            a, b = (classes[label] for label in pair)
            ab, ba = own.rates[pair], own.rates[pair[::-1]]
            found[store] = f"its model takes {a} for {b} ({ab:.0%}) and {b} for {a} ({ba:.0%}): are the two exchanged?"
        elif usual >= 2 / len(classes) and own.own <= began and own.own < BEHIND * usual:
            found[store] = (
                f"its model knows {own.own:.0%} of its own kinds of images, where other stores' know {usual:.0%} of"
                " theirs: are its labels right?"
            )
    return found


def exchanged(own: Looked, others: Sequence[Looked], before: Rates) -> tuple[int, int] | None:
    """The two classes that a model confuses most, if it does so in both directions and more than others."""
    pairs = [pair for pair in combinations(range(len(own.mix)), 2) if own.has(pair[0]) and own.has(pair[1])]
    excess = {
        pair: min(_excess(own, others, before, *pair), _excess(own, others, before, *pair[::-1])) for pair in pairs
    }
    worst = max(excess, key=lambda pair: excess[pair], default=None)
    return worst if worst is not None and excess[worst] > EXCHANGED else None


def _excess(own: Looked, others: Sequence[Looked], before: Rates, label: int, taken: int) -> float:
    """By how much more `label` is taken for `taken`, rather than for itself, than by other stores that have it."""
    if own.rates[label, taken] < TAKEN:
        return -1.0
    known = [each.rates for each in others if each.has(label)] or [before]
    return float(_lead(own.rates, label, taken) - median(_lead(rates, label, taken) for rates in known))


def _lead(rates: Rates, label: int, taken: int) -> float:
    return float(rates[label, taken] - rates[label, label])
