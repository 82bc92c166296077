"""All runtimes, each opened over the same stores, and runs that are played on them."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from fedshelf.client.identity.peer import save_peer
from fedshelf.client.privacy.secure_sums import SecureSums
from fedshelf.client.process.handler import handle_order, make_app
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.state_store import StateStore
from fedshelf.client.worker.trainer import Trainer
from fedshelf.client.worker.worker import StoreWorker
from fedshelf.common import strategies
from fedshelf.common.config import RunConfig, flatten, resolve
from fedshelf.common.images.types import StoreData
from fedshelf.common.metrics.counts import Counts
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.protocol.messages import (
    EvaluateOrder,
    Evaluation,
    Failure,
    Plan,
    StoreInfo,
    TrainOrder,
    Update,
)
from fedshelf.common.training.features import plan_extractor
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.office import Office
from fedshelf.server.grid import dispatch
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.office_file import OfficeFacts
from fedshelf.server.ipc.run_mailbox import NO_FILES, RunFiles
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.scores import Scores
from fedshelf.server.runtime import Runtime
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.setup import InitialState
from fedshelf.server.updates import secure_sums
from fedshelf.server.updates.evaluator import Evaluators, ModelEvaluator, ServerEvaluator
from fedshelf.server.updates.secure_sums import LEAST_STORES
from fedshelf.simulations import engines
from fedshelf.simulations.federation.federation import Federation
from tests.helpers.by_hand import Notes
from tests.helpers.deployed import LocalGrid, wait_for
from tests.helpers.simulated_stores import CLASSES, CPU, photos, start

SIZES = {"store-0": 13, "store-1": 6, "store-2": 0, "store-3": 20, "store-4": 9, "store-5": 16}
EMPTY = "store-2"  # it has images to judge on, and none to train on
# images that each store keeps for validation, and for the test
HELD_OUT = 7
TESTED = 5


def stores() -> Federation:
    """Six stores, some of which lack a class; one has no training images."""
    opened = {}
    table = {}
    for number, (name, size) in enumerate(SIZES.items()):
        drawn = photos(60, 16, seed=number)
        # of every fourth store, all classes
        mine = drawn.select(torch.nonzero(drawn.labels != number % 4).flatten())
        places = torch.arange(size + HELD_OUT + TESTED).split([size, HELD_OUT, TESTED])
        opened[name] = StoreData(*(mine.select(part) for part in places))
        table[name] = torch.bincount(opened[name].train.targets(), minlength=len(CLASSES)).tolist()
    return Federation(CLASSES, opened, photos(50, 16, seed=99), table, "")


@dataclass(frozen=True)
class Opened:
    """A runtime, and who judges a model on the server's images."""

    runtime: Runtime
    evaluate_test_set: ModelEvaluator


Opener = Callable[[Federation, RunConfig, Path], AbstractContextManager[Opened]]


def engine(name: str, **settings: object) -> Opener:
    """Opens a simulation's engine."""

    @contextmanager
    def opened(dealt: Federation, config: RunConfig, states: Path) -> Iterator[Opened]:
        begun = start(
            resolve(flatten(config), {f"run.{key}": value for key, value in settings.items()})
        )
        with closing(engines.find(name)(_featured(dealt, begun), begun, states)) as made:
            yield Opened(made, made.evaluate_test_set)

    return opened


def _featured(dealt: Federation, begun: InitialState) -> Federation:
    """Return the images with features in place of pixels, if the run trains on features."""
    extractor = plan_extractor(begun.plan, CPU)
    return dealt.with_features(extractor) if extractor else dealt


class OneSource:
    """The images of one store."""

    def __init__(self, dealt: Federation, name: str) -> None:
        self._dealt = dealt
        self._name = name

    def describe(self, config: RunConfig) -> StoreInfo:
        return self._dealt.infos()[self._name]

    def open(self, plan: Plan) -> StoreData:
        return self._dealt.stores[self._name]

    def check_changes(self) -> bool:
        return False


