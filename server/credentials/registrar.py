"""The registrar: keeps Flower's SuperLink in step with the chain.

    stores.json --> Registrar -- flwr supernode register / unregister --> SuperLink
                       `-------- nodes.json, revoked.json --------------> app, live page

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
from fedshelf.server.ipc.office_file import OFFICE_FILE, OfficeFacts
from fedshelf.server.ipc.run_mailbox import REGISTERED, REGISTRATIONS

STORES_POLL_SECONDS = 0.2
# between two writings of the list of nodes, while many are registered
REGISTRATIONS_SAVE_SECONDS = 0.5
# until the SuperLink is asked again after it has not answered
SUPERLINK_RETRY_SECONDS = 1.0
REVOKED_FILE = "revoked.json"  # in Flower's directory: stores that were revoked, and when
CERTIFICATE_CHECK_SECONDS = 3600.0


class RegisteredNode(BaseModel):
    """A registered store, by its public key."""

    store: str
    key: str


class Registrations(BaseModel):
    """The state of the SuperLink's registrations, as it is kept in a file.

    Attributes:
        nodes:   registered stores by node id
        pending: stores that are being registered, in this order
    """

    nodes: dict[str, RegisteredNode] = {}
    pending: list[RegisteredNode] = []


class Registrar:
    """Registers stores with the SuperLink; `nodes.json` lists the nodes.

    Args:
        chain:      the chain of the stores
        directory:  folder of Flower's files in the run directory
        connection: name of the SuperLink in Flower's configuration file
    """

    def __init__(self, chain: Chain, directory: Path, connection: str) -> None:
        self._chain = chain
        self._directory = directory
        self._connection = connection
        self._registrations_file = directory / REGISTRATIONS
        self._revoked = dict[str, float]()
        self._registrations = (
            Registrations.model_validate_json(self._registrations_file.read_bytes())
            if self._registrations_file.exists()
            else Registrations()
        )

    def reconcile(self) -> None:
        """Bring the SuperLink in step with the chain.

        Raises:
            FlowerError: it does not answer as it should.
        """
        entries = self._chain.stores.stores()
        self._write_revoked(entries)
        self._write_office()
        marker = self._directory / REGISTERED
        marker.unlink(missing_ok=True)
        wanted = {
            name: entry.key
            for name, entry in entries.items()
            if entry.state is EnrolmentState.ENROLLED and entry.key
        }
        self._settle_pending()
        for node_id, node in list(self._registrations.nodes.items()):
            if wanted.get(node.store) != node.key:
                self._unregister(node_id)
        known_stores = {node.store for node in self._registrations.nodes.values()}
        self._register(
            [
                RegisteredNode(store=name, key=wanted[name])
                for name in sorted(wanted.keys() - known_stores)
            ]
        )
        marker.touch()

    def _write_revoked(self, entries: Mapping[str, StoreEntry]) -> None:
        """Write the list of revoked stores for those who watch the run, with Unix times (s)."""
        revoked = {
            name: entry.since.timestamp()
            for name, entry in entries.items()
            if entry.state is EnrolmentState.REVOKED
        }
        if revoked != self._revoked:
            write_json(self._directory / REVOKED_FILE, revoked)
            self._revoked = revoked

    def _write_office(self) -> None:
        """Write the facts on the chain's office for the app."""
        if (key := self._chain.office_key) is not None:
            OfficeFacts(self._chain.name, key, self._chain.revoked_list()).write(self._directory)

    def _register(self, nodes: Sequence[RegisteredNode]) -> None:
        """Register stores one after the other; write their node ids now and then and at the end."""
        if not nodes:
            return
        self._registrations.pending = list(nodes)
        self._save()
        saved_at = time.monotonic()
        for node in nodes:
            with tempfile.NamedTemporaryFile("w", suffix=".pub", encoding="utf-8") as file:
                file.write(node.key + "\n")
                file.flush()
                response = self._run_flwr(
                    "register", file.name, self._connection, "--name", node.store
                )
            self._registrations.nodes[str(response["node-id"])] = node
            self._registrations.pending.remove(node)
            print(f"{node.store} is registered.", flush=True)
            if (
                time.monotonic() - saved_at > REGISTRATIONS_SAVE_SECONDS
                or not self._registrations.pending
            ):
                self._save()
                saved_at = time.monotonic()

    def _unregister(self, node_id: str) -> None:
        node = self._registrations.nodes.pop(node_id)
        self._write_nodes()  # first: a node of a revoked key must not be taken for the store
        self._run_flwr("unregister", node_id, self._connection)
        self._save()
        print(f"{node.store} is not registered any more.", flush=True)

    def _settle_pending(self) -> None:
        """Find the node ids of registrations that were not noted.

        A registrar may have died between a registration and its note: the SuperLink lists nodes by
        their age.
        """
        if not self._registrations.pending:
            return
        rows = [
            row
            for row in self._run_flwr("ls", self._connection)["nodes"]
            if row["status"] != "unregistered"
        ]
        node_ids = [
            row["node-id"] for row in rows if row["node-id"] not in self._registrations.nodes
        ]
        self._registrations.nodes |= dict(zip(node_ids, self._registrations.pending, strict=False))
        self._registrations.pending = []
        self._save()

    def _save(self) -> None:
        write_text(self._registrations_file, self._registrations.model_dump_json(indent=2) + "\n")
        self._write_nodes()

    def _write_nodes(self) -> None:
        write_json(
            _nodes_file(self._directory),
            {node_id: node.store for node_id, node in self._registrations.nodes.items()},
        )

    def _run_flwr(self, *arguments: str) -> Mapping[str, Any]:
        """Return the answer of `flwr supernode ARGUMENTS`. Raises FlowerError."""
        with _captured_output() as captured, contextlib.suppress(SystemExit, ClickException, Abort):
            _command().main(
                args=["supernode", *arguments, "--format", "json"], standalone_mode=False
            )
        text = "".join(captured)
        try:
            response = json.loads(text[text.index("{") :])
        except ValueError:
            raise FlowerError(text.strip()[-300:] or "no answer") from None
        if not response.get("success"):
            raise FlowerError(" ".join(str(response.get("error-message", response)).split())[:300])
        return dict(response)


