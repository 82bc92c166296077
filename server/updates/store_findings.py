"""The standing of stores: findings against them.

The history's lines carry it, and so does every checkpoint.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fedshelf.common.config import ScreeningConfig
from fedshelf.common.protocol.messages import Failure

STANDING_ROUNDS = 10  # last rounds of a store in which suspicion counts


@dataclass(frozen=True)
class Standing:
    """The standing of the stores after a round; nothing is held against a store that is not named.

    Attributes:
        invalid: number of consecutive rounds with an answer that failed screening
        recent: e.g. "1011": for each of the last <= STANDING_ROUNDS rounds of this store, "1" if
            suspicious; rounds before the first "1" are left out
        suspects: store -> reason, of stores that were suspicious in enough rounds to tell a person,
            at any time of the run
        set_aside: store -> reason, of stores that are not asked any more
        evidence: of the labels of stores, see `server.updates.mislabelling` and
            `server.updates.label_guesses`
    """

    invalid: Mapping[str, int] = field(default_factory=dict)
    recent: Mapping[str, str] = field(default_factory=dict)
    suspects: Mapping[str, str] = field(default_factory=dict)
    set_aside: Mapping[str, str] = field(default_factory=dict)
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Mapping[str, Any] | None) -> "Standing":
        """Read the standing from a line of the history."""
        return cls(**record.get("standing", {})) if record else cls()

    def to_record(self) -> dict[str, Any]:
        """Return the standing for a line of the history."""
        return asdict(self)

    def with_aside(self, store: str, why: str) -> "Standing":
        """Return the standing with one more store set aside."""
        return replace(self, set_aside={**self.set_aside, store: why})

    def after(
        self,
        good: Iterable[str],
        failed: Mapping[str, Failure],
        suspicion: Mapping[str, str],
        config: ScreeningConfig,
    ) -> "Standing":
        """Return the standing after a round with good updates, failures and suspicions."""
        good = set(good)
        invalid = {store: count for store, count in self.invalid.items() if store not in good}
        for store, failure in failed.items():
            if failure.code == "invalid":
                invalid[store] = invalid.get(store, 0) + 1
        recent = {
            store: (
                (self.recent.get(store, "") + "01"[store in suspicion])[-STANDING_ROUNDS:]
                if store in good
                else rounds
            )
            for store, rounds in {**dict.fromkeys(suspicion, ""), **self.recent}.items()
        }
        recent = {store: rounds for store, rounds in recent.items() if "1" in rounds}
        new_suspects = {
            store: why
            for store, why in suspicion.items()
            if recent[store].count("1") >= config.patience
        }
        set_aside = dict(self.set_aside)
        for store, count in invalid.items():
            if config.strikes and count >= config.strikes and store in failed:
                why = (
                    f"its answer could not be used in {count} rounds in a row; the last one"
                    f" {failed[store].reason}"
                )
                set_aside.setdefault(store, why)
        if config.suspects == "exclude":
            for store, why in new_suspects.items():
                set_aside.setdefault(store, f"it is under suspicion: {why}")
        return Standing(
            invalid, recent, {**self.suspects, **new_suspects}, set_aside, self.evidence
        )
