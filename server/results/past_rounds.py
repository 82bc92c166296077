"""Export of a usable model of any round that has a checkpoint, not only of the delivered one."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fedshelf.common import strategies
from fedshelf.common.classes.display_names import read_from_run
from fedshelf.common.config import RunConfig
from fedshelf.common.errors import ConfigError, RunError
from fedshelf.common.names import DESCRIPTION_FILE, WEIGHTS_FILE
from fedshelf.common.training.fit import Network
from fedshelf.server.results import delivered_round, plan_file
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.model_export import weights_sha256, write_model
from fedshelf.server.results.plan_file import SavedPlan
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.settings.own_code import allow_of_run


@dataclass(frozen=True)
class ExportedRound:
    """A model that was written.

    Attributes:
        rounds: number of rounds that the run had done
        test: its accuracy on test images, if known
        is_calibrated: whether a temperature was fitted to it
    """

    path: Path
    round: int
    rounds: int
    because: str
    test: float | None
    is_calibrated: bool


def export_round(run: Path, which: str, out: Path | None) -> ExportedRound:
    """Write `model.safetensors` and `model.json` of a round into a new folder.

    The run may be unfinished, or still at work.

    Raises RunError for a round or a run that is not there, ConfigError for any other fault,
    OSError.

    Args:
        which: the number of a round, "best" or "last"
        out: the folder; None: `round-N` in the run's directory
    """
    config, checkpoints = _opened(run)
    rounds = checkpoints.rounds()
    latest = checkpoints.load(rounds[-1])
    round_number, because = _chosen(which, latest, config)
    if round_number not in rounds:
        raise RunError(
            f"There is no checkpoint of round {round_number} in {run}; those that are there:"
            f" {', '.join(map(str, rounds))}."
        )
    saved = plan_file.read(run / "checkpoints", config)
    personal = _personal(saved, round_number, latest)
    state = checkpoints.load(round_number)
    evaluation = judged(run, saved, state) | {
        "rounds": latest.round,
        "personal": personal,
        "delivered_because": because,
    }
    folder = out or run / f"round-{round_number}"
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(
            f"{folder} exists already and is not empty; name a new folder with --out."
        )
    write_model(folder, saved.plan, state, evaluation, read_from_run(run))
    test = (evaluation["test"] or {}).get("accuracy")
    is_calibrated = bool((evaluation["calibration"] or {}).get("temperature"))
    return ExportedRound(
        folder / WEIGHTS_FILE, round_number, latest.round, because, test, is_calibrated
    )


def model_of_round(run: Path, which: str) -> Path:
    """Return the model file of a round in `round-N` of the run's directory.

    Write it if it is not there.

    Raises the errors of `export_round`, and ConfigError if there is another model in that folder.
    """
    config, checkpoints = _opened(run)
    round_number, _ = _chosen(which, checkpoints.load(checkpoints.rounds()[-1]), config)
    path = run / f"round-{round_number}" / WEIGHTS_FILE
    if not path.is_file():
        return export_round(run, str(round_number), None).path
    digest = weights_sha256(
        plan_file.read(run / "checkpoints", config).plan, checkpoints.load(round_number)
    )
    provenance = json.loads(path.with_name(DESCRIPTION_FILE).read_text(encoding="utf-8"))[
        "provenance"
    ]
    if provenance["weights_sha256"] != digest:
        raise ConfigError(
            f"{path} is not the model of round {round_number} in the checkpoint of {run};"
            " remove it."
        )
    return path


def _opened(run: Path) -> tuple[RunConfig, Checkpoints]:
    """Return the configuration and the checkpoints of a run. Raises RunError if there are none."""
    if not RunDirectory.is_run(run):
        inside = run / "federated"
        hint = (
            f"it holds a comparison: name one of its runs, such as {inside}"
            if inside.is_dir()
            else "no config.toml"
        )
        raise RunError(f"There is no run in {run} ({hint}).")
    allow_of_run(run)
    checkpoints = Checkpoints(run / "checkpoints", keep=1)
    if not checkpoints.rounds():
        raise RunError(
            f"There is no checkpoint in {run}: no round was saved yet, or they were removed."
        )
    return RunDirectory.stored(run, {}), checkpoints


def _chosen(which: str, latest: TrainingState, config: RunConfig) -> tuple[int, str]:
    """Return the number of the round that `which` names, and the reason for the choice in words."""
    if which == "last":
        return latest.round, "the last that was saved"
    if which == "best":
        if latest.best is None:
            raise RunError(
                "There is no best round: none of this run was judged; give a number, or last."
            )
        flatters = ", which flatters its test figure" if latest.best.on == "test" else ""
        return latest.best.round, delivered_round.explain_best(latest.best, config) + flatters
    if not (which.isascii() and which.isdigit()):
        raise ConfigError(f"Got the round {which!r}; expected the number of a round, best or last.")
    return int(which), "asked for by its number"


def _personal(saved: SavedPlan, round_number: int, latest: TrainingState) -> list[str]:
    """Return the names of the tensors that stay at the stores.

    Raises RunError for a round whose personal tensors no store has: stores keep those of the best
    and of the last round only.
    """
    network = Network(saved.plan.spec, torch.device("cpu"))
    names = list(strategies.build(saved.plan.config.strategy, network.layout).personal_tensors())
    best = latest.best.round if latest.best else latest.round
    if names and round_number not in (best, latest.round):
        raise RunError(
            f"Round {round_number} of a run with strategy {saved.plan.config.strategy.name} makes"
            f" no whole model: stores keep their own parts of the best round ({best}) and of the"
            f" last ({latest.round}) only; export one of these."
        )
    return names


def judged(run: Path, saved: SavedPlan, state: TrainingState) -> dict[str, Any]:
    """Return the known results of a round's model.

    For the delivered model these are all of the run's `summary.json`, else the round's metrics on
    the server's test images, if there are any.
    """
    sha = weights_sha256(saved.plan, state)
    path = run / "summary.json"
    summary = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if summary.get("delivered_round") == state.round and summary["weights_sha256"] == sha:
        # an earlier version's lacks it
        return {"adjustment": _adjustment(saved.plan.config, state)} | summary
    test = (state.record or {}).get("test")
    return {
        "weights_sha256": sha,
        "test": test | {"on": "server"} if test else None,
        "calibration": None,
        "stores": None,
        "adjustment": _adjustment(saved.plan.config, state),
        "resumed_from": saved.resumed_from,
        "initial_weights": saved.initial_weights,
    }


def _adjustment(config: RunConfig, state: TrainingState) -> dict[str, Any] | None:
    """Return which scores stores use with the round's model, as far as its round found out.

    See `server.training.final_evaluation` for the fields. None if no class offsets are in use.
    """
    if config.strategy.absent == "full":
        return None
    found = (state.record or {}).get("adjustment")
    nothing = dict.fromkeys(("validation", "test", "temperature", "energy_threshold"))
    return {"used": found or "adjusted", "chosen_on": "validation" if found else None} | nothing
