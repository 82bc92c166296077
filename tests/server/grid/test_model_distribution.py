"""A delivered model reaches the stores that take it and lack it, whatever is lost on the way;
others are named.
"""

from collections.abc import Callable, Collection
from pathlib import Path

import pytest
from flwr.app import Context, Message, MessageType
from flwr.clientapp import ClientApp

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.enforcement import PolicyEnforcer
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.delivered_models import DeliveredModels
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS, make_failure
from fedshelf.common.protocol.serialization import encode_result
from fedshelf.server.grid import model_distribution, outbox
from fedshelf.server.grid.model_deliveries import wait_or_stop
from fedshelf.server.grid.model_distribution import Distributed
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.run_mailbox import RunFiles
from tests.helpers.delivered_models import order_of
from tests.helpers.grid_stores import CONFIG, Doubler, LossyGrid

ORDER = order_of()
NAMES = {10: "north", 11: "south", 12: "west", 13: "gone"}


def never() -> bool:
    return False


@pytest.fixture
def grid(monkeypatch: pytest.MonkeyPatch) -> LossyGrid:
    for pause in ("PRESENCE_CHECK_SECONDS", "REPLIES_POLL_SECONDS"):
        monkeypatch.setattr(model_distribution, pause, 0.05)
    monkeypatch.setattr(outbox, "PROBE_AFTER_SECONDS", 0.05)
    monkeypatch.setattr(model_distribution, "MAX_UNOFFERED_BYTES", 0)
    return LossyGrid()


@pytest.fixture
def notes() -> list[str]:
    return []


@pytest.fixture
def runtime(grid: LossyGrid, notes: list[str]) -> GridRuntime:
    return GridRuntime(grid, CONFIG, "run", notes.append, RunFiles(enrolled=lambda: NAMES))


