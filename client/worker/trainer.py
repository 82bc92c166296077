"""Trainings and evaluations at a store: the resident network, and the forms of the answers."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fedshelf.client.failures import StoreError
from fedshelf.client.worker import private_training
from fedshelf.client.worker.state_store import States
from fedshelf.common import compression, strategies
from fedshelf.common.images.cache.feature_file import Progress
from fedshelf.common.images.types import Images, StoreData
from fedshelf.common.metrics import formulas
from fedshelf.common.privacy.randomness import key_digest
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Plan,
    Summand,
    TrainOrder,
    Update,
)
from fedshelf.common.strategies.shared import personalization
from fedshelf.common.training import error_feedback
from fedshelf.common.training.closed_form import summarise
from fedshelf.common.training.evaluate import RawAndAdjusted, evaluate_adjusted
from fedshelf.common.training.features import extractor
from fedshelf.common.training.fit import LocalTrainingTask, Network, fit
from fedshelf.common.training.summand import make_summand

LOG = logging.getLogger("fedshelf.store")

ChargeTraining = Callable[[TrainOrder, str], None]
"""Charge a private training, given its identity (see `key_digest`), before it begins.

Raises StoreError if it may not begin, OSError.
"""


@dataclass(frozen=True)
class _Trained:
    """The outcome of a training, before it takes the form in which it travels.

    state: the tensors that the store keeps
    unsent: float32 [T], the part of earlier changes that was not sent, or None
    """

    update: Update
    state: Mapping[str, Tensor]
    unsent: Tensor | None


class Trainer:
    """A resident network on one device, for one store or for many in turn.

    Building a network, compiling kernels and moving images to a device happens once per plan.

    Args:
        device: Where it trains.
        states: Storage of strategies' states.
        secret: Of the store, from which a private training draws its samples and its noise, 32
            bytes; None: a simulation, whose stores' secrets derive from the run's seed.
    """

    def __init__(self, device: torch.device, states: States, secret: bytes | None = None) -> None:
        self._device = device
        self._states = states
        self._secret = secret
        self._network: tuple[Plan, Network] | None = None
        # a store's images, the run, and the images with features in place of pixels
        self._featured: tuple[StoreData, str, StoreData] | None = None
        # an array of images, and its copy on the device
        self._device_inputs: tuple[Tensor, Tensor] | None = None

    def train(
        self, order: TrainOrder, store: str, images: Images, charge: ChargeTraining | None = None
    ) -> Update:
        """Train on a store's `images`, or take a strategy's sums over them.

        Raises StoreError if there are none, ConfigError if the order's settings do not go with the
        private training that they ask for, and what `charge` raises.

        Args:
            charge: Charges the store's ledger; None: there is none, as in a simulation.
        """
        assert order.terms is None, "the server would get an update that goes into a secure sum"
        began = time.perf_counter()
        codec = compression.build(order.plan.config.messages)
        trained = self._train(order, store, images, charge)
        update, unsent = error_feedback.compress_update(
            trained.update,
            order.params,
            self.network(order.plan).layout.trainable,
            trained.unsent,
            codec,
        )
        self._save_state(order, store, {**trained.state, **unsent})
        return replace(update, seconds=time.perf_counter() - began)

    def train_summand(
        self, order: TrainOrder, store: str, images: Images, charge: ChargeTraining | None = None
    ) -> Summand:
        """Train on a store's `images`, and return the vector that goes into the secure sum.

        Args:
            order: With terms.
            charge: Charges the store's ledger; None: there is none, as in a simulation.

        Raises StoreError if there are no images, or if the update is not finite, and what `charge`
        raises.
        """
        began = time.perf_counter()
        trained = self._train(order, store, images, charge)
        layout = self.network(order.plan).layout
        strategy = strategies.build(order.plan.config.strategy, layout)
        made = make_summand(order, trained.update, images, strategy, layout, trained.unsent)
        if made is None:
            raise StoreError("diverged", f"Store {store}'s training has diverged.")
        summand, unsent = made
        self._save_state(order, store, {**trained.state, **error_feedback.to_state(unsent)})
        return replace(summand, seconds=time.perf_counter() - began)

    def _train(
        self, order: TrainOrder, store: str, images: Images, charge: ChargeTraining | None
    ) -> _Trained:
        if not len(images):
            raise StoreError("no-images", f"Store {store} has no training images.")
        config = order.plan.config
        kept = self._states.load(order.plan.run_id, store, order.round)
        state, unsent = error_feedback.split_state(kept)
        network = self.network(order.plan)
        private_training.check_again(config, network)
        key = private_training.key_of(order, store, kept, images, self._secret)
        if key is not None and charge is not None:
            charge(order, key_digest(key))
        strategy = strategies.build(config.strategy, network.layout)
        own_slices = personalization.personal_slices(network.layout, strategy.personal_tensors())
        start = personalization.local_model(order.params, state, own_slices)
        task = LocalTrainingTask(
            config, strategy, store, order.round, start, order.extras, state, key
        )
        batch_limit = network.images_per_piece
        play = summarise if strategy.closed_form else fit
        result = play(network, self._on_device(images), task)
        if network.images_per_piece != batch_limit:
            LOG.warning(
                "The device's memory holds %s images at a time; training takes longer.",
                network.images_per_piece,
            )
        params, own = personalization.withhold_personal(result.params, order.params, own_slices)
        update = Update(
            store,
            order.round,
            params,
            result.num_examples,
            result.loss,
            seconds=0.0,
            extras=result.extras,
            steps=result.steps,
        )
        return _Trained(update, {**result.state, **own}, unsent)

    def _save_state(self, order: TrainOrder, store: str, state: Mapping[str, Tensor]) -> None:
        if state:
            self._states.save(order, store, state)

    def evaluate(
        self,
        order: EvaluateOrder,
        sets: Mapping[str, Images],
        adjustments: Mapping[str, Tensor | None] | None = None,
    ) -> list[Evaluation]:
        """Evaluate the order's model on the images of stores, by name (a store without images:
        empty counts).

        Parts of the model that are the stores' own are those of each store after the order's
        round.

        Args:
            adjustments: Of each store's scores, float32 [C] (see
                `common.strategies.shared.class_skew`); None: of no store.

        Raises:
            ConfigError: a metric of the run is not known here.
        """
        network = self.network(order.plan)
        own_slices = personalization.personal_slices(
            network.layout,
            strategies.build(order.plan.config.strategy, network.layout).personal_tensors(),
        )
        groups = [{store: images} for store, images in sets.items()] if own_slices else [sets]
        metrics = formulas.chosen(order.plan.config)
        counts: list[RawAndAdjusted] = []
        for group in groups:
            state = (
                self._states.load(order.plan.run_id, next(iter(group)), order.round + 1)
                if own_slices
                else {}
            )
            network.load(personalization.local_model(order.params, state, own_slices))
            arrays = [self._on_device(images) for images in group.values()]
            group_adjustments = [(adjustments or {}).get(store) for store in group]
            batch_size = order.plan.config.evaluation.batch_size
            counts += evaluate_adjusted(
                network, arrays, group_adjustments, batch_size, order.temperatures, metrics
            )
        return [
            Evaluation(store, order.round, *pair) for store, pair in zip(sets, counts, strict=True)
        ]

    def network(self, plan: Plan) -> Network:
        """Return the resident network of `plan`, built when a plan is first seen."""
        if self._network is None or (self._network[0].run_id, self._network[0].spec) != (
            plan.run_id,
            plan.spec,
        ):
            network = Network(plan.spec, self._device)
            if plan.frozen is not None:
                network.load_frozen(plan.frozen)
            self._network = (plan, network)
        return self._network[1]

    def with_features(
        self, plan: Plan, data: StoreData, progress: Progress | None = None
    ) -> StoreData:
        """Return a store's images, with features in place of pixels if a run trains on features.

        They are computed when they are first needed, and again for images that are new.

        Args:
            progress: Called while features are computed.

        Raises DataError if they cannot be kept.
        """
        known = self._featured
        if known is not None and known[0] is data and known[1] == plan.run_id:
            return known[2]
        self._featured = None
        make = extractor(self.network(plan), plan.config, progress)
        featured = make.store(data) if make else data
        self._featured = (data, plan.run_id, featured)
        return featured

    def _on_device(self, images: Images) -> Images:
        """Return the images with their whole array on the device, moved when the array changes."""
        if images.inputs.device == self._device or self._device.type == "cpu":
            return images
        if self._device_inputs is None or self._device_inputs[0] is not images.inputs:
            self._device_inputs = None  # the earlier images are freed before others come
            self._device_inputs = (images.inputs, images.inputs.to(self._device))
        return replace(images, inputs=self._device_inputs[1]).to(self._device)

    def release_images(self) -> None:
        """Drop the images on the device, and their features."""
        self._device_inputs = None
        self._featured = None
