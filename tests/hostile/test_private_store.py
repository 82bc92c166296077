"""A store whose policy has an epsilon, and a server that wants to learn more.

A real session and a real worker process, from the order to the answer.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from threading import Thread

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.client.audit import AUDIT_FILE
from fedshelf.client.audit.verify import entries
from fedshelf.client.failures import StoreError
from fedshelf.client.identity.home import store_home
from fedshelf.client.policy.policy import POLICY_FILE, policy_of
from fedshelf.client.policy.private_training import check_privacy
from fedshelf.client.privacy.audited_state import PRIVATE_TRAINING
from fedshelf.client.privacy.charges import LEDGER_FILE, read_charges
from fedshelf.client.process.worker_process import WorkerProcess, WorkerSettings
from fedshelf.client.session.order_queue import OrderQueue
from fedshelf.client.session.recorder import SessionRecorder
from fedshelf.common.config import RunConfig, resolve
from fedshelf.common.privacy.accountant import SampledGaussian, epsilon
from fedshelf.common.protocol.messages import Failure, Plan, TrainOrder, Update
from fedshelf.common.protocol.serialization import Query, Result
from fedshelf.common.training.fit import Network
from tests.helpers.deployed import draw_photos
from tests.helpers.order_wire import OrderWire
from tests.helpers.small_plan import CPU, SPEC

PRIVATE = {
    "data.dataset": "stores",
    "data.image_size": 16,
    "model.name": "niid-cnn",
    "privacy.clip": 1.0,
    "privacy.noise": 2.0,
    "privacy.rate": 0.25,
    "privacy.steps": 4,
}
ROUND = SampledGaussian(noise=2.0, rate=0.25, steps=4)
TWO_ROUNDS = epsilon([ROUND, ROUND], 1e-5)


def order(number: int = 1, **changed: object) -> TrainOrder:
    config = resolve(
        {**PRIVATE, **{key.replace("__", "."): value for key, value in changed.items()}}
    )
    params = Network(SPEC, CPU, seed=1).vector.detach().clone()
    return TrainOrder(Plan("run-1", config, SPEC), number, params)


class Store:
    """A store at work."""

    def __init__(self, orders: OrderQueue, home: Path, photos: Path) -> None:
        self._orders = orders
        self._wire = OrderWire()
        self.home = home
        self.photos = photos

    def ask(self, asked: TrainOrder | Query) -> Result:
        return self._wire.ask(self._orders, asked)

    def refusal(self, asked: TrainOrder | Query) -> Failure:
        """The store's refusal, which its audit log has."""
        failure = self.ask(asked)
        assert isinstance(failure, Failure), failure
        assert failure.code == "policy"
        last = [entry for entry in self.logged() if entry[0] == "refused"][-1]
        assert last == ("refused", failure.detail)
        return failure

    def logged(self) -> list[tuple[str, str]]:
        return [(entry.event, entry.why) for entry in entries(self.home / AUDIT_FILE)]

    def charges(self) -> int:
        return len(read_charges(self.home / LEDGER_FILE))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("FEDSHELF_CACHE", str(tmp_path / "cache"))
    (store_home("oslo") / POLICY_FILE).write_text(
        f'epsilon = {1.0001 * TWO_ROUNDS}\ncounts = "none"\nclasses = {list(SPEC.classes)}\n',
        encoding="utf-8",
    )
    return draw_photos(tmp_path / "photos", ["boot", "hat"], 20)


@contextmanager
def at_work(photos: Path) -> Iterator[Store]:
    home = store_home("oslo")
    with (
        SessionRecorder(home, policy_of(home)) as recorder,
        closing(
            WorkerProcess(WorkerSettings("oslo", photos, "cpu"), recorder.record_photo_change)
        ) as worker,
    ):
        yield Store(OrderQueue(worker, recorder), home, photos)


def test_no_order_that_tells_more_is_carried_out(photos: Path) -> None:
    with at_work(photos) as store:
        for bare in (
            order(privacy__clip=0.0, privacy__noise=0.0, privacy__rate=0.0, privacy__steps=0),
            order(privacy__noise=0.0),
            order(privacy__rate=0.0),
            order(data__mixup=0.5),
            order(strategy__absent_classes="weigh"),
            order(train__seconds=9.0),
            order(strategy__name="ridge"),
            order(privacy__noise=0.02),
            order(privacy__rate=1.0, privacy__steps=100),
        ):
            failure = store.refusal(bare)
            assert failure.detail == "epsilon"
        plain = resolve({"data.dataset": "stores", "data.image_size": 16, "model.name": "niid-cnn"})
        assert store.refusal(Query("run-1", plain)).detail == "epsilon"
        assert store.charges() == 0
        assert [event for event, _ in store.logged() if event == "charged"] == []


