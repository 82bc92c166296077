"""Cohorts that are too small for what a strategy promises: refused where nobody can join, told
where somebody may.
"""

import pytest

from fedshelf.common import strategies
from fedshelf.common.config import StrategyConfig, resolve
from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.messages import Failure
from fedshelf.server.training.robustness_guarantee import check_cohort
from fedshelf.server.training.round_loop import RoundLoop
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector
from tests.helpers.simulation_command import run


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"name": "krum", "malicious": 2}, 7),  # n > 2 f + 2
        ({"name": "krum", "malicious": 1}, 5),
        ({"name": "krum"}, 3),
        ({"name": "multi-krum", "malicious": 1}, 5),
        ({"name": "multi-krum", "malicious": 1, "keep": 6}, 7),  # of 6, one may be malicious
        ({"name": "multi-krum", "keep": 6}, 3),  # nobody is taken to be malicious
        ({"name": "trimmed-mean"}, 5),  # a fifth of them
        ({"name": "trimmed-mean", "trim": 0.05}, 20),
        ({"name": "trimmed-mean", "trim": 0.0}, 1),  # no promise
        ({"name": "median"}, 3),
        ({"name": "fedavg"}, 1),
    ],
)
def test_how_many_updates_a_promise_needs(settings: dict, least: int) -> None:
    strategy = strategies.build(StrategyConfig(**settings))
    enough = [updates for updates in range(1, 40) if strategy.shortfall(updates) is None]
    assert enough == list(range(least, 40))


@pytest.mark.parametrize(
    ("settings", "stores", "is_refused"),
    [
        ({"strategy.name": "krum", "strategy.malicious": 2}, 6, True),
        ({"strategy.name": "krum", "strategy.malicious": 2}, 7, False),
        ({"strategy.name": "krum", "strategy.malicious": 2, "cohort.fraction": 0.5}, 12, True),
        # 6.5 is 7
        ({"strategy.name": "krum", "strategy.malicious": 2, "cohort.fraction": 0.5}, 13, False),
        (
            {
                "strategy.name": "krum",
                "strategy.malicious": 2,
                "cohort.fraction": 0.1,
                "cohort.min_stores": 7,
            },
            9,
            False,
        ),
        ({"strategy.name": "multi-krum", "strategy.malicious": 1, "strategy.keep": 5}, 5, True),
        ({"strategy.name": "krum"}, 2, False),  # as ever: nobody asked for anything
        ({"strategy.name": "trimmed-mean"}, 4, False),
    ],
)
def test_what_can_never_be_withstood_is_refused(
    settings: dict, stores: int, is_refused: bool
) -> None:
    config = resolve(settings)
    if not is_refused:
        return check_cohort(config, stores)
    with pytest.raises(
        ConfigError,
        match=rf"strategy\.malicious got \d with {stores} stores, \d+ in a round: .*; take",
    ):
        check_cohort(config, stores)


def test_the_command_refuses_before_round_1(tmp_path) -> None:
    asked = ("--strategy", "krum", "--set", "strategy.malicious=2", "--out", tmp_path / "run")
    done = run("run", "--dataset", "shelf", "--stores", "5", "--rounds", "1", *asked)
    assert done.returncode != 0
    assert (
        done.stderr.strip().replace("\n", " ")
        == "Error: Setting strategy.malicious got 2 with 5 stores, 5 in a round: krum with 5"
        " updates needs 7 to withstand strategy.malicious=2; take more stores (data.stores,"
        " cohort.fraction) or a smaller number."
    )
    assert not (tmp_path / "run").exists()


def test_a_cohort_that_shrinks_is_told_and_on_record() -> None:
    """Five stores are enough for one malicious one; one leaves in rounds 2 and 3, and comes
    back.
    """
    runtime = Targets({f"s{number}": float(number) for number in range(5)})
    notes = Notes()
    plan = plan_of(strategy__name="krum", strategy__malicious=1, run__rounds=5)
    rounds = RoundLoop(plan, ONE, runtime, notes, lambda: False)
    state = rounds.initial_state(vector(0.0))
    found = []
    for is_broken in (False, True, True, False, True):
        runtime.broken = {"s4": Failure("s4", "unavailable", "away")} if is_broken else {}
        state, record = rounds.play(state)
        found.append(record["shortfall"])
    reason = "krum with 4 updates needs 5 to withstand strategy.malicious=1"
    assert found == [None, reason, reason, None, reason]
    word = f"{reason}; the round counts all the same, unless cohort.min_stores asks for more."
    assert [note for note in notes.notes if "needs 5" in note] == [
        f"Round {r}: {word}" for r in (2, 3, 5)
    ]


def test_what_is_so_from_the_beginning_is_told_once_and_before_training() -> None:
    class Listening(Targets):
        def train(self, order, stores):
            assert notes.notes, "told before"
            return super().train(order, stores)

    runtime = Listening({f"s{number}": float(number) for number in range(4)})
    notes = Notes()
    plan = plan_of(strategy__name="trimmed-mean", run__rounds=3)
    rounds = RoundLoop(plan, ONE, runtime, notes, lambda: False)
    state = rounds.initial_state(vector(0.0))
    for _ in range(3):
        state, record = rounds.play(state)
        assert record["shortfall"]
    (told,) = notes.notes
    assert told.startswith(
        "Round 1: trimmed-mean with 4 updates cuts none off; strategy.trim=0.2 needs 5; "
    )


def test_two_equal_attackers_win_among_five_and_not_among_seven() -> None:
    """Why Krum needs n > 2 f + 2: among 5 with f = 2 the nearest neighbour alone counts.

    Stores go half-way.
    """
    for honest, expected in ((3, 100.0), (5, 1.0)):
        runtime = Targets({f"s{n}": float(n) for n in range(honest)} | {"x": 100.0, "y": 100.0})
        plan = plan_of(strategy__name="krum", strategy__malicious=2, screening__norm_factor=0)
        rounds = RoundLoop(plan, ONE, runtime, Notes(), lambda: False)
        assert rounds.play(rounds.initial_state(vector(0.0)))[0].params.item() == expected / 2
