"""Whole runs with differential privacy of a store."""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fedshelf.common.config import STORES_OWN
from fedshelf.common.errors import RunError, StoresError
from fedshelf.common.protocol.messages import Failure, TrainOrder, Update
from fedshelf.server import formatting
from fedshelf.server.report.tensorboard import scalars
from fedshelf.server.results.run_directory import RunDirectory
from fedshelf.server.store_privacy.mechanism import STORE_RECORD_KEY
from fedshelf.server.store_privacy.noise_ledger import NOISE_FILE
from fedshelf.server.training.round_loop import RoundLoop
from fedshelf.server.training.run import StopRequest, Training
from tests.helpers.by_hand import ONE, Notes, Targets, plan_of, vector
from tests.helpers.runtimes import engine, play
from tests.helpers.simulated_stores import federation, settings, start

PRIVATE: dict[str, Any] = {
    "privacy__store_noise": 0.5, "strategy__weighting": "uniform", "strategy__name": "fedavgm",
    "screening__norm_factor": 0, "run__rounds": 4, "run__deliver": "last",
}  # fmt: skip
STORES = {f"s{number}": 4.0 for number in range(30)}


class Breaking(Targets):
    """All stores fail from round `last` on."""

    last = 99

    def train(self, order: TrainOrder, stores: Sequence[str]) -> Iterator[Update | Failure]:
        if order.round >= self.last:
            self.broken = {name: Failure(name, "error", "broken") for name in stores}
        return super().train(order, stores)


def run(path: Path, runtime: Targets, dataset: str) -> dict[str, Any]:
    begun = start(settings(**PRIVATE, data__dataset=dataset, cohort__wait=0))
    directory = RunDirectory.open(path, begun.plan.config)
    try:
        return Training(begun, runtime, Notes(), directory, 0.0).run(StopRequest(Notes()))
    finally:
        directory.close()


@pytest.mark.parametrize("dataset", ["shelf", STORES_OWN])
def test_a_resumed_run_equals_one_that_nothing_interrupted(tmp_path: Path, dataset: str) -> None:
    whole = run(tmp_path / "whole", Breaking(STORES), dataset)
    ledger = tmp_path / "whole" / NOISE_FILE
    assert ledger.exists() == (dataset == STORES_OWN)
    broken = Breaking(STORES)
    broken.last = 3
    (tmp_path / "cut").mkdir()
    if ledger.exists():
        secret = json.loads(ledger.read_text())["secret"]
        (tmp_path / "cut" / NOISE_FILE).write_text(json.dumps({"secret": secret, "sums": []}))
    with pytest.raises(StoresError):
        run(tmp_path / "cut", broken, dataset)
    resumed = run(tmp_path / "cut", Breaking(STORES), dataset)
    assert resumed["weights_sha256"] == whole["weights_sha256"]
    assert resumed[STORE_RECORD_KEY] == whole[STORE_RECORD_KEY]
    assert whole[STORE_RECORD_KEY]["clip"] != whole[STORE_RECORD_KEY]["next_clip"]


def test_two_deployments_with_one_seed_have_noises_of_their_own(tmp_path: Path) -> None:
    found = {run(tmp_path / name, Targets(STORES), STORES_OWN)["weights_sha256"] for name in "ab"}
    assert len(found) == 2


def test_a_deployment_without_its_ledger_does_not_go_on(tmp_path: Path) -> None:
    run(tmp_path, Targets(STORES), STORES_OWN)
    (tmp_path / NOISE_FILE).unlink()
    with pytest.raises(RunError, match=NOISE_FILE):
        run(tmp_path, Targets(STORES), STORES_OWN)


def test_outcome_and_history_tell_epsilon_clip_and_signal(tmp_path: Path) -> None:
    summary = run(tmp_path, Targets(STORES), "shelf")
    told = summary[STORE_RECORD_KEY]
    assert told["signal_to_noise"] == pytest.approx(30 / (0.5 * math.sqrt(24_210)), rel=0.06)
    (sentence,) = [
        line for line in formatting.describe_outcome(summary) if line.startswith("Differential")
    ]
    assert sentence == (
        f"Differential privacy of a store: epsilon {told['epsilon']:.3g} at delta 0.001; signal"
        f" to noise at most {told['signal_to_noise']:.2g}, so noise is most of what the model"
        " learned."
    )
    history = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    epsilons = [record[STORE_RECORD_KEY]["epsilon"] for record in history]
    assert epsilons == sorted(set(epsilons))
    assert summary["contribution"] is None
    told_in_curves = dict(scalars(history[-1]))
    assert told_in_curves["store_privacy/clip"] == told["clip"]
    assert told_in_curves["store_privacy/epsilon"] == told["epsilon"]
    assert "Privacy of a store" in (tmp_path / "report.html").read_text()


def test_a_missed_quorum_asks_the_same_stores_again_and_a_small_draw_is_no_miss() -> None:
    """A draw that was repeated until enough stores answer would tell who answers."""
    runtime = Targets({f"s{number:03d}": 4.0 for number in range(200)})
    plan = plan_of(**PRIVATE, cohort__fraction=0.1, cohort__min_stores=30)
    rounds = RoundLoop(plan, ONE, runtime, Notes(), lambda: False)
    drawn = rounds.privacy.cohort(runtime.targets, 1) if rounds.privacy else []
    assert len(drawn) < 30
    runtime.broken = {drawn[0]: Failure(drawn[0], "error", "broken")}

    def heal() -> bool:
        if len(runtime.asked) == 2:
            runtime.broken.clear()
        return False

    rounds = RoundLoop(plan, ONE, runtime, Notes(), heal)
    _, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert runtime.asked == [drawn] * 3
    assert record["sampled"] == drawn


def test_a_store_far_from_the_others_is_clipped_and_no_round_is_taken_back() -> None:
    runtime = Targets(STORES | {"far": 1e9})
    rounds = RoundLoop(plan_of(**PRIVATE), ONE, runtime, Notes(), lambda: False)
    state, record = rounds.play(rounds.initial_state(vector(0.0)))
    assert "far" in record["stores"]
    assert "taken_back" not in record
    assert abs(float(state.params)) < 1
    assert runtime.left_out == {}


def test_a_secure_sum_gets_the_noise_that_single_updates_get(tmp_path: Path) -> None:
    """Stores clip to the bound themselves. Both runs draw one noise: rounding tells them apart."""
    found = []
    for name, clipping in (
        ("single", {"privacy__store_clip": 0.3}),
        ("sum", {"privacy__secure_sum": True, "privacy__sum_bound": 0.3}),
    ):
        config = settings(
            **PRIVATE | {"run__rounds": 2, "strategy__name": "fedavg"},
            **clipping,
            cohort__min_stores=3,
        )
        run_of = play(
            engine("sequential", workers=1), federation([9, 12, 20, 7]), config, tmp_path / name
        )
        found.append(run_of)
    single, summed = found
    moved = summed.delivered.params - single.delivered.params
    assert float(moved.norm()) < 1e-5 * float(single.delivered.params.norm())
    records = [played.records[-1][STORE_RECORD_KEY] for played in found]
    assert records[0] == records[1]
    assert records[0]["clip"] == 0.3
    norms = [told["norm"] for told in single.records[0]["stores"].values()]
    assert max(norms) > 0.3  # some were clipped