class OneByOne:
    """A store's worker that waits for those of other threads: one process would otherwise train all
    at once.
    """

    lock = threading.Lock()

    def __init__(self, worker: StoreWorker) -> None:
        self.name = worker.name
        self._worker = worker

    def info(self, config: RunConfig) -> StoreInfo:
        return self._worker.info(config)

    def train(self, order: TrainOrder) -> Update:
        with self.lock:
            return self._worker.train(order)

    def evaluate(self, order: EvaluateOrder) -> Evaluation:
        with self.lock:
            return self._worker.evaluate(order)


@contextmanager
def flower_grid(dealt: Federation, config: RunConfig, states: Path) -> Iterator[Opened]:
    """Flower's messages between the server's runtime and the stores' apps, in this process."""
    with pytest.MonkeyPatch.context() as patch:
        for pause in ("MIN_REPLIES_POLL_SECONDS", "MIN_GATEWAY_POLL_SECONDS"):
            patch.setattr(dispatch, pause, 0.003)  # the stores are in this process
        yield _opened_grid(dealt, config, states)


def _opened_grid(dealt: Federation, config: RunConfig, states: Path) -> Opened:
    grid = LocalGrid()
    begun = start(config)
    files = NO_FILES
    office = None
    if config.privacy.secure_sum:
        chain = _chain(states.with_name("chain"))
        office = chain.load_office()
        facts = OfficeFacts(chain.name, office.public_key)
        files = RunFiles(office=lambda: facts, sums=states.with_name("secure-sums"))
    for number, name in enumerate(dealt.stores):
        worker = OneByOne(
            StoreWorker(name, OneSource(dealt, name), Trainer(CPU, StateStore(states)))
        )
        frozen = FrozenCache(states.with_name("frozen") / name)
        grid.apps[10 + number] = (
            make_app(lambda _, worker=worker: worker, frozen)
            if office is None
            else _summing_app(worker, frozen, office, states.with_name("homes") / name)
        )
    runtime = GridRuntime(
        grid, begun.plan.config, begun.plan.run_id, lambda _: None, files, reconnect_grace=0.0
    )
    strategy = strategies.build(config.strategy, begun.layout)
    runtime.expect_sums(lambda order: secure_sums.zeros(order, strategy, begun.layout))
    wait_for(lambda: len(runtime.stores()) == len(dealt.stores))
    test = _featured(dealt, begun).test
    assert test is not None
    return Opened(runtime, ServerEvaluator(begun.plan, test, CPU))


def _chain(place: Path) -> Chain:
    """Return the chain of the stores with its office, the same in each process of a run."""
    if place.exists():
        return Chain.load(place / "server")
    chain = Chain.make(place / "server", "shop.example", 9092)
    chain.make_office(chain.office_directory)
    return chain


def _summing_app(worker: OneByOne, frozen: FrozenCache, office: Office, home: Path) -> ClientApp:
    """Return the app of a store with a peer key, which takes part in secure sums."""
    if not home.exists():
        home.mkdir(parents=True)
        save_peer(home, office.certify(worker.name))
    sums = SecureSums(home, LEAST_STORES, lambda _: None)
    app = ClientApp()

    def handle(message: Message, _: Context) -> Message:
        answer = handle_order(worker, message.content, frozen, None, sums)
        return Message(answer, reply_to=message)

    app.query()(handle)
    app.train()(handle)
    app.evaluate()(handle)
    return app


OPENERS: Mapping[str, Opener] = {
    "sequential-1": engine("sequential", workers=1),
    "sequential-2": engine("sequential", workers=2),
    "batched": engine("batched"),
    "grid": flower_grid,
}
REFERENCE = "sequential-1"


