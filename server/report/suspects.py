"""The page's sections on stores under suspicion, and on rounds that went another way."""

from collections import Counter
from dataclasses import dataclass

from fedshelf.common.text import printable
from fedshelf.common.wording import format_count
from fedshelf.server.report.run_data import RunData
from fedshelf.server.updates.image_cap import describe_cap


@dataclass(frozen=True)
class Suspect:
    """A store that a person should look into.

    Attributes:
        store:       its name
        why:         the reason in words
        is_excluded: True if it got no further orders
    """

    store: str
    why: str
    is_excluded: bool


def irregular_rounds(run: RunData) -> list[str]:
    """Say which rounds were played again or skipped, and why."""
    sentences = []
    for record in run.history:
        if event := record.get("taken_back"):
            without = f", without {printable(event['store'])}" if event["store"] else ""
            reason = printable(event["reason"])
            sentences.append(f"Round {event['round']} was played again{without}: {reason}.")
        if why := record.get("skipped"):
            sentences.append(f"Round {record['round']} was skipped: {printable(why)}.")
    return sentences


def suspects(run: RunData) -> list[Suspect]:
    """Return the stores that were excluded, are under suspicion, or claim too many images."""
    clipped = Counter(name for record in run.history for name in record.get("clipped", {}))
    standing = run.history[-1].get("standing", {}) if run.history else {}
    capped = {
        name: claim for record in run.history for name, claim in record.get("capped", {}).items()
    }
    aside = standing.get("set_aside", {})
    suspects = standing.get("suspects", {})
    excluded = [
        Suspect(printable(name), printable(why), True) for name, why in sorted(aside.items())
    ]
    return (
        excluded
        + [
            Suspect(printable(name), printable(why) + _format_clipped_rounds(clipped[name]), False)
            for name, why in sorted(suspects.items())
            if name not in aside
        ]
        + [
            Suspect(printable(name), describe_cap(claim["claimed"], claim["counted"]), False)
            for name, claim in sorted(capped.items())
        ]
    )


def _format_clipped_rounds(rounds: int) -> str:
    return f"; its update was made smaller in {format_count(rounds, 'round')}" if rounds else ""
