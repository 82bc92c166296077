"""Settings that may change when a run goes on, and those that may not."""

from fedshelf.common.config import RunConfig, known_keys
from fedshelf.common.config.changeable_settings import (
    MACHINE_KEYS,
    MATHEMATICS_KEYS,
    MATHEMATICS_SECTIONS,
    OPERATOR_KEYS,
    SETTING_KINDS,
    Kind,
    is_fixed,
    of_operator,
)


def test_each_setting_has_exactly_one_kind() -> None:
    named = [*MATHEMATICS_KEYS, *OPERATOR_KEYS, *MACHINE_KEYS]
    assert len(named) == len(set(named))
    assert set(named) <= known_keys().keys()
    by_section = {key for key in known_keys() if key.partition(".")[0] in MATHEMATICS_SECTIONS}
    assert MATHEMATICS_KEYS.isdisjoint(by_section)
    assert {
        *named,
        *by_section,
    } == known_keys().keys(), "a new setting needs a kind in common/config/changeable_settings.py"
    assert SETTING_KINDS.keys() == known_keys().keys()


def test_what_an_operator_needs_to_change_is_not_fixed_and_the_mathematics_are() -> None:
    free = (
        "cohort.min_stores",
        "cohort.wait",
        "cohort.timeout",
        "run.rounds",
        "evaluation.every",
        "screening.norm_factor",
    )
    assert {SETTING_KINDS[key] for key in free} == {Kind.OPERATOR}
    assert {SETTING_KINDS[key] for key in ("run.device", "run.workers", "run.out")} == {
        Kind.MACHINE
    }
    fixed = (
        "train.lr",
        "strategy.name",
        "model.name",
        "data.classes",
        "messages.compression",
        "run.seed",
    )
    assert all(is_fixed(key) for key in fixed)
    assert of_operator(RunConfig())["cohort.min_stores"] == 1
