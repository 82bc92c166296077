"""The server as a Flower ServerApp: the same rounds as everywhere, over stores reached by Flower.

`flower-server` submits it with a run directory that it has prepared; the app takes all settings
from there. If it is submitted by other means (`flwr run`), the settings come as Flower's run
config.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedshelf.common import strategies
from fedshelf.common.classes import display_names
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import StoppedError
from fedshelf.common.images.types import Images
from fedshelf.common.models.spec import STORE_CHANNELS
from fedshelf.common.privacy.secure_sum.ciphers import RingVector
from fedshelf.common.protocol.messages import EvaluateOrder, Plan, StoreInfo, TrainOrder
from fedshelf.common.system.device import pick_device
from fedshelf.common.training.features import plan_extractor
from fedshelf.server.grid import class_table
from fedshelf.server.grid.model_deliveries import (
    RELEASE_KEY,
    WAIT,
    ModelDeliveries,
    deliver_only,
    wait_or_stop,
)
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.events import EventWriter
from fedshelf.server.ipc.run_mailbox import NO_FILES, RunFiles, RunMailbox
from fedshelf.server.results.run_directory import RunDirectory, finite
from fedshelf.server.results.run_status import RunActivity, RunObserver, RunStatus
from fedshelf.server.results.scenes.examples import scene_photos
from fedshelf.server.settings.own_code import allow_of_run
from fedshelf.server.settings.precision import keep_float32
from fedshelf.server.training import class_confirmation, cohort, setup
from fedshelf.server.training.run import StopRequest, Training
from fedshelf.server.training.selection_images import divide
from fedshelf.server.training.setup import InitialState
from fedshelf.server.updates import secure_sums
from fedshelf.server.updates.anomaly_detection import sample_of
from fedshelf.server.updates.buffer import DiskBuffer
from fedshelf.server.updates.evaluator import Evaluators, build_evaluator

TASK = "run.task"  # in the app's config: "deliver" if it does nothing else
LAUNCHER_POLL_SECONDS = 1.0  # seconds between two checks that the launcher is alive

app = ServerApp()


class MailboxStop(StopRequest):
    """A stop request that also checks the run mailbox."""

    def __init__(self, observer: RunObserver, mailbox: RunMailbox) -> None:
        super().__init__(observer)
        self._mailbox = mailbox

    def __call__(self) -> bool:
        """Return whether a signal or the run mailbox asks for an end."""
        return super().__call__() or self._mailbox.is_stop_asked()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train the run that `flower-server` has prepared in the directory `run.out`."""
    out = Path(str(context.run_config["run.out"]))
    mailbox = RunMailbox(out)
    threading.Thread(target=_end_with_launcher, args=(mailbox,), daemon=True).start()
    with mailbox.at_work():
        observer = EventWriter(mailbox.events)
        observer.doing(RunActivity(RunStatus.STARTING))
        allow_of_run(out)
        config = RunDirectory.stored(out, {})
        with closing(RunDirectory.open(out, config)) as directory:
            stop = MailboxStop(observer, mailbox)
            if context.run_config.get(TASK) == "deliver":
                until = wait_or_stop(stop, float(str(context.run_config[WAIT])))
                mailbox.finish(deliver_only(grid, config, directory, mailbox, observer, until))
                return
            training = GridTraining(
                config,
                directory,
                observer,
                folder_images,
                mailbox.began,
                config.cohort.min_stores,
                tell_classes=mailbox.tell_classes,
                files=mailbox.files(),
                requests=mailbox,
                release_key=Path(str(key))
                if (key := context.run_config.get(RELEASE_KEY))
                else None,
            )
            # of photos of scenes some figures are no numbers, which JSON does not have
            mailbox.finish(finite(training.run(grid, stop)))


def _end_with_launcher(mailbox: RunMailbox) -> None:
    """End the process once the launcher is gone.

    Without the launcher there is no SuperLink, and Flower's grid would try to reach it for ever.
    """
    while mailbox.is_launcher_at_work():
        time.sleep(LAUNCHER_POLL_SECONDS)
    # this may come at any moment, like any other kill: checkpoints are never half-written
    os._exit(1)


