"""The registrar: keeps Flower's SuperLink in step with the chain.

It registers the keys of enrolled stores and unregisters those of revoked ones, as a process of its
own beside the SuperLink, which knows no store when a run starts. It also renews the server's
certificate. Flower's command for a registration takes seconds to start; so its entry point is
loaded once and called for each store.

    python -m fedshelf.server.credentials.registrar CREDENTIALS FLOWER_DIRECTORY CONNECTION
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from click import Abort, ClickException, Command
from pydantic import BaseModel
from typer.main import get_command

from fedshelf.common.errors import ConfigError
from fedshelf.common.system.files import write_json, write_text
from fedshelf.server.credentials.authority import renew_if_due
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.stores import EnrolmentState, StoreEntry
from fedshelf.server.ipc.file_watcher import WatchedFile
from fedshelf.server.ipc.run_mailbox import REGISTERED, REGISTRATIONS

STORES_POLL_SECONDS = 0.2  # seconds between two checks of the chain's stores
# seconds between two writings of the list of nodes, while many are registered
REGISTRATIONS_SAVE_SECONDS = 0.5
# seconds until the SuperLink is asked again after it has not answered
SUPERLINK_RETRY_SECONDS = 1.0
REVOKED = "revoked.json"  # in Flower's directory: stores that were revoked, and when
HOUR = 3600.0  # seconds between two checks of the certificate


class Node(BaseModel):
    """A registered store, by its public key."""

    store: str
    key: str


class Registrations(BaseModel):
    """The state of the SuperLink's registrations: nodes by node id.

    pending: nodes that are being registered, in this order
    """

    nodes: dict[str, Node] = {}
    pending: list[Node] = []


class Registrar:
    """Registers stores with the SuperLink behind `connection`; `directory`/nodes.json lists the
    nodes.
    """

    def __init__(self, chain: Chain, directory: Path, connection: str) -> None:
        self._chain = chain
        self._directory = directory
        self._connection = connection
        self._path = directory / REGISTRATIONS
        self._revoked = dict[str, float]()
        self._known = (
            Registrations.model_validate_json(self._path.read_bytes())
            if self._path.exists()
            else Registrations()
        )

    def reconcile(self) -> None:
        """Bring the SuperLink in step with the chain.

        Raises FlowerError if it does not answer as it should.
        """
        entries = self._chain.stores.stores()
        self._tell_revoked(entries)
        registered = self._directory / REGISTERED
        registered.unlink(missing_ok=True)
        wanted = {
            name: entry.key
            for name, entry in entries.items()
            if entry.state is EnrolmentState.ENROLLED and entry.key
        }
        self._settle_pending()
        for number, node in list(self._known.nodes.items()):
            if wanted.get(node.store) != node.key:
                self._unregister(number)
        there = {node.store for node in self._known.nodes.values()}
        self._register(
            [Node(store=name, key=wanted[name]) for name in sorted(wanted.keys() - there)]
        )
        registered.touch()

    def _tell_revoked(self, entries: Mapping[str, StoreEntry]) -> None:
        """Write the list of revoked stores for those who watch the run, with Unix times (s)."""
        revoked = {
            name: entry.since.timestamp()
            for name, entry in entries.items()
            if entry.state is EnrolmentState.REVOKED
        }
        if revoked != self._revoked:
            write_json(self._directory / REVOKED, revoked)
            self._revoked = revoked

    def _register(self, nodes: Sequence[Node]) -> None:
        """Register stores one after the other; write their node ids now and then, and at the
        end.
        """
        if not nodes:
            return
        self._known.pending = list(nodes)
        self._save()
        saved = time.monotonic()
        for node in nodes:
            with tempfile.NamedTemporaryFile("w", suffix=".pub", encoding="utf-8") as file:
                file.write(node.key + "\n")
                file.flush()
                answer = self._flwr("register", file.name, self._connection, "--name", node.store)
            self._known.nodes[str(answer["node-id"])] = node
            self._known.pending.remove(node)
            print(f"{node.store} is registered.", flush=True)
            if time.monotonic() - saved > REGISTRATIONS_SAVE_SECONDS or not self._known.pending:
                self._save()
                saved = time.monotonic()

    def _unregister(self, number: str) -> None:
        node = self._known.nodes.pop(number)
        self._write_nodes()  # first: a node of a revoked key must not be taken for the store
        self._flwr("unregister", number, self._connection)
        self._save()
        print(f"{node.store} is not registered any more.", flush=True)

    def _settle_pending(self) -> None:
        """Find the node ids of registrations that were not noted.

        A registrar may have died between a registration and its note: the SuperLink lists nodes by
        their age.
        """
        if not self._known.pending:
            return
        rows = [
            row
            for row in self._flwr("ls", self._connection)["nodes"]
            if row["status"] != "unregistered"
        ]
        numbers = [row["node-id"] for row in rows if row["node-id"] not in self._known.nodes]
        self._known.nodes |= dict(zip(numbers, self._known.pending, strict=False))
        self._known.pending = []
        self._save()

    def _save(self) -> None:
        write_text(self._path, self._known.model_dump_json(indent=2) + "\n")
        self._write_nodes()

    def _write_nodes(self) -> None:
        write_json(
            _nodes(self._directory),
            {number: node.store for number, node in self._known.nodes.items()},
        )

    def _flwr(self, *arguments: str) -> Mapping[str, Any]:
        """Return the answer of `flwr supernode ARGUMENTS`. Raises FlowerError."""
        with _captured_output() as said, contextlib.suppress(SystemExit, ClickException, Abort):
            _command().main(
                args=["supernode", *arguments, "--format", "json"], standalone_mode=False
            )
        text = "".join(said)
        try:
            answer = json.loads(text[text.index("{") :])
        except ValueError:
            raise FlowerError(text.strip()[-300:] or "no answer") from None
        if not answer.get("success"):
            raise FlowerError(" ".join(str(answer.get("error-message", answer)).split())[:300])
        return dict(answer)


@cache
def _command() -> Command:
    """Return Flower's command line, which takes 26 ms to build."""
    return get_command(next(iter(entry_points(group="console_scripts", name="flwr"))).load())


