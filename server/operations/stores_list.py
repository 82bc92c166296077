"""`flower-server stores list`: the chain's stores, and their part in the current or last run."""

import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from fedshelf.common.text import printable
from fedshelf.server.credentials.authority import AUTHORITY_WARNING_TIME
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.last_run import last_run
from fedshelf.server.credentials.sessions import Session, read_sessions
from fedshelf.server.credentials.stores import EnrolmentState, StoreEntry, now
from fedshelf.server.ipc.run_mailbox import RunMailbox
from fedshelf.server.monitor import wording
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.monitor.run_finder import last_written
from fedshelf.server.monitor.state import ABSENT_STATES, StoreState
from fedshelf.server.operations.listing_output import print_table
from fedshelf.server.results.jsonl_tail import read_json
from fedshelf.server.results.run_status import WORDS, RunStatus


@dataclass(frozen=True)
class ListedStore:
    """One store of the chain. Times are Unix times (s).

    Attributes:
        store:      its name
        state:      state of its enrolment, see `EnrolmentState`
        since:      begin of that state
        kit:        its kit in words
        presence:   its state in the running run, see `server.monitor.state.StoreState`; empty:
            unknown
        last_seen:  when the server could last ask it for work; None: never in that run
        version:    its version of Fedshelf when it joined; empty: unknown
        rounds:     number of that run's rounds that used its update
        last_round: the latest of them, 0 if none
        failures:   rounds of that run in which it gave no usable answer
        copied:     when a second process with the store's key was refused last; None: never with
            this
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

    Attributes:
        chain:  identity of the chain
        run:    directory of the latest run; None if the chain has had none that still exists
        status: status of that run
        stores: the stores, by name
        server_certificate_until: Unix time (s) at which the server's certificate ends
        authority_until:          the same of the authority's
    """

    chain: str
    run: str | None
    status: RunStatus | None
    stores: tuple[ListedStore, ...]
    server_certificate_until: float
    authority_until: float


def listing(credentials: Path) -> Listing:
    """Return the listing of a chain's stores.

    Args:
        credentials: the chain's credentials directory

    Raises:
        ConfigError: they are missing or damaged.
    """
    chain = Chain.load(credentials)
    run = last_run(credentials)
    state = RunReader(run).look() if run else None
    store_states = {store.name: store for store in state.stores} if state else {}
    reports = read_json(RunMailbox(run).store_status) if run else {}
    ended_at = last_written(run) if run and state and not state.is_at_work else None
    sessions = read_sessions(chain.sessions)
    rows = tuple(
        _row(
            name,
            entry,
            store_states.get(name),
            reports.get(name) or {},
            ended_at,
            sessions.get(name),
        )
        for name, entry in sorted(chain.stores.stores().items())
    )
    certificate_ends = {
        name: _certificate_end(credentials / name) for name in ("server.crt", "ca.crt")
    }
    return Listing(
        chain.name,
        str(run) if run else None,
        state.status if state else None,
        rows,
        certificate_ends["server.crt"].timestamp(),
        certificate_ends["ca.crt"].timestamp(),
    )


def show(store_list: Listing) -> None:
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
    rows = [_cells(row, has_run=store_list.run is not None) for row in store_list.stores]
    print_table(columns, rows, numbers=("rounds", "failures"))
    if store_list.run and store_list.status:
        print(
            f"Rounds and failures are those of the run in {store_list.run}"
            f" ({WORDS[store_list.status]})."
        )
    else:
        print("No server has worked with these credentials yet, or its run directory is gone.")
    for row in store_list.stores:
        if row.copied:
            print(
                f"{row.store}: a second machine, or a copy of its home, came with its key until"
                f" {_format_time('%b %d %H:%M', row.copied)} and was rejected. Each machine needs"
                " a kit of its own."
            )
    for sentence in _validity(store_list):
        print(sentence)


def _row(
    name: str,
    entry: StoreEntry,
    store: StoreState | None,
    report: dict[str, Any],
    ended_at: float | None,
    session: Session | None,
) -> ListedStore:
    """Make a store's row.

    Args:
        name:     name of the store
        entry:    the chain's entry
        store:    its state in the run, if it is known there
        report:   the app's last report of the store
        ended_at: Unix time (s) of the run's end, None if it goes on
        session:  the process that speaks for it
    """
    return ListedStore(
        store=name,
        state=entry.state,
        since=entry.since.timestamp(),
        kit=_kit_words(entry),
        presence=store.state if store else "",
        last_seen=_last_seen(report, ended_at),
        version=str(report.get("version") or ""),
        rounds=store.rounds if store else 0,
        last_round=store.last_round if store else 0,
        failures=store.failures if store else 0,
        copied=session.refused if session else None,
    )


def _last_seen(report: dict[str, Any], ended_at: float | None) -> float | None:
    if not report:
        return None
    if report.get("state") in ABSENT_STATES:
        return report.get("since")
    return ended_at or time.time()


def _cells(row: ListedStore, *, has_run: bool) -> list[str]:
    is_present = row.presence and row.presence not in ABSENT_STATES
    last_seen = (
        "now"
        if is_present
        else _format_time("%b %d %H:%M", row.last_seen)
        if row.last_seen
        else "never"
        if has_run
        else ""
    )
    presence = wording.STORE_STATE_WORDS.get(row.presence, printable(row.presence))
    counts = [f"{row.rounds:,}", f"{row.failures:,}"] if has_run else ["", ""]
    return [
        row.store,
        row.state,
        _format_time("%Y-%m-%d", row.since),
        row.kit,
        presence,
        last_seen,
        row.version,
        *counts,
    ]


def _format_time(time_format: str, seconds: float) -> str:
    return time.strftime(time_format, time.localtime(seconds))


def _kit_words(entry: StoreEntry) -> str:
    if entry.state is EnrolmentState.REVOKED:
        return ""
    if entry.next_key:
        return "not used yet"
    if entry.until is None:
        return "used"
    return f"{entry.until:%Y-%m-%d}" if entry.until > now() else "expired: make a new one"


def _validity(store_list: Listing) -> list[str]:
    """Say until when the chain's certificates are valid, and how to renew those that end soon."""
    server, authority = (
        datetime.fromtimestamp(end, now().tzinfo)
        for end in (store_list.server_certificate_until, store_list.authority_until)
    )
    sentences = [f"Server's certificate: until {server:%Y-%m-%d}, renewed by the server itself."]
    sentences.append(f"Authority {store_list.chain}: until {authority:%Y-%m-%d}.")
    if authority - now() < AUTHORITY_WARNING_TIME:
        sentences[-1] += (
            " Make a new chain before that, in another folder, and give every store its new kit."
        )
    return sentences


def _certificate_end(certificate: Path) -> datetime:
    return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
