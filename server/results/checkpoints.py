"""Checkpoints: everything that changes during a run, never half-written."""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedshelf.common.errors import RunError
from fedshelf.common.parameters.layout import Tensors
from fedshelf.common.system.files import write_atomic

MAX_UNSAVED_SECONDS = 5.0
# keys of a file's metadata
_STATE = "state"
_SHA256_KEY = "sha256"


@dataclass(frozen=True)
class Best:
    """The best evaluation so far.

    Attributes:
        round: of that evaluation
        value: of the metric `evaluation.metric`
        accuracy: of the same evaluation
        on: the images it was made on, see `server.results.delivered_round.DECIDING_IMAGES`
    """

    round: int
    value: float
    accuracy: float
    on: str


@dataclass(frozen=True)
class Totals:
    """Sums over the rounds so far.

    Attributes:
        images: images trained on
        bytes_down, bytes_up: bytes of parameters, to and from the stores
        seconds: per phase
    """

    images: int = 0
    bytes_down: int = 0
    bytes_up: int = 0
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingState:
    """The state of a run between two rounds.

    Attributes:
        round: rounds completed
        params: float32 [P], the global model
        strategy: the state of the strategy's server half
        stale: evaluations since the best one
        record: the last round's line of the history, so that one file is the only point of commit
        committed: the last round that is on disk
        average: float32 [P], a mean of `averaged` rounds' models (see
            `server.training.weight_averaging`), or None
    """

    round: int
    params: Tensor
    strategy: Tensors
    best: Best | None = None
    stale: int = 0
    totals: Totals = Totals()
    record: Mapping[str, Any] | None = None
    committed: int = 0
    average: Tensor | None = None
    averaged: int = 0

    @property
    def model(self) -> Tensor:
        """The model that is judged and delivered, float32 [P]."""
        return self.params if self.average is None else self.average

    def to(self, device: torch.device) -> "TrainingState":
        """Return the state with all vectors on `device`.

        Scalars stay where they are, as the CPU reads them.
        """
        strategy = {
            name: tensor.to(device) if tensor.ndim else tensor
            for name, tensor in self.strategy.items()
        }
        average = None if self.average is None else self.average.to(device)
        return replace(self, params=self.params.to(device), strategy=strategy, average=average)


