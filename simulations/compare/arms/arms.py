"""The arms of a comparison: its trainings, each with its directory below the comparison's."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fedshelf.common import strategies
from fedshelf.common.config import (
    CohortConfig,
    MessagesConfig,
    RunConfig,
    ScreeningConfig,
    StrategyConfig,
    flatten,
    resolve,
)
from fedshelf.common.images.types import StoreData
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.server.training.cohort import round_half_up
from fedshelf.simulations.federation.federation import Federation
from fedshelf.simulations.federation.partitioned import pool_images

ALONE = "alone"
FEDERATED = "federated"
TUNED = "fine-tuned"
POOLED = "pooled"
# alone, then as many further epochs as fine-tuning takes: the same work, from another start
LONGER = "alone-longer"
WITHOUT = "without"  # federated without one store, to measure its contribution
EVERYONE = "pooled"  # the name of the one store that holds all images
OF_ONE_STORE = (ALONE, LONGER, TUNED)  # kinds whose models are for one store only
# the baseline of each kind: as much local work
AGAINST = {FEDERATED: ALONE, TUNED: LONGER, POOLED: FEDERATED}


@dataclass(frozen=True)
class Options:
    """The options of a comparison beside the settings of its runs.

    Attributes:
        seeds: each deals the data set, and trains and judges every model
        tune_epochs: passes over a store's own images to fine-tune the federated model; 0: no
            fine-tuning
        tune_lr: learning rate of the fine-tuning
        leave_one_out: whether to train once more without each store
    """

    seeds: tuple[int, ...]
    tune_epochs: int
    tune_lr: float
    leave_one_out: bool


@dataclass(frozen=True)
class Arm:
    """One training.

    Attributes:
        kind: the way to train, for example `ALONE`
        store: the store that it is about, or "" if it is about all
        config: the settings of its run
        federation: the stores that take part in it
        after: the name of the arm from whose finished model it starts, or ""
    """

    kind: str
    store: str
    config: RunConfig
    federation: Federation
    after: str = ""

    @property
    def name(self) -> str:
        """Its directory below the comparison's: "pooled", "alone/store-1"."""
        return f"{self.kind}/{self.store}" if self.store else self.kind

    @property
    def is_of_one_store(self) -> bool:
        """True if its model is for one store only."""
        return self.kind in OF_ONE_STORE

    @property
    def cost(self) -> int:
        """The number of images that it trains on, approximately."""
        images = sum(sum(counts) for counts in self.federation.table.values())
        return (
            int(
                images
                * self.config.cohort.fraction
                * self.config.run.rounds
                * self.config.train.passes
            )
            + 1
        )


def plan_arms(config: RunConfig, federation: Federation, options: Options, root: Path) -> list[Arm]:
    """Return all arms of one seed.

    The federated arm is first, and arms that start from another's model are at the end. The others
    come in between, the most costly first.

    Args:
        config: the settings of the comparison, with this seed
        federation: the stores that the seed deals
        options: the options of the comparison
        root: the directory of the seed, below which each arm has a directory
    """
    if config.evaluation.patience:
        # no arm shall stop early by the images that judge in the end
        federation = replace(federation, test=None)
    store_names = list(federation.stores)
    rounds = lone_rounds(config, len(store_names))
    by_itself = _with_own_mix(config)
    lone = config if strategies.find(config.strategy.name).closed_form else by_itself
    federated = Arm(FEDERATED, "", _single_process(config), federation)
    pooled = Arm(POOLED, "", _alone_config(config, rounds), _everyone(federation))
    alone = [
        Arm(ALONE, name, _alone_config(lone, rounds), _only(federation, [name]))
        for name in store_names
    ]
    without = [
        Arm(
            WITHOUT,
            name,
            _smaller_config(config, len(store_names) - 1),
            _only(federation, [n for n in store_names if n != name]),
        )
        for name in store_names
        if options.leave_one_out and len(store_names) > 1
    ]
    tuned_or_longer = [
        Arm(
            kind,
            alone_arm.store,
            _further_config(settings, options, root / start.name),
            alone_arm.federation,
            start.name,
        )
        for alone_arm in alone
        for kind, settings, start in ((TUNED, config, federated), (LONGER, by_itself, alone_arm))
        if options.tune_epochs
    ]
    return [federated, *_costly_first([pooled, *alone, *without]), *_costly_first(tuned_or_longer)]


