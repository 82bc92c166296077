"""What every federated algorithm is: a client half that hooks into `fit`, a server half that combines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from fedshelf.common.config import RunConfig, StrategyConfig, TrainConfig
from fedshelf.common.parameters.aggregation import RowShares, VectorSequence, weighted_mean
from fedshelf.common.parameters.layout import Layout, Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared import class_skew

ROUNDED = 1e-6  # from here on 1 - momentum has lost too many digits to be divided by


@dataclass(frozen=True)
class LocalTrainingSummary:
    """What a local training did, for the client half's last word.

    start, end:   float32 [T], the trainable part of the vector before and after
    steps:        optimizer steps taken
    lr:           learning rate of the round
    num_examples: training images
    momentum:     that of the optimizer
    """

    start: Tensor
    end: Tensor
    steps: int
    lr: float
    num_examples: int
    momentum: float = 0.0

    @property
    def reach(self) -> float:
        """See `reach`."""
        return reach(self.steps, self.lr, self.momentum)


def reach(steps: int, lr: float, momentum: float) -> float:
    """How far SGD carries weights if every gradient is -1: lr sum_k (1 - momentum^k) / (1 - momentum), k = 1 .. steps.

    Without momentum steps * lr. (Wang et al. 2020, FedNova: lr |a|_1 of local SGD with momentum.)
    """
    if 1 - momentum < ROUNDED:
        return lr * _carried(steps, momentum)
    carried = steps - momentum * (1 - momentum**steps) / (1 - momentum)
    return lr * carried / (1 - momentum)


def _carried(steps: int, momentum: float) -> float:
    """sum_k (1 - momentum^k) / (1 - momentum) of a momentum so close to 1 that differences from 1 are all rounding."""
    velocity = carried = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1
        carried += velocity
    return carried


class Vectors(VectorSequence):
    """The parameter vectors [P] of updates, all or those at `places`."""

    def __init__(self, updates: Sequence[Update], places: Sequence[int] | None = None) -> None:
        self._updates, self._places = updates, range(len(updates)) if places is None else places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: int) -> Tensor:
        return self._updates[self._places[number]].params

    def piece(self, number: int, begin: int, end: int) -> Tensor:
        """Coordinates [begin, end) of one vector; fewer at its end."""
        return self._updates[self._places[number]].piece(begin, end)


class Strategy:
    """FedAvg's skeleton; an algorithm overrides the hooks in which it differs.

    The trainable part of a parameter vector has T elements, the whole P >= T; `layout` says where each named
    tensor lies in it. Client hooks see the trainable part only. A store may keep `state` between its rounds, the
    server likewise; both are named tensors and survive a restart.
    """

    uses: ClassVar[frozenset[str]] = frozenset()  # fields of StrategyConfig that change the outcome
    by_rank: ClassVar[bool] = False  # each coordinate becomes a middle one of the stores' values
    one_model: ClassVar[bool] = True  # the same for all stores, not each store's own

    def __init__(self, config: StrategyConfig, layout: Layout | None = None) -> None:
        self.config, self.layout = config, layout

    def unfit(self, config: RunConfig) -> str | None:
        """Why the algorithm's equations do not hold for such a run, as half a sentence; None: they do."""
        return None

    def personal(self) -> tuple[str, ...]:
        """Names of the tensors that are each store's own and never travel (see
        `common.strategies.shared.personalization`).

        Raises ConfigError if the settings name what the layout has not.
        """
        return ()

    # --- client half -------------------------------------------------------------------------------

    def begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """What stays constant during one local training from `start` [T]; passed to `correct`."""
        return {}

    def correct(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """Change the `gradient` [T] of the local loss at `weights` [T] in place, before each step.

        It has its L1 term and is clipped already; weight decay follows. So what is added here is never clipped.
        Stores that step together come as rows: both are [S, T] then, and what `begin` gave is the same for
        all or has a leading S too ([S, 1] for a single number). So write what broadcasts, and read no values.
        """

    def end(self, run: LocalTrainingSummary, local: Tensors, state: Tensors) -> tuple[Tensors, Tensors]:
        """After training: what travels to the server beside the weights, and the store's new state."""
        return {}, state

    # --- server half -------------------------------------------------------------------------------

    def initial(self, params: Tensor, trainable: int) -> Tensors:
        """The server's state before round 1, given the global model [P] and T."""
        return {}

    def extras(self, state: Tensors) -> Tensors:
        """What the server sends to the cohort beside the global model."""
        return {}

    def expected(self, trainable: int) -> Mapping[str, tuple[int, ...]]:
        """What `end` sends along: float32 tensors by name, with their shapes. An update with others is dropped."""
        return {}

    def fault(self, update: Update, lr: float, train: TrainConfig) -> str | None:
        """What cannot be in what a store sent along, of the shapes expected, after training at `lr`; or None."""
        return None

    def aggregate(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """The next global model [P] and server state from a cohort's updates, given in store order.

        updates: may lie on disk: each access reads one, so look at one after the other, or at `blocks` of all
        present: all stores that could have been asked; None: the cohort
        """
        return self.advance(params, self.combine(updates), state, trainable)

    def combine(self, updates: Sequence[Update]) -> Tensor:
        """One vector [P] out of the updates' vectors: their mean, weighted by images or uniformly."""
        return self.mean(updates, range(len(updates)))

    def mean(self, updates: Sequence[Update], places: Sequence[int], vectors: VectorSequence | None = None) -> Tensor:
        """The mean [P] of the updates at these places, added in the order given, weighted by images or uniformly.

        vectors: what to take of each in place of its own vector
        """
        rows = self._rows([updates[place].by_class for place in places])
        weights = [self.weight(updates[place]) for place in places]
        return weighted_mean(vectors or Vectors(updates, places), weights, rows)

    def _rows(self, by_class: Sequence[Tensor | None]) -> RowShares | None:
        """How the head's rows are averaged: as all else, unless it is known who has which classes."""
        if self.layout is None:
            return None
        return class_skew.row_shares(by_class, self.layout, uniform=self.config.weighting == "uniform")

    def centred(self, vector: Tensor) -> Tensor:
        """See `class_skew.centred`: `vector` [P] or [T], the head's rows centred where they have means of their own."""
        if self.layout is None or self.config.absent == "full":
            return vector
        return class_skew.centred(vector, self.layout)

    def weight(self, trained: Update | StoreInfo) -> float:
        """What an update counts, or that of a store would: its images, or 1."""
        return trained.num_examples if self.config.weighting == "images" else 1

    def weights(self, updates: Sequence[Update]) -> list[float]:
        """Return the weight of each update in `combine`: none is negative, and at least one is above 0."""
        return [self.weight(update) for update in updates]

    def rank_shares(self, block: Tensor) -> Tensor | None:
        """Each update's share in each of some coordinates, of their values (`block` [n, b]): [n, b], 1 in each column.

        None: in all coordinates as in `weights`.
        """
        return None

    def shortfall(self, updates: int) -> str | None:
        """Why so many updates are too few for what the algorithm promises against malicious stores, as a sentence
        without its full stop; None: they are enough, or it promises nothing.
        """
        return None

    def total(self, updates: Sequence[Update], present: Mapping[str, StoreInfo] | None = None) -> float:
        """The sum of the weights of all stores `present`, and of those that have sent `updates` if they left since."""
        weights = {update.store: self.weight(update) for update in updates}
        return sum((weights | {name: self.weight(info) for name, info in (present or {}).items()}).values())

    def advance(self, params: Tensor, combined: Tensor, state: Tensors, trainable: int) -> tuple[Tensor, Tensors]:
        """The next global model from the present one and the combined updates: here, the latter."""
        return combined, state