@contextlib.contextmanager
def _captured_output() -> Iterator[list[str]]:
    """Capture this process's output; the list yielded holds it after the context.

    Flower's command bypasses `sys.stdout`.
    """
    said: list[str] = []
    with tempfile.TemporaryFile() as file:
        output = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield said
        finally:
            sys.stdout.flush()
            os.dup2(output, 1)
            os.close(output)
            file.seek(0)
            said.append(file.read().decode("utf-8", "replace"))


class FlowerError(Exception):
    """The SuperLink did not do what its command line was asked."""


def begin_registrations(directory: Path, *, has_chain: bool) -> None:
    """Reset the notes for a SuperLink that starts anew and knows no node; without a chain there is
    no file of nodes.
    """
    (directory / REGISTRATIONS).unlink(missing_ok=True)
    _nodes(directory).unlink(missing_ok=True)
    (directory / REVOKED).unlink(missing_ok=True)
    (directory / REGISTERED).unlink(missing_ok=True)
    if has_chain:
        write_json(_nodes(directory), {})


def _nodes(directory: Path) -> Path:
    return directory / "nodes.json"


def main() -> None:
    """Run until terminated."""
    chain = Chain.load(Path(sys.argv[1]))
    directory = Path(sys.argv[2])
    connection = sys.argv[3]
    clerk = Registrar(chain, directory, connection)
    stores = WatchedFile(chain.stores.path)
    next_look = time.monotonic()
    is_due = True
    while True:
        if is_due or stores.has_changed():
            try:
                clerk.reconcile()
                is_due = False
            except FlowerError as error:
                print(f"The SuperLink did not take it: {error}", flush=True)
                is_due = True
                time.sleep(SUPERLINK_RETRY_SECONDS)
            except ConfigError as error:
                print(
                    f"{error} Until then the SuperLink knows the stores that it knew.", flush=True
                )
                is_due = False
        if time.monotonic() > next_look:
            next_look += HOUR
            if renew_if_due(chain.directory, Chain.load(chain.directory).hosts):
                print("The server's certificate was renewed.", flush=True)
        time.sleep(STORES_POLL_SECONDS)


if __name__ == "__main__":
    main()
