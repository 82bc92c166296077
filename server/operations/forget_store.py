"""`flower-server stores forget`: takes a store's part out of the model of a run that rests.

    sums of the run - sums of the store -> the same head as a run without that store gives

This is possible where the server keeps sums of each store (`common.strategies.closed_form`).
Everything that was computed with the store goes: checkpoints of earlier rounds, the model, and the
figures of the model. The store is set aside for the rest of the run. The history keeps that it took
part, and says when it was forgotten.
"""

import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from fedshelf.common import strategies
from fedshelf.common.classes.display_names import read_from_run
from fedshelf.common.config import STORES_OWN
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.names import WEIGHTS_FILE
from fedshelf.common.strategies.shared.base import Strategy
from fedshelf.common.text import printable
from fedshelf.common.training.fit import Network
from fedshelf.common.wording import format_count, format_list
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.report.page import write_report
from fedshelf.server.report.png import write_pictures
from fedshelf.server.results import plan_file
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.given_models import GivenModels, still_there
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.model_export import write_model
from fedshelf.server.results.past_rounds import judged
from fedshelf.server.results.plan_file import SavedPlan
from fedshelf.server.results.run_directory import FORGOTTEN, Record, RunDirectory
from fedshelf.server.settings.own_code import allow_of_run
from fedshelf.server.updates.store_findings import Standing

# of a record or a summary: what tells of the model that had the store in it
_OF_THE_RECORD = ("test", "validation", "validation_raw", "adjustment")
_OF_THE_SUMMARY = (
    "best", "test", "confused", "adjustment", "calibration", "per_store", "per_store_from",
    "per_store_spread", "per_store_file", "evaluation_file", "old_classes", "delivery",
    "delivered_round", "delivered_because", "withholding",
)  # fmt: skip


def forget_store(run: Path, store: str) -> None:
    """Take a store's sums out of a run's state and its model, and print what was done.

    Args:
        run: the run's directory
        store: the store's name

    Raises:
        RunError: a server works on the run, or it has no sums of the store, or of no other store
        ConfigError: its strategy keeps no sums
        OSError: the disk is full
    """
    if RunMailbox(run).is_launcher_at_work():
        raise RunError(f"A server works on {run}; end it first: flower-server stop {run}")
    allow_of_run(run)
    config = RunDirectory.stored(run, {})
    with closing(RunDirectory.open(run, config)) as directory:
        checkpoints = Checkpoints(run / "checkpoints", config.run.keep_checkpoints)
        state = checkpoints.latest()
        if state is None:
            raise RunError(f"No round of {run} is saved, so it has nothing of any store.")
        saved = plan_file.read(run / "checkpoints", config)
        layout = Network(saved.plan.spec, torch.device("cpu")).layout
        strategy = strategies.build(config.strategy, layout)
        if not _is_forgotten(state, store):  # a killed command may have come that far
            _check(run, strategy, state, store)
            state = _without(strategy, state, store, layout.trainable)
            directory.take_back(state.round)  # a model that stores were given is recalled by it
            state = checkpoints.put_alone(state)
        assert state.record is not None
        directory.mend_history(state.record)
        spoilt = still_there(GivenModels(directory).taken_back())
        if (run / WEIGHTS_FILE).is_file():
            _write_outcome(directory, saved, state, store)
    others = [printable(name) for name in sorted(strategy.contributors(state.strategy))]
    print(
        f"The model of {run} is solved for without {printable(store)}, from the sums of"
        f" {format_count(len(others), 'store')}: {format_list(others)}."
    )
    print(
        f"Nobody has judged it yet: `flower-server start --resume --out {run} --stores"
        f" {len(others)}` does so at the stores, and gives it to them."
        if config.data.dataset == STORES_OWN
        else f"Nobody has judged it yet: `flower-simulation run --resume --out {run}` does."
    )
    if spoilt:
        print(f"The model before it is still at {format_list(list(map(printable, spoilt)))}.")
    if copies := sorted(str(path) for path in run.glob(f"round-*/{WEIGHTS_FILE}")):
        print(f"Models that were exported before have the store in them: {format_list(copies)}.")


def _is_forgotten(state: TrainingState, store: str) -> bool:
    return store in (state.record or {}).get(FORGOTTEN, {})


def _check(run: Path, strategy: Strategy, state: TrainingState, store: str) -> None:
    """Check that the store can be forgotten, and that something is left then.

    Raises:
        ConfigError, RunError: it cannot.
    """
    if not strategy.closed_form:
        raise ConfigError(
            f"The run in {run} has the strategy {strategy.config.name}, which trains weights: no"
            f" store's part can be taken out of them; train a new run without {printable(store)}."
        )
    known = strategy.contributors(state.strategy)
    if store not in known:
        raise RunError(
            f"The run in {run} has no sums of {printable(store)}; it has those of"
            f" {format_list([printable(name) for name in sorted(known)])}."
        )
    if known == {store}:
        raise RunError(
            f"The run in {run} has the sums of {printable(store)} alone, and no model is left"
            " without them; remove the run."
        )


def _without(strategy: Strategy, state: TrainingState, store: str, trainable: int) -> TrainingState:
    """Return the state of the run as if the store had never sent anything."""
    sums = strategy.forget(state.strategy, {store})
    params, sums = strategy.update_global_model(state.params, [], sums, trainable)
    record = dict(state.record or {})
    today = datetime.now(UTC).isoformat(timespec="seconds")
    standing = Standing.of(record).with_aside(
        store, f"its sums were taken out of the model on {today}, as a person asked"
    )
    record |= dict.fromkeys(_OF_THE_RECORD)
    record |= {
        "standing": standing.to_record(),
        FORGOTTEN: {**record.get(FORGOTTEN, {}), store: today},
    }
    return replace(state, params=params, strategy=sums, best=None, stale=0, record=record)


def _write_outcome(
    directory: RunDirectory, saved: SavedPlan, state: TrainingState, store: str
) -> None:
    """Write the model anew, and a summary without any figure of the model before it.

    The run counts as stopped, so that --resume judges the new model.
    """
    path = directory.path
    summary: Record = read_json(path / "summary.json")
    others: dict[str, Any] = {
        "delivered_because": f"the last, without {printable(store)}",
        "personal": [],
        "rounds": state.round,
        "stores": summary.get("stores"),
    }
    told = judged(path, saved, state) | others
    told["model_sha256"] = write_model(path, saved.plan, state, told, read_from_run(path))
    kept = {key: value for key, value in summary.items() if key not in _OF_THE_SUMMARY}
    nothing: dict[str, Any] = {"best": None, "test": None, "per_store": None}
    forgotten: Record = {
        "status": "stopped",
        "reason": f"the sums of {printable(store)} were taken out of the model, which nobody has"
        " judged since",
        "weights_sha256": told["weights_sha256"],
        "model_sha256": told["model_sha256"],
        "set_aside": dict(Standing.of(state.record).set_aside),
        FORGOTTEN: {**summary.get(FORGOTTEN, {}), **(state.record or {})[FORGOTTEN]},
    }
    directory.write("summary.json", {**kept, **nothing, **forgotten})
    shutil.rmtree(path / "flower" / "model", ignore_errors=True)  # given out between rounds
    try:
        write_pictures(path)
        write_report(path)
    except Exception as error:
        print(f"The report could not be written ({error}); the model is not affected.")
