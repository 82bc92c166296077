"""A delivered model reaches the stores that take it and lack it, whatever is lost on the way;
others are named.
"""

import json
from collections.abc import Callable, Collection
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context, Message, MessageType
from flwr.clientapp import ClientApp

from fedshelf.client.policy.budgets import Usage
from fedshelf.client.policy.enforcement import PolicyEnforcer
from fedshelf.client.policy.policy import Policy
from fedshelf.client.process.handler import handle_order
from fedshelf.client.worker.delivered_models import KeptModels
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.common.protocol.failures import MAX_RETRY_AFTER_SECONDS, make_failure
from fedshelf.common.protocol.serialization import encode_result
from fedshelf.server.grid import model_distribution, outbox
from fedshelf.server.grid.model_deliveries import wait_or_stop
from fedshelf.server.grid.model_distribution import Distributed
from fedshelf.server.grid.runtime import GridRuntime
from fedshelf.server.ipc.run_mailbox import RunFiles
from tests.client.worker.test_delivered_models import order_of
from tests.helpers.deployed import Command, draw_photos, free_port, history, summary
from tests.helpers.deployment_fixtures import Starter
from tests.server.grid.test_lost_orders import LossyGrid
from tests.server.grid.test_runtime import CONFIG, Doubler

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
        models = KeptModels(NAMES[node], home / "models", 1e9, guard.admit_model, lambda _: None)
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
    KeptModels("south", places[1], 1e9, lambda _: None, lambda _: None).receive(ORDER)
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
    assert distributed.told() == told
    assert notes[-1].startswith(("north", "south", "west"))


def test_a_line_names_twenty_stores_and_counts_the_others() -> None:
    missing = {f"store-{number:02}": "not connected" for number in range(23)}
    distributed = Distributed(ORDER.sha256, frozenset({"north"}), {}, missing)
    told = distributed.told()
    assert told.startswith(
        "1 store has the model; not yet delivered: store-00 (not connected), store-01 (not"
        " connected),"
    )
    assert told.endswith("store-19 (not connected), 3 more.")
    assert len(distributed.in_summary()["missing"]) == 23


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


@pytest.fixture
def chain(command: Starter, tmp_path: Path) -> Path:
    """A chain of three stores, of which one wants no models."""
    made = tmp_path / "chain"
    told = ["--host", "localhost", "--port", str(free_port())]
    assert (
        command(
            "flower-server", "provision", *told, "--stores", "north,south,west", "--out", made
        ).ends()
        == 0
    )
    home_of("south", tmp_path).mkdir(parents=True)
    (home_of("south", tmp_path) / "policy.toml").write_text("model_delivery = false\n")
    for name in ("north", "south", "west"):
        draw_photos(tmp_path / "photos" / name, ["boot", "hat"])
    return made


def home_of(name: str, place: Path) -> Path:
    return place / "state" / "stores" / name


def join(command: Starter, chain: Path, name: str) -> Command:
    photos = chain.parent / "photos" / name
    return command(
        "flower-client", "join", "--kit", chain / "kits" / f"{name}.kit", "--data", photos
    )


def start(command: Starter, chain: Path, *more: str) -> Command:
    quick = [
        "--set",
        "train.lr=0.02",
        "--set",
        "data.image_size=32",
        "--model",
        "niid-cnn",
        "--live-port",
        "0",
    ]
    out = chain.parent / "shops"
    return command(
        "flower-server", "start", *quick, "--credentials", chain / "server", "--out", out, *more
    )


def listed(command: Starter, chain: Path) -> dict[str, Any]:
    """The chain's stores, as the operator has them listed."""
    asked = command("flower-server", "stores", "list", "--credentials", chain / "server", "--json")
    assert asked.ends() == 0, asked.text
    found: dict[str, Any] = json.loads(asked.text)
    return found


@pytest.mark.slow(minutes=2)
def test_stores_have_the_model_during_the_run_at_its_end_and_when_they_come_back(
    command: Starter, chain: Path, tmp_path: Path
) -> None:
    """With keys: one store takes it, one does not, one is away at the end and gets it from
    `flower-server deliver`.
    """
    out = tmp_path / "shops"
    place = home_of("north", tmp_path) / "models" / "shops"
    stores = {name: join(command, chain, name) for name in ("north", "south", "west")}
    server = start(command, chain, "--stores", "2", "--rounds", "1000", "--strategy", "fedper")
    server.says("Stores: ")
    stores["west"].says("Joined")
    stores["west"].interrupt()
    assert stores["west"].ends() in (0, 130)
    assert command("flower-server", "deliver", out).ends() == 0
    stores["north"].says("The model of run shops is here, whole")
    stores["north"].says("of its tensors are the store's own.")
    server.says(
        "1 store has the model; refused: south (its policy does not allow it (model-delivery));"
    )
    server.interrupt()
    assert server.ends() == 130, server.text
    assert "delivery" not in summary(out)  # a stopped run goes on

    server = start(command, chain, "--rounds", str(len(history(out)) + 1))
    assert server.ends() == 0, server.text
    delivered = summary(out)["delivery"]
    assert (delivered["delivered"], list(delivered["refused"])) == (["north"], ["south"])
    assert delivered["missing"] == {"west": "not connected"}
    assert (place / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()
    assert json.loads((place / "own" / "model.json").read_text())["provenance"]["store"] == "north"
    log = [
        json.loads(line)
        for line in (home_of("south", tmp_path) / "audit.jsonl").read_text().splitlines()
    ]
    assert ("deliver", "model-delivery") in {
        (at["kind"], at["why"]) for at in log if at["event"] == "refused"
    }
    found = listed(command, chain)
    assert (found["run"], found["status"]) == (str(out), "finished")
    rows = {row["store"]: (row["version"], row["last_round"]) for row in found["stores"]}
    assert rows.keys() == stores.keys()
    assert rows["north"] == rows["south"] == (version("fedshelf"), len(history(out)))
    second = join(command, chain, "north")
    assert (
        second.ends(),
        "Another flower-client is at work as north on this machine" in second.text,
    ) == (2, True)
    again = start(command, chain)
    assert (again.ends(), "gives it to those that lack it: west" in again.text) == (0, True)

    delivering = command("flower-server", "deliver", out, "--credentials", chain / "server")
    delivering.says("as they come")
    status = command("flower-server", "status", out)
    assert (status.ends(), "Its model goes to the stores that lack it." in status.text) == (0, True)
    twice = command("flower-server", "deliver", out)
    assert (twice.ends(), "already" in twice.text) == (4, True)
    join(command, chain, "west")
    assert delivering.ends() == 0, delivering.text
    taken = home_of("west", tmp_path) / "models" / "shops" / "model.safetensors"
    assert taken.read_bytes() == (out / "model.safetensors").read_bytes()
    assert summary(out)["delivery"]["delivered"] == ["north", "west"]
    after = command("flower-server", "status", out)
    assert (after.ends(), "Finished" in after.text) == (0, True)
    for name in ("north", "south"):
        stores[name].interrupt()
        assert stores[name].ends() in (0, 130)
        assert "Traceback" not in stores[name].text
