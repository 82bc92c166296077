"""The base class of all federated algorithms.

A strategy has two halves. The client half hooks into the local training (`common.training.fit`),
the server half turns the updates of a round into the next global model. A strategy in closed form
(`common.strategies.closed_form.sums`) has one hook at the store, `summarise`, in place of all
training:

    server          store                                    server
    extras  ----->  on_train_begin
                    correct_gradient (before each step)
                    on_train_end  ------------------------>  validate_update (each update)
                                                             update_global_model:
                                                               aggregate_updates
                                                               server_step
"""

from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar, get_type_hints

from torch import Tensor

from fedshelf.common.config import RunConfig, StrategyConfig
from fedshelf.common.config.field_types import StrategySettings
from fedshelf.common.parameters.aggregation import RowShares, VectorSequence, weighted_mean
from fedshelf.common.parameters.layout import Layout, Tensors
from fedshelf.common.protocol.messages import StoreInfo, Update
from fedshelf.common.strategies.shared import class_skew
from fedshelf.common.strategies.shared.local_training import LocalTrainingSummary
from fedshelf.common.strategies.shared.sum_hooks import SumHooks
from fedshelf.common.strategies.shared.sum_layout import SummedUpdate


class UpdateVectors(VectorSequence):
    """The parameter vectors [P] of updates: of all, or of those with the given indices."""

    def __init__(self, updates: Sequence[Update], indices: Sequence[int] | None = None) -> None:
        self._updates = updates
        self._indices = range(len(updates)) if indices is None else indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Tensor:
        return self._updates[self._indices[index]].params

    def vector_slice(self, index: int, start: int, stop: int) -> Tensor:
        """Return the coordinates [start, stop) of one vector; fewer if it ends before `stop`."""
        return self._updates[self._indices[index]].params_slice(start, stop)


