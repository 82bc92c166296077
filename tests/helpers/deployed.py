"""Helpers of the deployment's tests: photos, a Flower grid in this process, our commands as
processes.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid
from flwr.supercore.inflatable.inflatable_utils import ObjectPushError
from flwr.supercore.task_identity import TaskIdentity
from PIL import Image

SCRIPTS = Path(sys.executable).parent
# seconds that anything may take: beside other work a server needs more than one to start
PATIENCE = 240.0


def free_port() -> int:
    """Return a port on which nobody listens, and that no outgoing connection is given meanwhile:
    Linux takes theirs from 32768 on.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def wait_for(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Return the value of `condition` once it is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.05)
    return found


def draw_photos(folder: Path, classes: Iterable[str], per_class: int = 30, seed: int = 0) -> Path:
    """A store's folder: noise around one colour per class, which any model learns at once."""
    rng = np.random.default_rng(seed)
    for name in classes:
        colour = [ord(letter) * 7 % 256 for letter in name.ljust(3)[:3]]
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.clip(rng.normal(colour, 30, (36, 36, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


class LocalGrid(Grid):
    """A Flower grid whose nodes are ClientApps in threads of this process: real messages, no
    network.

    early: nodes that confirm messages before their parts are there
    """

    def __init__(self) -> None:
        TaskIdentity.task_id = 1
        TaskIdentity.run_id = 1
        TaskIdentity.node_id = 1
        self.apps: dict[int, ClientApp] = {}
        self.early = set[int]()
        self.sent: list[Message] = []
        self.asked: list[str] = []
        self.replies: dict[str, Message] = {}

    def set_run(self, run: Any) -> None: ...

    @property
    def run(self) -> Any: ...

    def create_message(self, *_: Any, **__: Any) -> Message:
        raise NotImplementedError

    def send_and_receive(self, *_: Any, **__: Any) -> Iterable[Message]:
        raise NotImplementedError

    def get_node_ids(self) -> Iterable[int]:
        return list(self.apps)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """As Flower 1.41 does, "" for a message to a node that is gone, and an error for all if one
        confirms early.
        """
        if self.early.intersection(each.metadata.dst_node_id for each in messages):
            raise ObjectPushError("a part", 1, "a session")
        return [
            self._push(each) if each.metadata.dst_node_id in self.apps else "" for each in messages
        ]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.asked += (identities := list(message_ids))
        return [self.replies.pop(each) for each in identities if each in self.replies]

    def _push(self, message: Message) -> str:
        identity = message.metadata.__dict__["_message_id"] = uuid.uuid4().hex
        self.sent.append(message)
        threading.Thread(target=self._work, args=(identity, message), daemon=True).start()
        return identity

    def _work(self, identity: str, message: Message) -> None:
        node = message.metadata.dst_node_id
        if (app := self.apps.get(node)) is not None:  # else the node has gone in the meantime
            self.replies[identity] = app(message, Context(1, node, {}, RecordDict(), {}))


class Command:
    """One of our commands as a process of its own, with what it has printed so far."""

    def __init__(self, environment: dict[str, str], *arguments: str | Path) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [str(SCRIPTS / arguments[0]), *map(str, arguments[1:])],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def says(self, words: str, seconds: float = PATIENCE) -> None:
        """Wait until it has said `words`."""
        deadline = time.monotonic() + seconds
        while words not in self.text:
            assert self.process.poll() is None or words in self.text, (
                f"ended without saying {words!r}:\n{self.text}"
            )
            assert time.monotonic() < deadline, f"has not said {words!r}:\n{self.text}"
            time.sleep(0.05)

    def ends(self, seconds: float = PATIENCE) -> int:
        """Its exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {seconds} s:\n{self.text}") from None
        self._reader.join()
        return code

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def processes_of(path: Path) -> list[str]:
    """Command lines and environments that name `path`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            zombie = b") Z " in (folder / "stat").read_bytes()
        except OSError:
            continue
        if str(path).encode() in told and int(folder.name) != os.getpid() and not zombie:
            found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def process_ids(words: str, place: Path) -> list[int]:
    """Processes whose command line has `words`, where it, or the environment, or the parent's
    command line, names `place`.
    """
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            told = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state, parent = (folder / "stat").read_text().rpartition(") ")[2].split()[:2]
            places = told + (folder / "environ").read_bytes().decode(errors="replace")
            places += Path(f"/proc/{parent}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if (
            words in told
            and str(place) in places
            and int(folder.name) != os.getpid()
            and state != "Z"
        ):
            found.append(int(folder.name))
    return found


def history(out: Path) -> list[dict[str, Any]]:
    """The rounds that a run has done; none before it begins.

    A line that is being written does not count yet.
    """
    path = out / "history.jsonl"
    return (
        [
            json.loads(line)
            for line in path.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        if path.exists()
        else []
    )


def summary(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return loaded
