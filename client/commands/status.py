"""`flower-client status`: the store's server, its latest actions, and what remains of its budgets
today.
"""

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from fedshelf.client.audit import AUDIT_FILE, AuditEntry
from fedshelf.client.audit.entry import decode
from fedshelf.client.audit.files import full_files
from fedshelf.client.identity.enrolment import membership
from fedshelf.client.identity.home import MODELS_FOLDER
from fedshelf.client.policy.budgets import USAGE_FILE, Usage
from fedshelf.client.policy.policy import policy_of
from fedshelf.client.policy.schedule import seconds_until, seconds_until_midnight
from fedshelf.common.errors import RunError
from fedshelf.common.names import DESCRIPTION_FILE

MAX_READ_LINES = 100_000  # lines of the audit log that are read, the latest first


def print_status(home: Path, *, as_json: bool) -> None:
    """Print a store's status.

    Raises RunError, after printing, if no process runs as the store; ConfigError.
    """
    status = status_of(home)
    if as_json:
        print(json.dumps(status, indent=2, ensure_ascii=False))
    else:
        for line in _lines(status):
            print(line)
    if not status["running"]:
        raise RunError(
            f"No flower-client is at work as {home.name} on this machine; start it with join."
        )


def status_of(home: Path) -> dict[str, Any]:
    """Return all that the store's own files tell, as plain values; times are local, ISO 8601.

    Raises ConfigError for a policy, a membership or records that cannot be read.
    """
    member = membership(home)
    running = _is_at_work(home)
    return {
        "store": home.name,
        "home": str(home),
        "running": running,
        "chain": member.chain if member else None,
        "member_since": member.since.astimezone().isoformat(timespec="seconds") if member else None,
        **_latest(home, running=running),
        "today": asdict(Usage(home / USAGE_FILE).today()),
        "budgets": _budgets(home),
        "work_may_begin_in_seconds": round(seconds_until(policy_of(home).windows, time.time())),
        "models": _models(home / MODELS_FOLDER),
    }


def _is_at_work(home: Path) -> bool:
    """Return whether a process holds the store's audit log."""
    try:
        with FileLock(home / f".{AUDIT_FILE}.lock", blocking=False):
            return False
    except Timeout:
        return True


def _latest(home: Path, *, running: bool) -> dict[str, Any]:
    """Return the store's server and since when it is joined, the last message, and the last
    training.
    """
    latest: dict[str, Any] = dict.fromkeys(("joined_to", "joined_at", "last_heard", "last_trained"))
    is_this_process = running  # until the line with which the running process began its log
    for entry in _backwards(home / AUDIT_FILE):
        if entry.event == "joined" and is_this_process and latest["joined_to"] is None:
            latest |= {"joined_to": entry.why, "joined_at": entry.time}
        elif entry.event == "policy":
            is_this_process = False
        elif entry.event == "received" and latest["last_heard"] is None:
            latest["last_heard"] = _event(entry)
        elif entry.event == "sent" and entry.kind == "update" and latest["last_trained"] is None:
            latest["last_trained"] = _event(entry)
        if latest["last_trained"] and not is_this_process:
            break
    return latest


def _event(entry: AuditEntry) -> dict[str, Any]:
    return {"time": entry.time, "kind": entry.kind, "run": entry.run, "round": entry.round}


def _backwards(path: Path) -> Iterator[AuditEntry]:
    """Yield the intact lines of an audit log, the latest first."""
    lines_left = MAX_READ_LINES
    for file in (path, *reversed(full_files(path))):
        content = file.read_bytes().splitlines() if file.exists() else []
        for line in reversed(content[-lines_left:] if lines_left else []):
            with suppress(ValueError):
                yield decode(line)
        lines_left = max(lines_left - len(content), 0)


def _budgets(home: Path) -> list[dict[str, Any]]:
    """Return the policy's limited budgets: how much of each is used today, and how much is left."""
    policy = policy_of(home)
    spent = Usage(home / USAGE_FILE).today()
    used = {
        "rounds_per_day": spent.trainings,
        "gpu_minutes_per_day": spent.seconds / 60,
        "megabytes_down_per_day": spent.down / 1e6,
        "megabytes_up_per_day": spent.up / 1e6,
    }
    limits = {key: getattr(policy, key) for key in used}
    return [
        {
            "key": key,
            "limit": limit,
            "used": round(used[key], 6),
            "left": round(max(limit - used[key], 0), 6),
        }
        for key, limit in limits.items()
        if limit
    ]


def _models(folder: Path) -> list[dict[str, Any]]:
    """Return the models that the store received, the latest first."""
    described = [
        path
        for path in folder.glob(f"*/{DESCRIPTION_FILE}")
        if not path.parent.name.startswith(".")
    ]
    return [
        {
            "run": path.parent.name,
            "folder": str(path.parent),
            "received": _format_time(path.stat().st_mtime),
        }
        for path in sorted(described, key=lambda path: path.stat().st_mtime, reverse=True)
    ]


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")


def _lines(status: dict[str, Any]) -> Iterator[str]:
    joined = "waiting for the server" if status["running"] else "not at work"
    if status["joined_to"]:
        joined = f"joined to {status['joined_to']} since {_shorten_time(status['joined_at'])}"
    yield f"Store {status['store']}: {joined}."
    if status["chain"]:
        yield f"Of the chain {status['chain']} since {_shorten_time(status['member_since'])}."
    for key, words in (
        ("last_heard", "Last contact with the server"),
        ("last_trained", "Last trained"),
    ):
        event = status[key]
        run = f" of run {event['run']}" if event and event["run"] else ""  # not all have a name
        round_number = f", round {event['round']}{run}" if event and event["round"] else ""
        yield f"{words}: {_shorten_time(event['time']) + round_number if event else 'never'}."
    today = status["today"]
    yield (
        f"Today: {today['trainings']} trainings, {today['judgements']} evaluations,"
        f" {today['seconds'] / 60:.1f} minutes of computing, {today['down'] / 1e6:.1f} MB"
        f" received, {today['up'] / 1e6:.1f} MB sent."
    )
    for budget in status["budgets"]:
        yield f"Left of {budget['key']}: {budget['left']:g} of {budget['limit']:g}."
    if wait := status["work_may_begin_in_seconds"]:
        yield f"Work may begin again in {wait / 3600:.1f} h (hours)."
    elif any(not budget["left"] for budget in status["budgets"]):
        yield (
            f"Work may begin again in {seconds_until_midnight(time.time()) / 3600:.1f} h (budgets)."
        )
    for model in status["models"]:
        yield (
            f"Model of run {model['run']}, received {_shorten_time(model['received'])}:"
            f" {model['folder']}"
        )
    if not status["models"]:
        yield "No model has been received yet."


def _shorten_time(moment: str) -> str:
    return moment[:16].replace("T", " ")