@dataclass(frozen=True)
class At:
    """A runtime over the stores, what its orders start from, and where its stores remember."""

    runtime: Runtime
    begun: InitialState
    states: Path

    def extras(self) -> Tensors:
        """Return the tensors that the strategy sends along in round 1."""
        strategy = strategies.build(self.begun.plan.config.strategy, self.begun.layout)
        return strategy.extras(
            strategy.init_server_state(self.begun.params, self.begun.layout.trainable)
        )

    def order(self, number: int, **parts: Any) -> TrainOrder:
        return TrainOrder(self.begun.plan, number, self.begun.params, self.extras(), **parts)

    def train(self, number: int, names: Sequence[str], **parts: Any) -> dict[str, Update | Failure]:
        """Answers by store; the updates' vectors stay, whatever is trained next."""
        return {
            answer.store: kept(answer)
            for answer in self.runtime.train(self.order(number, **parts), names)
        }

    def evaluate(self, number: int, names: Sequence[str], **parts: Any) -> dict[str, Counts | str]:
        """By store, what it counted or the code of its failure."""
        order = EvaluateOrder(self.begun.plan, number, self.begun.params, **parts)
        return {
            answer.store: answer.counts if isinstance(answer, Evaluation) else answer.code
            for answer in self.runtime.evaluate(order, names)
        }


def kept(answer: Update | Failure) -> Update | Failure:
    return answer if isinstance(answer, Failure) else replace(answer, params=answer.params.clone())


@contextmanager
def at(opener: Opener, dealt: Federation, config: RunConfig, place: Path) -> Iterator[At]:
    with opener(dealt, config, place) as opened:
        yield At(opened.runtime, start(config), place)


def codes(answers: Mapping[str, Update | Failure]) -> dict[str, str]:
    return {name: answer.code for name, answer in answers.items() if isinstance(answer, Failure)}


@dataclass(frozen=True)
class Run:
    """The results of a run.

    delivered: the best round's state where early stopping ended the run, else the last one's
    validated: that model on validation images, at the end
    scores:    on test images
    """

    records: list[Mapping[str, Any]]
    delivered: TrainingState
    validated: Scores
    scores: Scores

    def failures(self) -> list[dict[str, str]]:
        """Code by store, round by round."""
        return [
            {name: failure["code"] for name, failure in record["failed"].items()}
            for record in self.records
        ]


def play(opener: Opener, dealt: Federation, config: RunConfig, place: Path, cut_in: int = 0) -> Run:
    """A run to its end, with a checkpoint of every round.

    What it was cut off in is played again by a new process.
    """
    checkpoints = Checkpoints(place / "checkpoints", keep=2)
    records = list[Mapping[str, Any]]()
    if cut_in:
        with opener(dealt, config, place / "states") as opened:
            rounds, state = begin(opened, config)
            while state.round + 1 < cut_in:
                state = _commit(checkpoints, records, *rounds.play(state))
            rounds.play(state)
    with opener(dealt, config, place / "states") as opened:
        rounds, state = begin(opened, config)
        state = checkpoints.latest() or state
        while state.round < config.run.rounds and not 0 < config.evaluation.patience <= state.stale:
            state = _commit(checkpoints, records, *rounds.play(state))
        if state.best is not None and state.round < config.run.rounds:
            state = checkpoints.load(state.best.round)
        return Run(
            records, state, rounds.validation_scores(state), rounds.scores(state, (1.0, 2.0))
        )


def begin(opened: Opened, config: RunConfig) -> tuple[RoundLoop, TrainingState]:
    """The rounds of a run over a runtime, and its state before round 1."""
    begun = start(config)
    rounds = RoundLoop(
        begun.plan,
        begun.layout,
        opened.runtime,
        Notes(),
        lambda: False,
        Evaluators(opened.evaluate_test_set),
    )
    return rounds, rounds.initial_state(begun.params)


def _commit(
    checkpoints: Checkpoints, records: list[Mapping[str, Any]], state: TrainingState, record: Any
) -> TrainingState:
    records.append(record)
    return checkpoints.save(replace(state, record=record))