@pytest.fixture
def put(grid: LossyGrid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Adds a store that keeps models; where it keeps them."""
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path))

    def add(node: int, **policy: object) -> Path:
        home = tmp_path / "stores" / NAMES[node]
        home.mkdir(parents=True)
        guard = PolicyEnforcer(Policy.model_validate(policy), Usage(home / "usage.json"))
        models = DeliveredModels(
            NAMES[node], home / "models", 1e9, guard.check_model_allowed, lambda _: None
        )
        app = ClientApp()
        frozen = FrozenCache(home / "frozen")

        @app.query()
        def handle(message: Message, _: Context) -> Message:
            return Message(
                handle_order(Doubler(NAMES[node]), message.content, frozen, models),
                reply_to=message,
            )

        grid.apps[node] = app
        return home / "models"

    return add


@pytest.fixture
def no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent twice, however busy the machine is."""
    monkeypatch.setattr(outbox, "PROBE_AFTER_SECONDS", 1e9)


@pytest.mark.usefixtures("no_doubt")
def test_a_model_is_offered_to_all_and_sent_to_those_that_want_it(
    grid: LossyGrid, runtime: GridRuntime, put: Callable[..., Path], notes: list[str]
) -> None:
    places = [put(10), put(11), put(12, model_delivery=False)]
    DeliveredModels("south", places[1], 1e9, lambda _: None, lambda _: None).receive(ORDER)
    distributed = runtime.deliver(ORDER, never)
    why = "its policy does not allow it (model-delivery)"
    missing = {"gone": "not connected"}
    assert distributed == Distributed(
        ORDER.sha256, frozenset({"north", "south"}), {"west": why}, missing
    )
    assert (places[0] / "shops" / "model.safetensors").read_bytes() == ORDER.content
    assert not places[2].exists()
    orders = [
        message for message in grid.sent if message.metadata.message_type == MessageType.QUERY
    ]
    assert len(orders) == 4  # three offers, one model
    told = (
        f"2 stores have the model; refused: west ({why}); not yet delivered: gone (not connected)."
    )
    assert distributed.sentence() == told
    assert notes[-1].startswith(("north", "south", "west"))


def test_a_line_names_twenty_stores_and_counts_the_others() -> None:
    missing = {f"store-{number:02}": "not connected" for number in range(23)}
    distributed = Distributed(ORDER.sha256, frozenset({"north"}), {}, missing)
    told = distributed.sentence()
    assert told.startswith(
        "1 store has the model; not yet delivered: store-00 (not connected), store-01 (not"
        " connected),"
    )
    assert told.endswith("store-19 (not connected), 3 more.")
    assert len(distributed.to_summary()["missing"]) == 23


@pytest.mark.usefixtures("no_doubt")
def test_a_small_model_is_sent_without_an_offer(
    grid: LossyGrid, runtime: GridRuntime, put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_distribution, "MAX_UNOFFERED_BYTES", ORDER.size)
    place = put(10)
    assert runtime.deliver(ORDER, never).delivered == {"north"}
    assert (place / "shops" / "model.safetensors").read_bytes() == ORDER.content
    assert [message.metadata.message_type for message in grid.sent].count(MessageType.QUERY) == 1


def test_what_is_lost_on_the_way_is_sent_again(
    grid: LossyGrid, runtime: GridRuntime, put: Callable[..., Path]
) -> None:
    put(10)
    grid.lose_queries = 2
    assert runtime.deliver(ORDER, never).delivered == {"north"}


def test_a_store_that_cannot_keep_it_is_asked_again_later(
    grid: LossyGrid, runtime: GridRuntime, put: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the end of a run nobody waits for it; `flower-server deliver` does."""
    monkeypatch.setattr(model_distribution, "OFFER_RETRY_SECONDS", 0.05)
    app = ClientApp()
    first = [make_failure("north", "disk-full")]

    @app.query()
    def handle(message: Message, context: Context) -> Message:
        if first:
            return Message(encode_result(first.pop()), reply_to=message)
        return put_app(message, context)

    put(10)
    put_app = grid.apps[10]
    grid.apps[10] = app
    assert runtime.deliver(ORDER, never).missing == dict.fromkeys(
        ("south", "west", "gone"), "not connected"
    ) | {"north": "its disk is full"}
    distributing = model_distribution.ModelDistribution(
        ORDER, runtime._connection, lambda: {10: "north"}, lambda _: None
    )
    assert distributing.give(never, lambda: {"north"}).delivered == {"north"}


def test_who_is_awaited_may_come_later_have_it_already_or_never_come(
    grid: LossyGrid, runtime: GridRuntime, put: Callable[..., Path]
) -> None:
    put(10)
    late = grid.apps.pop(10)
    looks = []

    def until() -> bool:
        looks.append(1)
        if len(looks) == 3:
            grid.apps[10] = late
        return len(looks) > 500

    named = {10: "north", 13: "gone"}
    distributing = model_distribution.ModelDistribution(
        ORDER, runtime._connection, lambda: named, lambda _: None, ["gone"]
    )
    assert distributing.give(until, lambda: set(named.values())) == Distributed(
        ORDER.sha256, frozenset({"north", "gone"}), {}, {}
    )
    asked = []

    def awaited() -> Collection[str] | None:
        asked.append(1)
        return named.values() if len(asked) > 2 else None

    registering = model_distribution.ModelDistribution(
        ORDER, runtime._connection, lambda: named, lambda _: None, named.values()
    )
    assert registering.give(never, awaited).missing == {}
    assert len(asked) > 2, "ended before it was known who is awaited"
    del named[10]
    for_nothing = model_distribution.ModelDistribution(
        ORDER, runtime._connection, lambda: named, lambda _: None
    )
    assert for_nothing.give(wait_or_stop(never, 0.01), lambda: ["gone"]).missing == {
        "gone": "not connected"
    }


def test_a_refusal_that_ends_by_itself_is_none(grid: LossyGrid, runtime: GridRuntime) -> None:
    app = ClientApp()

    @app.query()
    def handle(message: Message, _: Context) -> Message:
        rest = MAX_RETRY_AFTER_SECONDS - 1
        return Message(
            encode_result(make_failure("north", "policy", "megabytes-down-per-day", rest)),
            reply_to=message,
        )

    grid.apps[10] = app
    distributed = runtime.deliver(ORDER, never)
    assert (distributed.refused, distributed.missing["north"]) == (
        {},
        "its policy does not allow it (megabytes-down-per-day)",
    )