class Checkpoints:
    """`round-000012.safetensors` files in one directory: the latest few and the best."""

    def __init__(self, directory: Path, keep: int) -> None:
        self._directory = directory
        self._keep = keep
        self._saved = self._cost = 0.0  # time.monotonic() of the last save, and its duration (s)

    def is_due(self) -> bool:
        """Return whether the work since the last checkpoint is worth a new one.

        It is if the checkpoint costs at most a twentieth of that time, or if more than
        MAX_UNSAVED_SECONDS of work could be lost.
        """
        return time.monotonic() - self._saved >= min(MAX_UNSAVED_SECONDS, 20 * self._cost)

    def save(self, state: TrainingState) -> TrainingState:
        """Write the state atomically, and delete what is no longer needed.

        Raises OSError.
        """
        began = time.monotonic()
        tensors = {"params": state.params} | {
            f"strategy.{name}": t for name, t in state.strategy.items()
        }
        tensors |= {} if state.average is None else {"average": state.average}
        meta = {
            "round": state.round,
            "best": asdict(state.best) if state.best else None,
            "stale": state.stale,
            "totals": asdict(state.totals),
            "record": state.record,
            "averaged": state.averaged,
        }
        # safetensors has no checksum: a bit that flips on the disk would train on unnoticed
        stored = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
        text = json.dumps(meta)
        content = save(stored, metadata={_STATE: text, _SHA256_KEY: _checksum(text, stored)})
        write_atomic(self._path(state.round), lambda file: file.write(content))
        # after the write: a kill between the two leaves one file too many, never one too few
        for round_number in self.rounds()[: -self._keep]:
            if state.best is None or round_number != state.best.round:
                self._path(round_number).unlink(missing_ok=True)
        self._saved = time.monotonic()
        self._cost = self._saved - began
        return replace(state, committed=state.round)

    def rounds(self) -> list[int]:
        """Return the rounds that have a checkpoint, ascending."""
        return sorted(
            int(path.stem.removeprefix("round-"))
            for path in self._directory.glob("round-*.safetensors")
        )

    def latest(self) -> TrainingState | None:
        """Return the newest state whose model is finite; None if there are no checkpoints.

        Earlier versions also wrote models that are not finite.

        Raises:
            RunError: a checkpoint cannot be read, or none is finite
        """
        rounds = self.rounds()
        if rounds and (state := self._newest(rounds)) is None:
            raise RunError(
                f"No checkpoint in {self._directory} holds a model whose weights are finite; start"
                " a new run."
            )
        return state if rounds else None

    def before(self, round_number: int) -> TrainingState | None:
        """Return the newest state of an earlier round whose model is finite, or None.

        Raises:
            RunError: it cannot be read
        """
        return self._newest([earlier for earlier in self.rounds() if earlier < round_number])

    def put_back(self, state: TrainingState) -> TrainingState:
        """Save a state in place of the ones of its round and of later rounds, which are taken back.

        Raises OSError.
        """
        # from the newest: a kill in between leaves a history without a gap
        for round_number in reversed(self.rounds()):
            # the round's own file is replaced, so that there is always one
            if round_number > state.round:
                self._path(round_number).unlink(missing_ok=True)
        return self.save(state)

    def put_alone(self, state: TrainingState) -> TrainingState:
        """Save a state in place of all others: nothing of any earlier state is left.

        If the process is killed, the state of this round before it is left.

        Raises OSError.
        """
        for round_number in self.rounds():
            if round_number != state.round:
                self._path(round_number).unlink(missing_ok=True)
        return self.save(state)

    def _newest(self, rounds: Sequence[int]) -> TrainingState | None:
        states = (self.load(round_number) for round_number in reversed(rounds))
        return next((state for state in states if bool(torch.isfinite(state.model).all())), None)

    def load(self, round_number: int) -> TrainingState:
        """Return the state after `round_number`. Files of earlier versions have no checksum.

        Raises:
            RunError: the file is missing, damaged or the one of another round
        """
        path = self._path(round_number)
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if (
                metadata.get(_SHA256_KEY, checksum := _checksum(metadata[_STATE], tensors))
                != checksum
            ):
                raise ValueError("its content is not what was written: its checksum differs")
            meta = json.loads(metadata[_STATE])
            # a file that was copied or renamed would resume another round in silence
            if meta["round"] != round_number:
                raise ValueError(
                    f"it is the checkpoint of round {meta['round']}, not of round {round_number}"
                )
            best = Best(**meta["best"]) if meta["best"] else None
            params = tensors.pop("params")
            average = tensors.pop("average", None)
            strategy = {name.removeprefix("strategy."): tensor for name, tensor in tensors.items()}
            totals = Totals(**meta["totals"])
            progress = (
                best,
                meta["stale"],
                totals,
                meta["record"],
                meta["round"],
                average,
                meta["averaged"],
            )
            return TrainingState(meta["round"], params, strategy, *progress)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(
                f"Checkpoint {path} cannot be read ({error}); remove it to resume from an older"
                " one."
            ) from error

    def _path(self, round_number: int) -> Path:
        return self._directory / f"round-{round_number:06d}.safetensors"


def _checksum(text: str, tensors: Tensors) -> str:
    """Return the SHA-256 in hex of a state's text and of its tensors on the CPU.

    Types and shapes of the tensors count.

    The tensors are taken in the order of their names.
    """
    digest = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def add_round(state: TrainingState, totals: Totals, **changes: object) -> TrainingState:
    """Return the state with one more round's totals added, and with `changes` applied."""
    old = state.totals
    phases = {*old.seconds, *totals.seconds}
    summed = Totals(
        old.images + totals.images,
        old.bytes_down + totals.bytes_down,
        old.bytes_up + totals.bytes_up,
        {
            phase: old.seconds.get(phase, 0.0) + totals.seconds.get(phase, 0.0)
            for phase in sorted(phases)
        },
    )
    return replace(state, totals=summed, **changes)  # type: ignore[arg-type]
