"""The page's section on stores under suspicion."""

from collections import Counter
from dataclasses import dataclass

from fedshelf.common.wording import format_count, printable
from fedshelf.server.report.run_data import RunData
from fedshelf.server.updates.image_cap import describe_cap


@dataclass(frozen=True)
class Suspect:
    """A store under suspicion, or set aside.

    is_aside: it got no further orders
    """

    store: str
    why: str
    is_aside: bool


def taken_back(run: RunData) -> list[str]:
    """Say which rounds were played again because their models could not be used, and why."""
    told = [record["taken_back"] for record in run.history if record.get("taken_back")]
    without = [f", without {printable(each['store'])}" if each["store"] else "" for each in told]
    return [
        f"Round {each['round']} was played again{who}: {printable(each['reason'])}."
        for each, who in zip(told, without, strict=True)
    ]


def doubts(run: RunData) -> list[Suspect]:
    """Return the stores that were set aside, that are under suspicion, or that claim too many
    images.
    """
    clipped = Counter(name for record in run.history for name in record.get("clipped", {}))
    standing = run.history[-1].get("standing", {}) if run.history else {}
    capped = {
        name: each for record in run.history for name, each in record.get("capped", {}).items()
    }
    aside = standing.get("set_aside", {})
    suspects = standing.get("suspects", {})
    found = [Suspect(printable(name), printable(why), True) for name, why in sorted(aside.items())]
    return (
        found
        + [
            Suspect(printable(name), printable(why) + _clipped(clipped[name]), False)
            for name, why in sorted(suspects.items())
            if name not in aside
        ]
        + [
            Suspect(printable(name), describe_cap(each["claimed"], each["counted"]), False)
            for name, each in sorted(capped.items())
        ]
    )


def _clipped(rounds: int) -> str:
    return f"; its update was made smaller in {format_count(rounds, 'round')}" if rounds else ""