def lone_rounds(config: RunConfig, stores: int) -> int:
    """Return the rounds of a model that sees all its images in each round.

    A head in closed form needs one. Another model makes as many passes over its images as the
    federation makes over a store's images on average: rounds * cohort / stores. With all stores in
    every round, these are as many rounds.

    Args:
        config: the settings of the comparison
        stores: number of stores of the federation
    """
    if strategies.find(config.strategy.name).closed_form:
        return 1
    cohort = min(
        stores, max(config.cohort.min_stores, round_half_up(config.cohort.fraction * stores), 1)
    )
    return max(1, round_half_up(config.run.rounds * cohort / stores))


def _costly_first(arms: list[Arm]) -> list[Arm]:
    return sorted(arms, key=lambda arm: -arm.cost)


def _with_own_mix(config: RunConfig) -> RunConfig:
    """Keep the class shares of a store in its scores, for training by itself.

    Such a store learns its class shares like everything else: to remove them from the scores and
    add them again would cost it about a point (docs/results.md), which would favour the other
    arms.
    """
    strategy = config.strategy.model_copy(update={"absent_classes": "full"})
    return config.model_copy(update={"strategy": strategy})


def _alone_config(config: RunConfig, rounds: int) -> RunConfig:
    """Configure local training of one store: same model and local settings, no federated algorithm.

    A strategy in closed form stays: it solves for the head of one store as for that of many, and
    its model is used with the store's class shares at no cost.
    """
    if strategies.find(config.strategy.name).closed_form:
        return _local_config(config, rounds, config.strategy)
    return _local_config(config, rounds, _trained(config))


def _trained(config: RunConfig) -> StrategyConfig:
    """Return the settings of plain local training.

    The treatment of absent classes stays, as it belongs to the loss. So does the mean of the last
    rounds' models, which helps a model with or without others.
    """
    kept_settings = ("absent_classes", "average", "average_decay", "average_rounds")
    return StrategyConfig(**{name: getattr(config.strategy, name) for name in kept_settings})


def _local_config(config: RunConfig, rounds: int, strategy: StrategyConfig) -> RunConfig:
    """Configure one store by itself, for some rounds of a strategy."""
    changed_settings = {
        "strategy": strategy, "cohort": CohortConfig(), "messages": MessagesConfig(),
        "screening": ScreeningConfig(), "run": config.run.model_copy(update={"rounds": rounds}),
    }  # fmt: skip
    return _single_process(config.model_copy(update=changed_settings))


def _further_config(config: RunConfig, options: Options, start: Path) -> RunConfig:
    """Configure further training at one store, from the model in the directory `start`."""
    changed_settings = {
        "model.weights": str(start / WEIGHTS_FILE), "model.resume_from": "", "train.epochs": 1,
        "train.lr": options.tune_lr, "train.schedule": "constant", "strategy.average": "none",
        "evaluation.patience": 0,
    }  # fmt: skip
    local = _local_config(config, options.tune_epochs, _trained(config))
    return resolve(flatten(local), changed_settings)


def _smaller_config(config: RunConfig, stores: int) -> RunConfig:
    """Configure the same federation with fewer stores."""
    quorum = min(config.cohort.min_stores, stores)
    return _single_process(resolve(flatten(config), {"cohort.min_stores": quorum}))


def _single_process(config: RunConfig) -> RunConfig:
    """Configure a single process: arms run side by side on a CPU, each in one process."""
    return resolve(flatten(config), {"run.workers": 1})


def _only(federation: Federation, names: list[str]) -> Federation:
    stores: Mapping[str, StoreData] = {name: federation.stores[name] for name in names}
    return replace(
        federation, stores=stores, test=None, table={name: federation.table[name] for name in names}
    )


def _everyone(federation: Federation) -> Federation:
    """Return one store that holds the images of all stores."""
    stores = list(federation.stores.values())
    store = StoreData(
        pool_images([data.train for data in stores]),
        pool_images([data.validation for data in stores]),
        pool_images([data.test for data in stores]),
    )
    table = [sum(counts) for counts in zip(*federation.table.values(), strict=True)]
    return replace(federation, stores={EVERYONE: store}, table={EVERYONE: table})