class Strategy(SumHooks):
    """FedAvg's skeleton; an algorithm overrides the hooks in which it differs.

    The trainable part of a parameter vector has T elements, the whole vector has P >= T. `layout`
    tells where each named tensor lies in the vector. Client hooks see the trainable part only. A
    store may keep `state` between its rounds, and so may the server; both are named tensors and
    survive a restart.

    A server moves half of the way to the mean of its stores, of which one has twice as many images:

    >>> import torch
    >>> class Halfway(Strategy):
    ...     def server_step(self, params, combined, state, trainable):
    ...         return (params + combined) / 2, state
    >>> updates = [
    ...     Update(store, 1, torch.tensor([weight]), images, 0.0, 0.0)
    ...     for store, weight, images in [("oslo", 3.0, 20), ("rome", 6.0, 10)]
    ... ]
    >>> strategy = Halfway(StrategyConfig(weighting="images"))
    >>> strategy.aggregate_updates(updates)
    tensor([4.])
    >>> params, state = strategy.update_global_model(torch.zeros(1), updates, {}, trainable=1)
    >>> params
    tensor([2.])
    """

    # settings of all strategies that change the outcome of this one
    uses: ClassVar[frozenset[str]] = frozenset()
    # settings of its own: a subclass names its class of settings here
    settings: StrategySettings
    # takes a value from the middle of the stores' values, for each coordinate
    order_statistic: ClassVar[bool] = False
    one_model: ClassVar[bool] = True  # all stores get the same model; False: each store has its own
    # stores send what `summarise` returns and do not train, and the server solves for the head
    closed_form: ClassVar[bool] = False

    def __init__(self, config: StrategyConfig, layout: Layout | None = None) -> None:
        self.config = config
        self.layout = layout
        own = self.settings_class()
        given = dict(config)
        self.settings = own(**{key: given[key] for key in own.model_fields if key in given})

    @classmethod
    def settings_class(cls) -> type[StrategySettings]:
        """Return the class of the strategy's own settings: the type of its `settings`."""
        settings_type: type[StrategySettings] = get_type_hints(cls)["settings"]
        return settings_type

    @classmethod
    def settings_used(cls) -> frozenset[str]:
        """Return the names of all settings that change the outcome: shared ones and its own."""
        return cls.uses | cls.settings_class().model_fields.keys()

    def incompatible_with(self, config: RunConfig) -> str | None:
        """Return why the algorithm's equations do not hold for a run; None if they hold.

        Args:
            config: the settings of the whole run

        Returns:
            Half a sentence, such as "counts steps of sgd, and train.optimizer is adam".
        """
        return None

    def remark_on(self, config: RunConfig) -> str | None:
        """Return a sentence on settings with which it is known to do badly; None if there are none.

        Args:
            config: of the run
        """
        return None

    def personal_tensors(self) -> tuple[str, ...]:
        """Return the names of the tensors that are each store's own and never travel.

        `common.strategies.shared.personalization` keeps them at the stores.

        Raises:
            ConfigError: the settings name a layer that the layout does not have.
        """
        return ()

    # --- client half ------------------------------------------------------------------------------

    def on_train_begin(self, start: Tensor, extras: Tensors, state: Tensors) -> Tensors:
        """Return the tensors that stay constant during one local training.

        Args:
            start: float32 [T], the weights from which the store trains
            extras: the tensors that the server sent along (see `extras`)
            state: the tensors that the store kept from its last round; {} if it has none

        Returns:
            Named tensors: `correct_gradient` and `on_train_end` get them as `local`.
        """
        return {}

    def correct_gradient(self, gradient: Tensor, weights: Tensor, local: Tensors) -> None:
        """Change the gradient of the local loss in place, before each step.

        The gradient already has its L1 term and is clipped; weight decay follows. So a term that is
        added here is never clipped. Stores that step together come as rows: then both tensors are
        [S, T], and a tensor from `on_train_begin` is the same for all stores or has a leading S
        too ([S, 1] for a single number). So write operations that broadcast, and read no values.

        Args:
            gradient: float32 [T] or [S, T], changed in place
            weights: the weights at which it was computed, of the same shape
            local: the tensors from `on_train_begin`
        """

    def on_train_end(
        self, summary: LocalTrainingSummary, local: Tensors, state: Tensors
    ) -> tuple[Tensors, Tensors]:
        """Return the tensors to send beside the weights, and the store's new state.

        Args:
            summary: the weights before and after the training, and its steps
            local: the tensors from `on_train_begin`
            state: the tensors that the store kept from its last round

        Returns:
            (tensors for the server, as `expected_extras` names them; tensors to keep at the store).
        """
        return {}, state

    def summarise(self, features: Tensor, targets: Tensor) -> Tensors:
        """Return sums over a store's images, if the strategy is in closed form.

        Args:
            features: float32 [N, D], the input of the head for each image
            targets: int64 [N]

        Returns:
            Tensors for the server, as `expected_extras` names them, on the CPU.
        """
        raise NotImplementedError(f"{type(self).__name__} is not in closed form")

    # --- server half ------------------------------------------------------------------------------

    def init_server_state(self, params: Tensor, trainable: int) -> Tensors:
        """Return the server's state before round 1.

        Args:
            params: float32 [P], the first global model
            trainable: T
        """
        return {}

    def extras(self, state: Tensors) -> Tensors:
        """Return the tensors that the server sends to the cohort beside the global model.

        Args:
            state: the server's state
        """
        return {}

    def expected_extras(self, trainable: int) -> Mapping[str, tuple[int, ...]]:
        """Return the names and shapes of the float32 tensors that `on_train_end` sends along.

        An update with other tensors is dropped.

        Args:
            trainable: T
        """
        return {}

    def validate_update(self, update: Update, lr: float, config: RunConfig) -> str | None:
        """Return why the tensors that a store sent along are impossible; None if they are possible.

        Args:
            update: an update whose tensors have the names and shapes of `expected_extras`
            lr: learning rate of the round
            config: the settings of the whole run

        Returns:
            A reason that follows the name of the store: "claims ...".
        """
        return None

    def norm(self, update: Update) -> Tensor | None:
        """Return the norm by which screening compares an update with the others', a scalar.

        None: it is that of the change by training. A strategy with a norm of its own also bounds
        its extras itself, in `validate_update`.
        """
        return None

    def forget(self, state: Tensors, stores: Collection[str]) -> Tensors:
        """Return the server's state without what it keeps of single stores; here it keeps nothing.

        Args:
            state: the server's state
            stores: names of the stores
        """
        return state

    def contributors(self, state: Tensors) -> frozenset[str]:
        """Return the names of the stores that `forget` can take out of the model; here none.

        Args:
            state: the server's state
        """
        return frozenset()

    def update_global_model(
        self,
        params: Tensor,
        updates: Sequence[Update],
        state: Tensors,
        trainable: int,
        present: Mapping[str, StoreInfo] | None = None,
    ) -> tuple[Tensor, Tensors]:
        """Return the next global model and server state.

        Args:
            params: float32 [P], the global model from which the cohort trained
            updates: the cohort's updates in store order. They may lie on disk, and each access
                reads one: so look at one after the other, or at `blocks` of all
            state: the server's state
            trainable: T
            present: all stores that could have been asked; None: the cohort

        Returns:
            (float32 [P], the new state).
        """
        return self.server_step(params, self.aggregate_updates(updates), state, trainable)

    def aggregate_updates(self, updates: Sequence[Update]) -> Tensor:
        """Return one vector [P] from the updates' vectors: their weighted mean."""
        return self.mean(updates, range(len(updates)))

    def mean(
        self,
        updates: Sequence[Update],
        indices: Sequence[int],
        vectors: VectorSequence | None = None,
    ) -> Tensor:
        """Return the mean [P] of some updates, weighted by images or uniformly.

        Args:
            updates: the updates of a cohort
            indices: the updates that count, added in this order
            vectors: vectors [P] to average in place of the updates' own, one for each index
        """
        row_shares = self._row_shares([updates[index].images_by_class for index in indices])
        weights = [self.weight(updates[index]) for index in indices]
        return weighted_mean(vectors or UpdateVectors(updates, indices), weights, row_shares)

    def _row_shares(self, by_class: Sequence[Tensor | None]) -> RowShares | None:
        """Return the shares by which the head's rows are averaged.

        None if we do not know which store has which classes: then the head is averaged like the
        other layers.
        """
        if self.layout is None:
            return None
        return class_skew.row_shares(
            by_class, self.layout, uniform=self.config.weighting == "uniform"
        )

    def centred(self, vector: Tensor) -> Tensor:
        """Return `vector` [P] or [T], with the head's rows centred if they have means of their own.

        `class_skew.centred` explains why.
        """
        if self.layout is None or self.config.absent == "full":
            return vector
        return class_skew.centred(vector, self.layout)

    def weight(self, trained: Update | StoreInfo) -> float:
        """Return the weight of an update, or of the update that a store would send.

        It is the number of training images, or 1 with uniform weighting.
        """
        if self.config.weighting == "images":
            return trained.num_examples
        return len(trained.stores) if isinstance(trained, SummedUpdate) else 1

    def weights(self, updates: Sequence[Update]) -> list[float]:
        """Return the weight of each update in `aggregate_updates`.

        None is negative, and at least one is above 0.
        """
        return [self.weight(update) for update in updates]

    def rank_shares(self, block: Tensor) -> Tensor | None:
        """Return each update's share in some coordinates, if it depends on their values.

        Args:
            block: [n, b], the values of b coordinates in n updates

        Returns:
            [n, b], where each column sums to 1; None if the shares are those of `weights` in all
            coordinates.
        """
        return None

    def shortfall(self, updates: int) -> str | None:
        """Return why so few updates break the algorithm's promise against malicious stores.

        Args:
            updates: number of updates

        Returns:
            A sentence without its full stop; None if they are enough, or if the algorithm promises
            nothing.
        """
        return None

    def total_weight(
        self, updates: Sequence[Update], present: Mapping[str, StoreInfo] | None = None
    ) -> float:
        """Return the sum of the weights of all stores.

        Args:
            updates: the cohort's updates; their stores count even if they have left since
            present: all stores that could have been asked; None: the cohort
        """
        weights = {update.store: self.weight(update) for update in updates}
        summed = {
            store
            for update in updates
            if isinstance(update, SummedUpdate)
            for store in update.stores
        }
        others = {name: self.weight(info) for name, info in (present or {}).items()}
        return sum(weight for name, weight in (weights | others).items() if name not in summed)

    def server_step(
        self, params: Tensor, combined: Tensor, state: Tensors, trainable: int
    ) -> tuple[Tensor, Tensors]:
        """Return the next global model and server state; here the combined updates are the model.

        Args:
            params: float32 [P], the present global model
            combined: float32 [P], the result of `aggregate_updates`
            state: the server's state
            trainable: T

        Returns:
            (float32 [P], the new state).
        """
        return combined, state
