"""Trainer of a comparison's arms side by side: one process a core, each arm in one of them.

Arms wait only for the federated model, so that all cores are busy to the end. The rounds of one
federation would not allow that: its stores differ in size. On a GPU, arms come one after the
other.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fedshelf.client.worker.state_store import StateStore
from fedshelf.common import strategies
from fedshelf.common.classes import display_names
from fedshelf.common.classes.display_names import ProductNames
from fedshelf.common.errors import FedshelfError
from fedshelf.common.metrics import formulas
from fedshelf.common.models.saved import read
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.parameters.layout import Layout
from fedshelf.common.protocol.messages import Plan
from fedshelf.common.strategies.shared import personalization
from fedshelf.common.strategies.shared.class_skew import logit_adjustment
from fedshelf.common.training.predict import load
from fedshelf.server.report.page import rename_classes
from fedshelf.server.results.checkpoints import Checkpoints
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.training.run import Training
from fedshelf.server.training.setup import prepare
from fedshelf.server.updates.evaluator import Evaluators
from fedshelf.simulations import engines
from fedshelf.simulations.compare.arms.arms import TUNED, Arm
from fedshelf.simulations.compare.curves import Curve, curve_of
from fedshelf.simulations.compare.held_out import HeldOut
from fedshelf.simulations.compare.progress import ArmObserver, ComparisonProgress, SharedStop
from fedshelf.simulations.compare.statistics.paired_accuracy import Answers, judge
from fedshelf.simulations.engines.process_pool import ProcessPool

SERVER_TEST = ""  # in place of a store's name: the server's test set


@dataclass(frozen=True)
class ArmResult:
    """The result of an arm.

    Attributes:
        number: the number of the arm
        summary: the summary of its run; empty if the run was not begun
        judged: results of its finished model on the held-out images of each store that it is for,
            and on the server's (`SERVER_TEST`)
        validated: the same on the validation images of those stores that have any
        curve: its rounds and their accuracies, see `curves`
        error: the reason why it cannot go on; None: there is none
    """

    number: int
    summary: dict[str, Any] = field(default_factory=dict)
    judged: dict[str, Answers] = field(default_factory=dict)
    validated: dict[str, Answers] = field(default_factory=dict)
    curve: Curve = ()
    error: FedshelfError | OSError | None = None

    @property
    def is_finished(self) -> bool:
        """True if the arm has been trained to its end."""
        return bool(self.judged)


class ArmTrainer:
    """Trainer of the arms of one seed, which also judges their models.

    Args:
        arms: the arms of one seed, the federated one first
        held_out: the images to judge on
        root: the directory below which each arm has a directory
        names: product names of the classes
        workers: processes on a CPU
        channels: of the images: 1 (grey) or 3 (RGB)
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        held_out: HeldOut,
        root: Path,
        names: ProductNames,
        *,
        workers: int,
        channels: int,
    ) -> None:
        self._arms = arms
        self._channels = channels
        self._held_out = held_out
        self._root = root
        self._names = names
        self.progress = ComparisonProgress(arms)
        self.recount()
        self.stop = SharedStop(self.progress)
        self._pool: ProcessPool[int, ArmResult] | None = (
            ProcessPool(workers, self._work) if workers > 1 else None
        )

    def outcomes(self) -> Iterator[ArmResult]:
        """Yield the outcomes of the arms as they end.

        Raises:
            FedshelfError: an arm cannot go on.
            OSError: a file of an arm cannot be read or written.
        """
        for outcome in self._outcomes_as_they_end():
            if outcome.error is not None:
                raise outcome.error
            yield outcome

    def recount(self) -> None:
        """Read the progress from the files."""
        for arm_number, arm in enumerate(self._arms):
            if self._finished_summary(arm):
                self.progress.finish(arm_number)
            else:
                saved_rounds = Checkpoints(
                    self._root / arm.name / "checkpoints", arm.config.run.keep_checkpoints
                ).rounds()
                self.progress.set_rounds(arm_number, saved_rounds[-1] if saved_rounds else 0)

    def close(self) -> None:
        """End all processes."""
        if self._pool:
            self._pool.close()

    def _outcomes_as_they_end(self) -> Iterator[ArmResult]:
        """Yield outcomes as arms end.

        An arm that starts from another arm's model is begun when that arm is finished.
        """
        arms_after: dict[str, list[int]] = defaultdict(list)
        for arm_number, arm in enumerate(self._arms):
            arms_after[arm.after].append(arm_number)
        if self._pool is None:
            yield from map(
                self._work,
                (arm_number for numbers in arms_after.values() for arm_number in numbers),
            )
            return
        results = [self._pool.results(self._pool.submit(arms_after.pop("")))]
        while results:
            for outcome in results.pop():
                if outcome.is_finished and (
                    next_arms := arms_after.pop(self._arms[outcome.number].name, None)
                ):
                    results.append(self._pool.results(self._pool.submit(next_arms)))
                yield outcome

    def _work(self, arm_number: int) -> ArmResult:
        """Train an arm and judge it, in this process or in a worker."""
        if self.stop():
            return ArmResult(arm_number)
        arm = self._arms[arm_number]
        try:
            if summary := self._finished_summary(arm):
                rename_classes(self._root / arm.name, self._names)
            else:
                summary = self._train(arm_number, arm)
            if summary["status"] != "finished":
                return ArmResult(arm_number, summary)
            self.progress.finish(arm_number)
            curve = curve_of(RunDirectory(self._root / arm.name).history())
            return ArmResult(arm_number, summary, *self._judge(arm), curve)
        except (FedshelfError, OSError) as error:
            return ArmResult(arm_number, error=error)

    def _finished_summary(self, arm: Arm) -> dict[str, Any] | None:
        """Return the summary of an arm that an earlier process finished."""
        path = self._root / arm.name
        if not (path / "summary.json").is_file() or not (path / WEIGHTS_FILE).is_file():
            return None
        summary: dict[str, Any] = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        return summary if summary["status"] == "finished" else None

    def _train(self, arm_number: int, arm: Arm) -> dict[str, Any]:
        federation = arm.federation
        path = self._root / arm.name
        start = prepare(arm.config, federation.classes, self._channels)
        if arm.kind == TUNED:
            start = replace(
                start,
                params=self._params_of_store(self._arms[0], arm.store, start.params, start.layout),
            )
        build_engine = engines.find(engines.choose(start))
        with closing(RunDirectory.open(path, start.plan.config)) as directory:
            if self._names:
                display_names.write_to_run(path, self._names)
            directory.write(
                "partition.json", {"classes": list(federation.classes), "stores": federation.table}
            )
            start = start.identified(directory.run_id())
            observer = ArmObserver(self.progress, arm_number)
            with closing(build_engine(federation, start, path / "stores")) as engine:
                evaluate = engine.evaluate_test_set if federation.test is not None else None
                return Training(start, engine, observer, directory, 0.0, Evaluators(evaluate)).run(
                    self.stop
                )

    def _judge(self, arm: Arm) -> tuple[dict[str, Answers], dict[str, Answers]]:
        """Judge an arm on held-out and on validation images.

        An arm about one store is judged on the store's images and the server's, any other arm on
        all stores' and the server's. If stores have personal parts of the model, each judges with
        these, and the server's images are not used.
        """
        stores = [arm.store] if arm.is_of_one_store else list(self._held_out.own)
        network = load(read(self._root / arm.name), torch.device(arm.config.run.device))
        batch_size = arm.config.evaluation.batch_size
        metrics = formulas.chosen(arm.config)
        global_params = network.vector.clone()
        plan = Plan("", arm.config, network.spec)
        held_out = dict[str, Answers]()
        validation = dict[str, Answers]()
        keeps_parts = bool(strategies.build(arm.config.strategy, network.layout).personal_tensors())
        for name in stores:
            store = self._arms[0].federation.stores[name]
            if keeps_parts:
                network.load(self._params_of_store(arm, name, global_params, network.layout))
            shares = logit_adjustment(store.train, plan)
            held_out[name] = judge(network, self._held_out.own[name], shares, batch_size, metrics)
            if len(store.validation):
                validation[name] = judge(network, store.validation, shares, batch_size, metrics)
        if self._held_out.server is not None and not keeps_parts:
            held_out[SERVER_TEST] = judge(network, self._held_out.server, None, batch_size, metrics)
        return held_out, validation

    def _params_of_store(self, arm: Arm, store: str, params: Tensor, layout: Layout) -> Tensor:
        """Return a finished arm's model (float32 [P]) with a store's personal parts."""
        places = personalization.personal_slices(
            layout, strategies.build(arm.config.strategy, layout).personal_tensors()
        )
        if not places:
            return params
        path = self._root / arm.name
        summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
        run_id = (path / "run-id").read_text(encoding="utf-8")
        state = StateStore(path / "stores").load(run_id, store, summary["delivered_round"] + 1)
        return personalization.local_model(params, state, places)
