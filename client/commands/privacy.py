"""`flower-client privacy`: what the store's answers have told of one photo, and what is left."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import exp, inf
from pathlib import Path
from typing import Any

import typer

from fedshelf.client.audit import AUDIT_FILE, AuditLog, AuditNote
from fedshelf.client.audit.verify import entries
from fedshelf.client.identity.enrolment import load_key
from fedshelf.client.identity.home import KEY_FILE
from fedshelf.client.policy.policy import Policy, policy_of
from fedshelf.client.privacy.audited_state import PRIVATE_TRAINING
from fedshelf.client.privacy.charges import EMPTY_HASH, LEDGER_FILE, Budget, Charge, read_charges
from fedshelf.client.privacy.ledger import Ledger
from fedshelf.common.errors import ConfigError
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.wording import format_count, format_list

MAX_ROUNDS_LEFT = 10**6  # more are not counted
BUDGETS: tuple[Budget, ...] = ("epsilon", "epsilon_judging")
_ANSWERS = {"update": "update", "evaluation": "evaluation", "info": "description"}  # in words
# kind of a message that is sent -> the answer that it is; in a secure sum an update is masked
_KINDS = {"update": "update", "masked": "update", "evaluation": "evaluation", "info": "info"}


@dataclass
class _AnswersSent:
    """Numbers of answers that have left, by the audit log; `bare` of updates without noise."""

    by_kind: dict[str, int]
    bare: int


def print_privacy(home: Path, *, as_json: bool) -> None:
    """Print what was told and what is left.

    Raises StoreError if the ledger cannot be trusted, ConfigError for a policy that cannot be
    read, OSError.
    """
    policy = policy_of(home)
    charges = Ledger(home, policy.privacy_limits).charges()
    sent = _answers_sent(home)
    budgets = {budget: _budget(budget, charges, policy) for budget in BUDGETS}
    if as_json:
        answers = {"answers": sent.by_kind, "updates_without_noise": sent.bare}
        content = {"store": home.name, "delta": policy.delta, **budgets, **answers}
        print(json.dumps(_without_infinity(content), indent=2))
        return
    for budget in BUDGETS:
        for line in _budget_lines(budget, budgets[budget], policy):
            print(line)
    for line in _sent_lines(sent):
        print(line)


def forget_ledger(home: Path, *, is_confirmed: bool) -> str:
    """Begin a new ledger, once a person has confirmed it; return a sentence about it.

    Raises ConfigError if nobody can be asked or the answer is no, RunError while the store is at
    work, OSError.
    """
    told = _told_so_far(home)
    if not is_confirmed:
        _ask(home, told)
    key = home / KEY_FILE
    with AuditLog(home / AUDIT_FILE, key=load_key(key) if key.exists() else None) as log:
        log.record(
            AuditNote("forgotten", sha256=EMPTY_HASH, why=f"by a person at this machine; {told}")
        )
        (home / LEDGER_FILE).unlink(missing_ok=True)
    return f"A new ledger has begun for {home.name}, and the audit log tells of it; {told}."


def _without_infinity(value: Any) -> Any:
    """Return a value for JSON, which has no infinity: null stands for it."""
    if isinstance(value, dict):
        return {key: _without_infinity(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_infinity(part) for part in value]
    return None if value == inf else value


def _ask(home: Path, told: str) -> None:
    if not sys.stdin.isatty():
        raise ConfigError(
            f"Nothing was forgotten, as {told}: photos that were there have told it, whatever the"
            " ledger says. Add --yes if a person wants it all the same."
        )
    question = (
        f"The ledger of {home.name} will not count any more that {told}. Photos that are still"
        " there have told it all the same. Begin a new ledger?"
    )
    if not typer.confirm(question):
        raise ConfigError("Nothing was forgotten.")


def _told_so_far(home: Path) -> str:
    """Return half a sentence about the charges of the ledger."""
    try:
        charges = read_charges(home / LEDGER_FILE)
    except ValueError:
        return "the old one could not be read"
    delta = policy_of(home).delta
    amounts = [f"{budget} {_epsilon(budget, charges, delta):.3g}" for budget in BUDGETS]
    return f"the old one had counted {format_list(amounts)}"


def _budget(budget: Budget, charges: Sequence[Charge], policy: Policy) -> dict[str, Any]:
    limit = policy.privacy_limits.epsilons[budget]
    own = [charge for charge in charges if charge.budget == budget]
    spent = _epsilon(budget, own, policy.delta)
    runs = {
        run: [charge for charge in own if charge.run == run]
        for run in dict.fromkeys(charge.run for charge in own)
    }
    return {
        "limit": limit or None,
        "spent": spent,
        "left": max(0.0, limit - spent) if limit else None,
        "charges": len(own),
        "more_like_the_last": _more_like_the_last(own, limit, policy.delta),
        "runs": [
            {"run": run, "charges": len(part), "spent": _epsilon(budget, part, policy.delta)}
            for run, part in runs.items()
        ],
    }


def _epsilon(budget: Budget, charges: Sequence[Charge], delta: float) -> float:
    return epsilon([charge.mechanism for charge in charges if charge.budget == budget], delta)


def _more_like_the_last(charges: Sequence[Charge], limit: float, delta: float) -> int | None:
    """Return how many charges like the last one fit below the limit; None if that is not known."""
    if not charges or not limit:
        return None
    spent = [charge.mechanism for charge in charges]
    last = spent[-1]

    def fits(rounds: int) -> bool:
        more = SampledGaussian(last.noise, last.rate, rounds * last.steps)
        return epsilon([*spent, more], delta) <= limit

    low, high = 0, MAX_ROUNDS_LEFT
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _answers_sent(home: Path) -> _AnswersSent:
    """Return the numbers of answers by the audit log; an answer sent twice counts once.

    An update has no run of its own in the log: it answers the training that was asked for last.
    """
    noised: set[object] = set()
    sent: dict[str, set[object]] = {kind: set() for kind in _ANSWERS}
    asked = ("", 0)
    for entry in entries(home / AUDIT_FILE):
        if entry.event == "received" and entry.kind == "train":
            asked = (entry.run, entry.round)
            if entry.why == PRIVATE_TRAINING:
                noised.add(asked)
        elif entry.event == "sent" and (kind := _KINDS.get(entry.kind)):
            sent[kind].add(asked if kind == "update" else entry.sha256)
    return _AnswersSent(
        {kind: len(answers) for kind, answers in sent.items()}, len(sent["update"] - noised)
    )


def _budget_lines(budget: Budget, amounts: dict[str, Any], policy: Policy) -> Iterator[str]:
    photos = "held out" if budget == "epsilon_judging" else "trained on"
    limit, spent = amounts["limit"], amounts["spent"]
    if not amounts["charges"]:
        yield f"Photos {photos}: nothing was spent; {_describe_limit(budget, limit, policy)}."
        return
    total = f"{spent:.3g} of {limit:g} spent" if limit else f"{spent:.3g} spent"
    yield f"Photos {photos}: {total} ({budget}, at delta {policy.delta:g})."
    if limit:
        more = amounts["more_like_the_last"]
        left = f"{more} or more" if more == MAX_ROUNDS_LEFT else str(more)
        yield f"  {amounts['left']:.3g} is left: {left} more answers like the last one."
    else:
        yield f"  {_describe_limit(budget, limit, policy).capitalize()}."
    for run in amounts["runs"]:
        name = f"Run {run['run']}" if run["run"] else "Outside of runs"
        answers = format_count(run["charges"], "answer")
        yield f"  {name}: {answers}, {run['spent']:.3g} by themselves."
    if spent < 10:
        yield (
            "  Somebody who has all of it, and takes it for as likely as not that a photo of this"
            f" store was used, can become sure of it by {exp(spent) / (1 + exp(spent)):.1%}, no"
            " more."
        )


def _describe_limit(budget: Budget, limit: float | None, policy: Policy) -> str:
    if limit:
        return f"the policy allows {limit:g} ({budget}, at delta {policy.delta:g})"
    if budget == "epsilon_judging" and policy.epsilon:
        return "the policy lets no evaluation leave (epsilon_judging is 0)"
    return f"the policy sets no {budget}, so answers without noise may leave"


def _sent_lines(sent: _AnswersSent) -> Iterator[str]:
    if not any(sent.by_kind.values()):
        yield "No answer has left yet."
        return
    numbers = [format_count(sent.by_kind[kind], word) for kind, word in _ANSWERS.items()]
    yield f"Left so far: {format_list(numbers)}."
    if sent.bare:
        yield (
            f"  {format_count(sent.bare, 'update')} had no noise: of the photos in"
            f" {'it' if sent.bare == 1 else 'them'} nothing is proved."
        )
