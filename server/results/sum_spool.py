"""The server's memory of a round's secure sum, on disk before the stores are asked to open it.

    PURPOSE.json           round and attempt that was begun last
    PURPOSE.safetensors    the sum under masks, and whose vectors are in it, once stores were asked

The stores open one sum of a round, for one set of stores. So a server that dies after it has asked
must ask for the same sum again; if this memory is lost, the round is.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fedshelf.common.errors import RunError
from fedshelf.common.privacy.secure_sum.messages import Purpose
from fedshelf.common.protocol.messages import Failure, SumTerms
from fedshelf.common.system.files import write_atomic, write_json

_STATE = "state"


@dataclass(frozen=True)
class AskedSum:
    """A sum that stores were asked to open.

    Attributes:
        terms:  of the order
        server: `SumServer.to_bytes`
        total:  int32 or int16 [Q], the sum of the masked vectors
        failed: the stores of the cohort that had failed by then
    """

    round: int
    attempt: int
    terms: SumTerms
    server: bytes
    total: Tensor
    failed: tuple[Failure, ...] = ()


class SumSpool:
    """The memory of one run's secure sums of one purpose.

    Args:
        directory: its folder; None: it is kept in this process alone, as in a simulation
        purpose: of the sums
    """

    def __init__(self, directory: Path | None, purpose: Purpose) -> None:
        self._directory = directory
        self._purpose = purpose
        self._begun: tuple[int, int] | None = None
        self._asked: AskedSum | None = None

    def begin(self, round_number: int) -> int:
        """Begin another attempt at a round, and return its number.

        Raises:
            RunError: the file of the last attempt is damaged
            OSError: it cannot be written
        """
        before = self._begun or self._read_begun()
        attempt = before[1] + 1 if before is not None and before[0] == round_number else 0
        self._begun = (round_number, attempt)
        if self._directory is not None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_json(self._attempt_file, {"round": round_number, "attempt": attempt})
        return attempt

    def ask(self, asked: AskedSum) -> None:
        """Keep the sum that stores are about to be asked to open. Raises OSError."""
        self._asked = asked
        if self._directory is None:
            return
        state = {
            "round": asked.round,
            "attempt": asked.attempt,
            "terms": [asked.terms.stores, asked.terms.images],
            "server": asked.server.decode(),
            "failed": [asdict(failure) for failure in asked.failed],
        }
        content = save({"total": asked.total}, metadata={_STATE: json.dumps(state)})
        write_atomic(self._asked_file, lambda file: file.write(content), private=True)

    def asked(self, round_number: int) -> AskedSum | None:
        """Return the sum of a round that stores were asked to open, if there is one.

        Raises:
            RunError: its file is damaged
        """
        if self._asked is None and self._directory is not None and self._asked_file.exists():
            self._asked = self._read_asked()
        return self._asked if self._asked and self._asked.round == round_number else None

    @property
    def _attempt_file(self) -> Path:
        assert self._directory is not None
        return self._directory / f"{self._purpose}.json"

    @property
    def _asked_file(self) -> Path:
        assert self._directory is not None
        return self._directory / f"{self._purpose}.safetensors"

    def _read_begun(self) -> tuple[int, int] | None:
        if self._directory is None or not self._attempt_file.exists():
            return None
        try:
            begun = json.loads(self._attempt_file.read_bytes())
            return int(begun["round"]), int(begun["attempt"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self._attempt_file} is damaged ({type(error).__name__}); remove it: the stores"
                " refuse attempts that they have seen, and later ones go on."
            ) from error

    def _read_asked(self) -> AskedSum:
        try:
            with safe_open(self._asked_file, framework="pt") as file:
                state = json.loads((file.metadata() or {})[_STATE])
                total: Tensor = file.get_tensor("total")
            terms = SumTerms(*map(int, state["terms"]))
            return AskedSum(
                int(state["round"]),
                int(state["attempt"]),
                terms,
                state["server"].encode(),
                total,
                tuple(Failure(**failure) for failure in state["failed"]),
            )
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{self._asked_file} cannot be read ({type(error).__name__}); remove it: its round"
                " is then skipped, as no round is summed twice."
            ) from error