@dataclass(frozen=True)
class GridTraining:
    """A training over all stores that Flower's grid reaches.

    Attributes:
        images_for: opens the server's own test images for the agreed plan; it may return None
        began: Unix time (s) at which the start-up began
        expected: number of stores to wait for before round 1
        channels: of the stores' images
        files: the files through which the runtime talks to the gateway and to viewers
        tell_classes: publishes the classes for stores that ask
        requests: the run mailbox, where a person may ask for a delivery between two rounds; None:
            stores keep no models
        release_key: see `ModelDeliveries`
    """

    config: RunConfig
    directory: RunDirectory
    observer: RunObserver
    images_for: Callable[[Plan], Images | None]
    began: float
    expected: int
    channels: int = STORE_CHANNELS
    files: RunFiles = NO_FILES
    tell_classes: Callable[[Sequence[str], RunConfig], None] | None = None
    requests: RunMailbox | None = None
    release_key: Path | None = None

    def run(self, grid: Grid, stop: StopRequest) -> dict[str, Any]:
        """Wait for the quorum, agree on the classes, train to the end, and return the summary.

        Raises:
            FedshelfError: the run cannot start or go on
            DataError: a person has to confirm classes first
        """
        config = self._settled()
        run_id = self.directory.run_id()
        runtime = GridRuntime(grid, config, run_id, self.observer.note, self.files, stop=stop)
        present = self._assembled(runtime, stop)
        self.observer.note(f"Stores: {', '.join(sorted(present))}.")
        agreement = setup.agree_on_classes(config, present)
        class_confirmation.check(agreement.unconfirmed, self.directory.path)
        classes = agreement.classes
        names = display_names.read_from_run(self.directory.path)
        unknown = display_names.check_classes(names, classes)
        for line in filter(None, (*class_table.lines(config, classes, present, names), unknown)):
            self.observer.note(line)
        runtime.agree(classes)
        if self.tell_classes:
            self.tell_classes(classes, config)
        counts_by_store = {
            name: info.counts
            for name, info in sorted(runtime.stores().items())
            if not info.undisclosed_images
        }
        table = {
            name: [counts.get(label, 0) for label in classes]
            for name, counts in counts_by_store.items()
        }
        self.directory.write("partition.json", {"classes": list(classes), "stores": table})
        start = setup.prepare(config, classes, self.channels).identified(run_id)
        runtime.expect_sums(_zeros_of(start))
        if not (self.directory.path / "checkpoints").exists():
            runtime.prepare_sums(start.plan, 1)  # the stores answer while the rest is made ready
        self.directory.settle(start.plan.config)  # a resumed run has these classes
        images = divide(start, present, self.images_for(start.plan))
        if images.told:
            self.observer.note(images.told)
        if extractor := plan_extractor(start.plan, pick_device(config.run.device)):
            images = images.with_features(extractor)
        test = build_evaluator(start.plan, images.test)
        evaluators = Evaluators(
            test,
            build_evaluator(start.plan, images.validation),
            sample_of(test, start.plan.config),
            scene_photos(start.plan, images.test),
        )
        buffer = DiskBuffer(self.directory.path / "flower" / "updates")
        startup = time.time() - self.began
        deliveries = self._deliveries(start.plan.config, runtime, stop)
        training = Training(
            start,
            runtime,
            self.observer,
            self.directory,
            startup,
            evaluators,
            buffer,
            between=deliveries,
        )
        summary = training.run(stop)
        runtime.tell(f"The training is over: {summary['status']} after {summary['rounds']} rounds.")
        return deliveries.at_end(summary) if deliveries else summary

    def _deliveries(
        self, config: RunConfig, runtime: GridRuntime, stop: StopRequest
    ) -> ModelDeliveries | None:
        """Return what gives the stores the model; None: they keep no models."""
        if self.requests is None:
            return None
        return ModelDeliveries(
            config, self.directory, runtime, self.observer, stop, self.requests, self.release_key
        )

    def _settled(self) -> RunConfig:
        """Return the settings with those that the data decide. Raises ConfigError."""
        config, precision_note = keep_float32(setup.settle(self.config, None, self.channels))
        if precision_note:
            self.observer.note(precision_note)
        return config

    def _assembled(self, runtime: GridRuntime, stop: StopRequest) -> Mapping[str, StoreInfo]:
        """Return the stores that the run begins, or goes on, with.

        Raises StoresError, StoppedError.
        """
        done = RunDirectory.rounds_done(self.directory.path)
        try:
            return cohort.wait_for_quorum(
                runtime, done + 1, self.expected, self.config.cohort.wait, self.observer, stop
            )
        except StoppedError as error:
            kept = f"the {done} rounds done before are kept" if done else "nothing was trained"
            raise StoppedError(f"Stopped while {error}; {kept}. Go on with --resume.") from None


def _zeros_of(start: InitialState) -> Callable[[TrainOrder | EvaluateOrder], RingVector]:
    """Return a function for the sum of no vectors, ring elements [Q], of an order with terms."""
    strategy = strategies.build(start.plan.config.strategy, start.layout)
    return partial(secure_sums.zeros, strategy=strategy, layout=start.layout)


def folder_images(agreed: Plan) -> Images | None:
    """Return the photos in `evaluation.test_data`; None if that is not set. Raises DataError."""
    if not agreed.config.evaluation.test_data:
        return None
    from fedshelf.common.images.decoding.decode import PixelFormat
    from fedshelf.common.images.folder.photo_folder import FolderOptions, open_folder, relabel
    from fedshelf.common.scenes.folder.scene_photos import open_scene_photos
    from fedshelf.common.tasks import SceneTask, task_of
    from fedshelf.common.tasks.turns import as_rotation_task

    folder = Path(agreed.config.evaluation.test_data)
    spec = agreed.spec
    denoise = agreed.config.data.denoise
    if isinstance(task := task_of(spec), SceneTask):
        form = PixelFormat(spec.image_size, spec.channels, denoise)
        data = agreed.config.data
        scenes = open_scene_photos(folder, form, data.split, task.name, task.scene_classes(data))
        tested = scenes.splits["test"]
        return tested.whole_array()  # all photos of the folder are for testing
    opened = open_folder(
        folder,
        image_size=spec.image_size,
        channels=spec.channels,
        denoise=denoise,
        options=FolderOptions(classes=() if spec.tells_turns else spec.classes),
    )
    merge = agreed.config.data.merge_spellings
    test = relabel(
        as_rotation_task(opened) if spec.tells_turns else opened, spec.classes, merge=merge
    ).splits["test"]
    if (
        "test" not in opened.given_splits
    ):  # a folder of test photos only: all of them are for testing
        test = Images.whole(test.inputs, test.labels)
    return test
