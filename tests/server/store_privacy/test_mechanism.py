"""The noised mean of a round, over updates that can be worked out by hand."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as draw
from torch import Tensor

from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.errors import RunError, StoresError
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.protocol.messages import StoreInfo, TrainOrder, Update
from fedshelf.server.store_privacy.mechanism import STORE_RECORD_KEY, NoisedMean, StorePrivacy
from fedshelf.server.store_privacy.noise_ledger import NoiseLedger
from fedshelf.server.updates.screening import RoundOutcome
from tests.helpers.by_hand import Notes, plan_of, vector

LITTLE = 1e-6  # noise that no test of the mean can see


def config_of(**settings: object) -> RunConfig:
    return resolve({key.replace("__", "."): value for key, value in settings.items()})


def mechanism(
    ledger: NoiseLedger | None = None, notes: Notes | None = None, **settings: object
) -> StorePrivacy:
    return StorePrivacy(
        config_of(**settings), ledger or NoiseLedger.simulated(7), (notes or Notes()).note
    )


def outcome(
    changes: Sequence[Tensor], start: Tensor | None = None, round: int = 1, failing: int = 0
) -> RoundOutcome:
    """A round of stores that change the model so, and of some that fail."""
    start = torch.zeros_like(changes[0]) if start is None else start
    names = [f"s{number:04d}" for number in range(len(changes) + failing)]
    updates = [
        Update(name, round, start + change, 10, 1.0, 0.1)
        for name, change in zip(names, changes, strict=False)
    ]
    norms = {
        update.store: float(change.norm()) for update, change in zip(updates, changes, strict=True)
    }
    infos = {name: StoreInfo(name, {"a": 10}, 0, 0) for name in names}
    return RoundOutcome(TrainOrder(plan_of(), round, start), infos, updates, {}, infos, norms)


def mean_of(found: NoisedMean, start: Tensor | float = 0.0) -> Tensor:
    return found.update.params - start


def test_changes_are_clipped_and_divided_by_all_that_could_take_part() -> None:
    start = vector(10.0, 20.0)
    changes = [vector(3.0, 4.0), vector(0.3, 0.0)]  # of norm 5, which becomes 1, and of 0.3
    private = mechanism(privacy__store_noise=LITTLE, privacy__store_clip=1)
    found = private.noised_mean(outcome(changes, start, failing=2), None)
    expected = [(0.6 + 0.3) / 4, 0.8 / 4]  # who fails counts, and contributes nothing
    assert mean_of(found, start).tolist() == pytest.approx(expected, abs=1e-5)
    assert found.record["clip"] == found.record["next_clip"] == 1
    assert found.record["deviation"] == LITTLE / 4


@pytest.mark.parametrize(("noise", "clip", "stores"), [(1.0, 1.0, 4), (3.0, 0.5, 40)])
def test_the_noise_is_of_the_size_that_is_told(noise: float, clip: float, stores: int) -> None:
    changes = [torch.zeros(100_000)] * stores
    private = mechanism(privacy__store_noise=noise, privacy__store_clip=clip)
    found = private.noised_mean(outcome(changes), None)
    assert found.record["deviation"] == noise * clip / stores
    assert float(mean_of(found).std()) == pytest.approx(noise * clip / stores, rel=0.01)
    assert abs(float(mean_of(found).mean())) < 5 * noise * clip / stores / math.sqrt(100_000)
    ratio = math.sqrt(stores**2 / (noise**2 * 100_000))
    assert found.record["signal_to_noise"] == pytest.approx(ratio)


@given(
    draw.lists(draw.floats(-100, 100, width=32), min_size=3, max_size=3),
    draw.lists(draw.floats(-100, 100, width=32), min_size=3, max_size=3),
    draw.floats(0.01, 10),
)
def test_one_store_moves_the_sum_by_at_most_the_clip(
    other: list[float], mine: list[float], clip: float
) -> None:
    """It sends anything, or nothing."""
    private = mechanism(privacy__store_noise=LITTLE, privacy__store_clip=clip)
    others = [vector(*other), vector(1.0, -2.0, 0.1)]
    with_it = private.noised_mean(outcome([*others, vector(*mine)]), None)
    without = private.noised_mean(outcome(others, failing=1), None)
    moved = 3 * float((mean_of(with_it) - mean_of(without)).norm())
    assert moved <= clip * (1 + 1e-4)


def test_one_store_does_not_move_how_the_others_are_rounded() -> None:
    """A change of 1e4 comes first, then a thousand of 1e-4, which float32 would lose beside it."""
    private = mechanism(privacy__store_noise=LITTLE, privacy__store_clip=1e4)
    small = [vector(1e-4)] * 1000
    with_it = private.noised_mean(outcome([vector(1e4), *small]), None)
    deviation = with_it.record["deviation"]
    expected = (1e4 + 0.1) / 1001
    assert float(mean_of(with_it)) == pytest.approx(expected, abs=5 * deviation + 1e-6)


def test_the_clip_follows_the_norms_of_the_changes() -> None:
    """Of 100 changes of norms 1 to 100, half are to be as small as the clip."""
    private = mechanism(privacy__store_noise=1, run__rounds=150)
    changes = [vector(float(norm)) for norm in range(1, 101)]
    last: dict[str, Any] | None = None
    clips = list[float]()
    for number in range(1, 151):
        found = private.noised_mean(outcome(changes, round=number), last)
        last = {STORE_RECORD_KEY: found.record}
        clips.append(found.record["clip"])
    assert clips[0] == 0.1
    # the count's noise is 5 of 100: one step of the clip is exp(0.2 * 0.05) apart
    assert sum(clips[100:]) / 50 == pytest.approx(50, rel=0.05)


def test_epsilon_is_that_of_all_rounds_so_far_and_the_end_is_told_before(notes: Notes) -> None:
    settings = {"privacy__store_noise": 2, "cohort__fraction": 0.25, "run__rounds": 50}
    private = mechanism(notes=notes, **settings)
    changes = [torch.zeros(1000)] * 100
    records = [
        private.noised_mean(outcome(changes, round=number), last).record
        for number, last in ((1, None), (2, {STORE_RECORD_KEY: {"next_clip": 1.0}}))
    ]
    delta = 1e-3
    assert [record["delta"] for record in records] == [delta, delta]
    assert [record["epsilon"] for record in records] == [
        epsilon([SampledGaussian(2, 0.25, rounds)], delta) for rounds in (1, 2)
    ]
    whole = epsilon([SampledGaussian(2, 0.25, 50)], delta)
    assert notes.notes[0].startswith(
        "Differential privacy of a store: about 25 of 100 stores in a round, noise 2; after 50"
        f" rounds epsilon is {whole:.3g} at delta 0.001."
    )
    assert "it destroys the model" in notes.notes[1]  # 25 / (2 sqrt(1000)) = 0.4
    assert len(notes.notes) == 2


def test_each_store_is_drawn_by_a_coin_of_its_own() -> None:
    private = mechanism(privacy__store_noise=1, cohort__fraction=0.2)
    names = [f"s{number}" for number in range(5000)]
    drawn = private.cohort(names, 3)
    assert len(drawn) == pytest.approx(1000, abs=5 * math.sqrt(5000 * 0.2 * 0.8))
    assert drawn == sorted(drawn)
    # whoever else is there, at any try
    assert private.cohort(names[:2500], 3) == [name for name in drawn if name in names[:2500]]
    again = set(private.cohort(names, 4)) & set(drawn)
    assert len(again) == pytest.approx(200, abs=5 * math.sqrt(5000 * 0.04 * 0.96))


def test_a_draw_that_may_be_empty_is_refused() -> None:
    private = mechanism(privacy__store_noise=1, cohort__fraction=0.1)
    private.check_draw(drawn=17, present=200, round_number=1)
    with pytest.raises(StoresError, match=r"of 199 stores it draws 19.9 in a round"):
        private.check_draw(drawn=17, present=199, round_number=1)
    mechanism(privacy__store_noise=1).check_draw(drawn=2, present=2, round_number=1)


# --- the ledger of a deployment -------------------------------------------------------------------


def noised(ledger: NoiseLedger, changes: Sequence[Tensor], round: int = 1) -> Mapping[str, Any]:
    found = mechanism(ledger, privacy__store_noise=1, privacy__store_clip=1).noised_mean(
        outcome(changes, round=round), None
    )
    return {"params": found.update.params.tolist(), "epsilon": found.record["epsilon"]}


def test_a_round_that_is_repeated_has_the_same_noise_and_costs_nothing_more(
    tmp_path: Path,
) -> None:
    path = tmp_path / "noise.json"
    changes = [vector(0.5, 0.1), vector(0.2, 0.3)]
    first = noised(NoiseLedger.open(path, 0), changes)
    assert noised(NoiseLedger.open(path, 0), changes) == first
    assert path.stat().st_mode & 0o777 == 0o600
    second = noised(NoiseLedger.open(path, 1), changes, round=2)
    assert second["params"] != first["params"]
    assert second["epsilon"] > first["epsilon"]


def test_a_round_that_is_repeated_with_other_updates_has_other_noise_and_counts_again(
    tmp_path: Path,
) -> None:
    """With the same noise, the two models would differ by a store's update, and by nothing else."""
    path = tmp_path / "noise.json"
    first = noised(NoiseLedger.open(path, 0), [vector(0.5, 0.1), vector(0.2, 0.3)])
    other = noised(NoiseLedger.open(path, 0), [vector(0.5, 0.1), vector(0.0, 0.0)])
    difference = vector(*first["params"]) - vector(*other["params"])
    assert float((difference - vector(0.1, 0.15)).norm()) > 0.1
    twice = epsilon([SampledGaussian(1, 1, 2)], 1e-3)
    assert other["epsilon"] == twice


def test_two_runs_have_noises_that_differ_whatever_their_seed(tmp_path: Path) -> None:
    changes = [vector(0.5, 0.1)]
    found = [noised(NoiseLedger.open(tmp_path / name, 0), changes)["params"] for name in ("a", "b")]
    assert found[0] != found[1]


@pytest.mark.parametrize("damage", ["missing", "cut", "set back"])
def test_without_its_ledger_a_run_does_not_go_on(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "noise.json"
    for number in (1, 2):
        noised(NoiseLedger.open(path, number - 1), [vector(0.5)], round=number)
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_text(path.read_text()[:-9])
    else:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | {"sums": content["sums"][:1]}))
    with pytest.raises(RunError, match="restore it, or start a new run"):
        NoiseLedger.open(path, 2)