@cache
def _command() -> Command:
    """Return Flower's command line, which takes 26 ms to build."""
    return get_command(next(iter(entry_points(group="console_scripts", name="flwr"))).load())


@contextlib.contextmanager
def _captured_output() -> Iterator[list[str]]:
    """Capture this process's output; the list yielded holds it after the context.

    Flower's command bypasses `sys.stdout`.
    """
    captured: list[str] = []
    with tempfile.TemporaryFile() as file:
        stdout_copy = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            yield captured
        finally:
            sys.stdout.flush()
            os.dup2(stdout_copy, 1)
            os.close(stdout_copy)
            file.seek(0)
            captured.append(file.read().decode("utf-8", "replace"))


class FlowerError(Exception):
    """The SuperLink did not do what its command line was asked."""


def reset_registrations(directory: Path, *, has_chain: bool) -> None:
    """Reset the notes for a SuperLink that starts anew and knows no node.

    Args:
        directory: folder of Flower's files in the run directory
        has_chain: True if stores are to be registered; without a chain there is no file of nodes
    """
    (directory / REGISTRATIONS).unlink(missing_ok=True)
    _nodes_file(directory).unlink(missing_ok=True)
    (directory / REVOKED_FILE).unlink(missing_ok=True)
    (directory / OFFICE_FILE).unlink(missing_ok=True)
    (directory / REGISTERED).unlink(missing_ok=True)
    if has_chain:
        write_json(_nodes_file(directory), {})


def _nodes_file(directory: Path) -> Path:
    return directory / "nodes.json"


def main() -> None:
    """Run until terminated."""
    chain = Chain.load(Path(sys.argv[1]))
    directory = Path(sys.argv[2])
    connection = sys.argv[3]
    registrar = Registrar(chain, directory, connection)
    stores_file = WatchedFile(chain.stores.path)
    next_certificate_check = time.monotonic()
    is_due = True
    while True:
        if is_due or stores_file.has_changed():
            try:
                registrar.reconcile()
                is_due = False
            except FlowerError as error:
                print(
                    f"The SuperLink did not register or unregister a store; trying again: {error}",
                    flush=True,
                )
                is_due = True
                time.sleep(SUPERLINK_RETRY_SECONDS)
            except ConfigError as error:
                print(f"{error} Until then the registered stores stay the same.", flush=True)
                is_due = False
        if time.monotonic() > next_certificate_check:
            next_certificate_check += CERTIFICATE_CHECK_SECONDS
            if renew_if_due(chain.directory, Chain.load(chain.directory).hosts):
                print("The server's certificate was renewed.", flush=True)
        time.sleep(STORES_POLL_SECONDS)


if __name__ == "__main__":
    main()