@pytest.mark.slow
def test_an_order_asked_ten_times_is_charged_once_and_the_third_one_is_refused(
    photos: Path,
) -> None:
    with at_work(photos) as store:
        updates = [store.ask(order()) for _ in range(10)]
    with at_work(photos) as store:  # a process that remembers no answer
        updates.append(store.ask(order()))
        assert all(isinstance(update, Update) for update in updates)
        assert len({update.params.numpy().tobytes() for update in updates}) == 1
        assert store.charges() == 1
        assert isinstance(store.ask(order(2)), Update)
        failure = store.refusal(order(3))
        assert (failure.detail, failure.retry_after) == ("epsilon", 0)
        assert isinstance(store.ask(order(2)), Update), "an answer that was paid for"
        assert [event for event, _ in store.logged() if event == "charged"] == ["charged"] * 2
        assert ("received", PRIVATE_TRAINING) in store.logged()


@pytest.mark.slow
def test_another_run_server_or_model_opens_no_new_account(photos: Path) -> None:
    first = order()
    with at_work(photos) as store:
        update = store.ask(first)
        assert isinstance(update, Update)
        other_run = replace(first, plan=replace(first.plan, run_id="run-2"))
        again = store.ask(other_run)  # the same training: it tells nothing new
        assert isinstance(again, Update)
        assert torch.equal(again.params, update.params)
        assert store.charges() == 1
        assert isinstance(store.ask(replace(other_run, params=first.params + 1)), Update)
        for plan in (first.plan, replace(first.plan, run_id="run-3")):
            asked = replace(first, plan=plan, params=torch.zeros_like(first.params))
            assert store.refusal(asked).detail == "epsilon"


@pytest.mark.slow
def test_photos_that_were_deleted_in_between_cost_a_round_of_their_own(photos: Path) -> None:
    """Else the difference of both updates would show them, without noise."""
    with at_work(photos) as store:
        assert isinstance(store.ask(order()), Update)
        (photos / "boot" / "0.png").unlink()
        assert isinstance(store.ask(order()), Update)
        assert store.charges() == 2


@pytest.mark.slow
def test_a_worker_killed_while_it_trains_costs_nothing_more(photos: Path) -> None:
    long = order(privacy__noise=40.0, privacy__steps=400)

    def kill_worker() -> None:
        while not (store_home("oslo") / LEDGER_FILE).exists():
            time.sleep(0.001)
        os.kill(active_children()[0].pid or 0, signal.SIGKILL)

    with at_work(photos) as store:
        killer = Thread(target=kill_worker)
        killer.start()
        update = store.ask(long)
        killer.join()
    with at_work(photos) as store:
        again = store.ask(long)
        assert isinstance(update, Update)
        assert isinstance(again, Update)
        assert torch.equal(update.params, again.params)
        assert store.charges() == 1


@pytest.mark.slow
@pytest.mark.parametrize("is_running", [True, False], ids=["running", "started anew"])
def test_without_its_ledger_a_store_answers_nothing(photos: Path, *, is_running: bool) -> None:
    with at_work(photos) as store:
        assert isinstance(store.ask(order()), Update)
        ledger = store.home / LEDGER_FILE
        if is_running:
            ledger.unlink()
            assert store.refusal(order(2)).detail == "privacy-record"
    ledger.unlink(missing_ok=True)
    with at_work(photos) as store:
        for asked in (order(), order(2), Query("run-1", order().plan.config)):
            assert store.refusal(asked).detail == "privacy-record"


@settings(max_examples=100, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "privacy.clip": st.sampled_from([0.0, 1.0]),
            "privacy.noise": st.sampled_from([0.0, 1.0]),
            "privacy.rate": st.sampled_from([0.0, 0.5]),
            "privacy.steps": st.sampled_from([0, 9]),
            "data.mixup": st.sampled_from([0.0, 0.1]),
            "data.cutmix": st.sampled_from([0.0, 0.1]),
            "train.seconds": st.sampled_from([0.0, 1.0]),
            "strategy.absent_classes": st.sampled_from(["auto", "full", "mask", "weigh"]),
            "strategy.name": st.sampled_from(["fedavg", "scaffold", "ridge", "prototypes"]),
            "model.norm": st.sampled_from(["default", "batch", "group", "frozen"]),
        }
    )
)
def test_whatever_the_settings_a_store_trains_with_noise_or_not_at_all(
    given_settings: dict[str, object],
) -> None:
    config = resolve({"model.name": "resnet18", **given_settings})
    spec = replace(SPEC, name="resnet18", norm=config.model.norm)
    if _is_sound(config):
        check_privacy(config, spec, spec.classes)
    else:
        with pytest.raises(StoreError):
            check_privacy(config, spec, spec.classes)


def _is_sound(config: RunConfig) -> bool:
    privacy = config.privacy
    return (
        min(privacy.clip, privacy.noise, privacy.rate, privacy.steps) > 0
        and config.data.mixup == config.data.cutmix == config.train.seconds == 0
        and config.strategy.absent_classes in ("auto", "full")
        and config.strategy.name not in ("ridge", "prototypes")
        and config.model.norm in ("group", "frozen")
    )
