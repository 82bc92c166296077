"""`flower-server stores list`: the chain's stores, and their states in the running or the last
run.
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from fedshelf.common.wording import printable
from fedshelf.server.credentials.authority import AUTHORITY_WARNING_TIME
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.last_run import last_run
from fedshelf.server.credentials.sessions import Session, read_sessions
from fedshelf.server.credentials.stores import EnrolmentState, StoreEntry, now
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.monitor import wording
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.run_finder import touched
from fedshelf.server.monitor.state import ABSENT_STATES, StoreState
from fedshelf.server.operations.text_table import print_table
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_status import WORDS, RunStatus


@dataclass(frozen=True)
class ListedStore:
    """One store of the chain. Times are Unix times (s).

    state, since: its enrolment, see `EnrolmentState`
    kit:       its kit in words
    presence:  its state in the running run, see `server.monitor.state.StoreState`; empty: unknown
    last_seen: when the server could last ask it for work; None: never in that run
    version:   its version of Fedshelf when it joined; empty: unknown
    rounds:    number of that run's rounds that used its update
    last_round: the latest of them, 0 if none
    failures:  rounds of that run in which it gave no usable answer
    copied:    when a second process with the store's key was refused last; None: never with this
               key
    """

    store: str
    state: str
    since: float
    kit: str
    presence: str
    last_seen: float | None
    version: str
    rounds: int
    last_round: int
    failures: int
    copied: float | None


@dataclass(frozen=True)
class Listing:
    """The chain's stores in their latest run.

    run: None if the chain has had none that still exists
    """

    chain: str
    run: str | None
    status: RunStatus | None
    stores: tuple[ListedStore, ...]
    server_certificate_until: float
    authority_until: float


def listing(credentials: Path) -> Listing:
    """Return the listing of a chain's stores. Raises ConfigError."""
    chain = Chain.load(credentials)
    run = last_run(credentials)
    state = RunReader(run).look() if run else None
    known = {store.name: store for store in state.stores} if state else {}
    told = read_json(RunMailbox(run).store_status) if run else {}
    over = touched(run) if run and state and not state.is_at_work else None
    sessions = read_sessions(chain.sessions)
    rows = tuple(
        _row(name, entry, known.get(name), told.get(name) or {}, over, sessions.get(name))
        for name, entry in sorted(chain.stores.stores().items())
    )
    ends = {name: _end(credentials / name) for name in ("server.crt", "ca.crt")}
    return Listing(
        chain.name,
        str(run) if run else None,
        state.status if state else None,
        rows,
        ends["server.crt"].timestamp(),
        ends["ca.crt"].timestamp(),
    )


def show(found: Listing) -> None:
    """Print the listing for a person."""
    columns = (
        "store",
        "state",
        "since",
        "kit good until",
        "now",
        "last seen",
        "version",
        "rounds",
        "failures",
    )
    rows = [_cells(row, has_run=found.run is not None) for row in found.stores]
    print_table(columns, rows, numbers=("rounds", "failures"))
    if found.run and found.status:
        print(f"Rounds and failures are those of the run in {found.run} ({WORDS[found.status]}).")
    else:
        print("No server has worked with these credentials yet, or its run directory is gone.")
    for row in found.stores:
        if row.copied:
            print(
                f"{row.store}: a second machine, or a copy of its home, came with its key until"
                f" {_clock('%b %d %H:%M', row.copied)} and was refused. Each machine needs a kit of"
                " its own."
            )
    for sentence in _validity(found):
        print(sentence)


def as_json(found: Listing) -> str:
    """Return the listing as one JSON object."""
    return json.dumps(dataclasses.asdict(found), ensure_ascii=False, indent=2)


def _row(
    name: str,
    entry: StoreEntry,
    store: StoreState | None,
    told: dict[str, Any],
    over: float | None,
    session: Session | None,
) -> ListedStore:
    """Make a store's row.

    told: the app's last report of the store
    over: Unix time (s) of the run's end, None if it goes on
    """
    return ListedStore(
        store=name,
        state=entry.state,
        since=entry.since.timestamp(),
        kit=_kit_words(entry),
        presence=store.state if store else "",
        last_seen=_last_seen(told, over),
        version=str(told.get("version") or ""),
        rounds=store.rounds if store else 0,
        last_round=store.last_round if store else 0,
        failures=store.failures if store else 0,
        copied=session.refused if session else None,
    )


def _last_seen(told: dict[str, Any], over: float | None) -> float | None:
    if not told:
        return None
    if told.get("state") in ABSENT_STATES:
        return told.get("since")
    return over or time.time()


def _cells(row: ListedStore, *, has_run: bool) -> list[str]:
    is_there = row.presence and row.presence not in ABSENT_STATES
    seen = (
        "now"
        if is_there
        else _clock("%b %d %H:%M", row.last_seen)
        if row.last_seen
        else "never"
        if has_run
        else ""
    )
    presence = wording.STORE.get(row.presence, printable(row.presence))
    numbers = [f"{row.rounds:,}", f"{row.failures:,}"] if has_run else ["", ""]
    return [
        row.store,
        row.state,
        _clock("%Y-%m-%d", row.since),
        row.kit,
        presence,
        seen,
        row.version,
        *numbers,
    ]


def _clock(form: str, seconds: float) -> str:
    return time.strftime(form, time.localtime(seconds))


def _kit_words(entry: StoreEntry) -> str:
    if entry.state is EnrolmentState.REVOKED:
        return ""
    if entry.next_key:
        return "not used yet"
    if entry.until is None:
        return "used"
    return f"{entry.until:%Y-%m-%d}" if entry.until > now() else "expired: make a new one"


def _validity(found: Listing) -> list[str]:
    """Say until when the chain's certificates are valid, and how to renew those that end soon."""
    server, authority = (
        datetime.fromtimestamp(each, now().tzinfo)
        for each in (found.server_certificate_until, found.authority_until)
    )
    words = [f"Server's certificate: until {server:%Y-%m-%d}, renewed by the server itself."]
    words.append(f"Authority {found.chain}: until {authority:%Y-%m-%d}.")
    if authority - now() < AUTHORITY_WARNING_TIME:
        words[-1] += (
            " Make a new chain before that, in another folder, and give every store its new kit."
        )
    return words


def _end(certificate: Path) -> datetime:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
