"""The public port of a provisioned server: its answers, and who is turned away, with what
words.
"""

import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from flwr.common.constant import SYSTEM_TIME_TOLERANCE, TIMESTAMP_TOLERANCE
from flwr.superlink.main import create_app

from fedshelf.client.connection.credentials import Credentials, new_key
from fedshelf.client.connection.errors import UnknownStoreError
from fedshelf.client.connection.fleet import FleetConnection
from fedshelf.client.connection.signing import Signer
from fedshelf.client.identity.enrolment import enrolment_request, load_or_enrol
from fedshelf.client.identity.home import store_home
from fedshelf.common.errors import RefusedError
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.common.protocol.enrolment import ENROL_PATH, REASON_HEADER
from fedshelf.common.protocol.kit import Kit, chain_id
from fedshelf.common.system.files import write_private
from fedshelf.server.credentials.authority import Authority, key_text
from fedshelf.server.credentials.authorizer import MAX_SECONDS_AHEAD, MAX_SECONDS_BEHIND
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.sessions import read_sessions
from fedshelf.server.gateway.proxy import FLEET_CALLS
from fedshelf.server.launcher.flower_server import FlowerServer
from fedshelf.server.main import app
from tests.helpers.commands import call
from tests.helpers.deployed import wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.provisioned import (
    PROTOBUF,
    Quiet,
    client_of,
    running,
    signed,
    status_without_words,
)

STORES = ("oslo-7", "lyon-2", "süd 2", "rome", "bonn")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("reach")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FEDSHELF_HOME", str(place / "state"))
        # nobody: what stays on this machine goes through none
        environment.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        yield place


@pytest.fixture(scope="module")
def started(place: Path) -> Iterator[tuple[Chain, FlowerServer]]:
    with running(place, *STORES) as started:
        yield started


@pytest.fixture(scope="module")
def chain(started: tuple[Chain, FlowerServer]) -> Chain:
    return started[0]


@pytest.fixture(scope="module")
def flower(started: tuple[Chain, FlowerServer]) -> FlowerServer:
    return started[1]


@pytest.fixture(scope="module")
def oslo(chain: Chain, place: Path) -> Credentials:
    """A store that is enrolled and registered."""
    credentials = load_or_enrol(Kit.read(chain.kit_path("oslo-7")), wait=30)
    wait_for(lambda: "oslo-7" in nodes(place).values())
    return credentials


def nodes(place: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((place / "flower" / "nodes.json").read_text())
    return found


def door_log(place: Path) -> str:
    return (place / "flower" / "door.log").read_text()


def served() -> list[tuple[str, str]]:
    """Method and path of all that a SuperLink serves, in this version of Flower."""
    app = create_app()
    routes = [context.route for context in iter_route_contexts(app.routes)]
    found = [
        (method, route.path)
        for route in routes
        for method in getattr(route, "methods", None) or ["GET"]
    ]
    return [(method, path.replace("{", "").replace("}", "")) for method, path in found]


def test_flower_serves_what_this_test_believes() -> None:
    paths = {path for _, path in served()}
    assert {f"/v1/fleet/{call}" for call in FLEET_CALLS} == {
        path for path in paths if path.startswith("/v1/fleet/")
    }
    assert {
        "/docs",
        "/openapi.json",
        "/health",
        "/v1/control/start-run",
        "/v1/runtime/acquire-task",
    } <= paths
    assert any(
        isinstance(context.route, APIRoute) for context in iter_route_contexts(create_app().routes)
    )
    assert (MAX_SECONDS_AHEAD, MAX_SECONDS_BEHIND) == (
        SYSTEM_TIME_TOLERANCE,
        TIMESTAMP_TOLERANCE + SYSTEM_TIME_TOLERANCE,
    )


@pytest.mark.parametrize("who", ["anonymous", "enrolled"])
def test_of_flower_only_the_calls_of_stores_are_reachable(who: str, oslo: Credentials) -> None:
    assert oslo.private_key
    with client_of(oslo) as client:
        for method, path in served():
            headers = PROTOBUF | (
                signed(oslo.private_key, oslo.private_key) if who == "enrolled" else {}
            )
            status = client.request(method, path, content=b"", headers=headers).status_code
            if (method, path) == ("GET", "/health"):
                assert status == 200
            elif not path.startswith("/v1/fleet/"):
                assert status == 404, (method, path)
            elif who == "anonymous":
                assert status == 403, (method, path)
            else:
                assert status not in (403, 404), (method, path)


def test_no_path_that_looks_like_a_stores_call_is_another(
    flower: FlowerServer, chain: Chain, oslo: Credentials
) -> None:
    assert oslo.private_key
    for path in (
        "/v1/fleet/../control/start-run",
        "/v1/fleet/%2e%2e/control/start-run",
        "//v1/control/start-run",
    ):
        headers = PROTOBUF | signed(oslo.private_key, oslo.private_key)
        assert (
            status_without_words(flower.address.port, chain.client_tls(), "POST", path, headers)
            == 404
        )


def test_a_key_that_is_claimed_but_not_had_is_refused(oslo: Credentials, place: Path) -> None:
    assert oslo.private_key
    with client_of(oslo) as client:
        answer = client.post(
            "/v1/fleet/pull-messages", headers=PROTOBUF | signed(new_key(), oslo.private_key)
        )
    assert answer.status_code == 401
    wait_for(lambda: "127.0.0.1: store oslo-7: not signed with its key" in door_log(place))


def test_a_key_that_nobody_enrolled_is_refused_for_good(oslo: Credentials, place: Path) -> None:
    stranger = Credentials(oslo.server, oslo.root_certificates, new_key())
    with (
        pytest.raises(RefusedError, match="does not know this store's key"),
        FleetConnection(stranger, Quiet(), deadline=0),
    ):
        pass
    wait_for(
        lambda: "127.0.0.1: a key that no store of this chain is enrolled with" in door_log(place)
    )


def test_a_wrong_clock_is_named(oslo: Credentials, place: Path) -> None:
    assert oslo.private_key
    with client_of(oslo) as client:
        for ahead in (MAX_SECONDS_AHEAD + 2, -MAX_SECONDS_BEHIND - 2):
            headers = PROTOBUF | signed(oslo.private_key, oslo.private_key, ahead)
            answer = client.post("/v1/fleet/pull-messages", headers=headers)
            assert (answer.status_code, answer.headers[REASON_HEADER]) == (401, "clock")
            assert len(answer.headers.get_list("date")) == 1
    wait_for(lambda: "127.0.0.1: store oslo-7: its clock is +7 s off" in door_log(place))


@pytest.mark.parametrize("ahead", [3600.0, -3600.0, 30.0])
def test_a_store_with_a_wrong_clock_joins_by_the_servers(oslo: Credentials, ahead: float) -> None:
    line = FleetConnection(oslo, Quiet(), deadline=time.monotonic() + 8)
    (signer,) = [each for each in line._client._interceptors if isinstance(each, Signer)]
    # so it takes a clock that is right for one that is `ahead`
    signer._clock_error = timedelta(seconds=-ahead)
    with line:
        assert list(line.receive() or []) == []
    assert abs(signer._clock_error) < timedelta(seconds=3)


def test_a_store_whose_answer_got_lost_enrols_again_with_the_same_key(
    chain: Chain, oslo: Credentials
) -> None:
    kit = Kit.read(chain.kit_path("rome"))
    home = store_home("rome")
    key = new_key()
    write_private(home / f"key-{kit.invitation}.pem", key_text(key))
    with client_of(oslo) as client:  # this much happened before the power went
        assert (
            client.post(ENROL_PATH, json=enrolment_request(kit, str(kit.code), key)).status_code
            == 204
        )
    again = load_or_enrol(kit, wait=30)
    assert again.private_key
    assert again.private_key.private_numbers() == key.private_numbers()
    assert {path.name for path in home.iterdir()} == {"key.pem", "store.json"}


def test_a_client_without_tls_is_refused_and_logged(
    flower: FlowerServer, oslo: Credentials, place: Path
) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.post(f"http://localhost:{flower.address.port}{ENROL_PATH}", content=b"{}")
    wait_for(lambda: "127.0.0.1: it spoke plain HTTP, not TLS" in door_log(place))
    with socket.create_connection(("127.0.0.1", flower.address.port)) as connection:
        connection.sendall(b"\x00" * 64)
        assert b"HTTP" not in connection.recv(1000)
    wait_for(lambda: "127.0.0.1: it does not speak TLS as this server does" in door_log(place))
    with client_of(oslo) as client:
        assert client.get("/health").status_code == 200


def test_a_kit_of_another_chain_reaches_nobody(oslo: Credentials, place: Path) -> None:
    elsewhere = Authority.new("another chain").text.encode()
    with (
        pytest.raises(Exception, match="its certificate is not from the chain that made this kit"),
        FleetConnection(Credentials(oslo.server, elsewhere, oslo.private_key), Quiet(), deadline=0),
    ):
        pass
    wait_for(lambda: "127.0.0.1: it does not trust this server's certificate" in door_log(place))


def test_a_revoked_store_is_out_at_once_and_the_others_are_not(
    chain: Chain, oslo: Credentials, place: Path
) -> None:
    lyon = load_or_enrol(Kit.read(chain.kit_path("lyon-2")), wait=30)
    with FleetConnection(oslo, Quiet(), deadline=float("inf")) as line:
        with FleetConnection(lyon, Quiet(), deadline=float("inf")) as other:
            wait_for(lambda: set(nodes(place).values()) >= {"oslo-7", "lyon-2"})
            assert list(other.receive() or []) == []
            chain.stores.revoke("lyon-2")
            with pytest.raises(RefusedError, match="the chain has revoked this store"):
                other.receive()
        assert list(line.receive() or []) == []
    wait_for(lambda: "lyon-2" not in nodes(place).values())
    assert "oslo-7" in nodes(place).values()
    told = json.loads((place / "flower" / "revoked.json").read_text())
    assert told == {"lyon-2": chain.stores.stores()["lyon-2"].since.timestamp()}, (
        "what page and status show"
    )
    wait_for(lambda: "127.0.0.1: store lyon-2 is revoked" in door_log(place))
    with pytest.raises(
        RefusedError,
        match="The server does not let this store in: the chain has revoked this store",
    ):
        FleetConnection(lyon, Quiet(), deadline=0).__enter__()


def test_a_new_kit_replaces_the_key_when_it_is_used(chain: Chain, place: Path) -> None:
    first = load_or_enrol(Kit.read(chain.kit_path("süd 2")), wait=30)
    chain.write_kit("süd 2")
    with FleetConnection(first, Quiet(), deadline=float("inf")):
        pass
    second = load_or_enrol(Kit.read(chain.kit_path("süd 2")), wait=30)
    with FleetConnection(second, Quiet(), deadline=float("inf")) as line:
        wait_for(lambda: nodes(place).get(str(line.node_id)) == "süd 2")
    with pytest.raises(RefusedError, match="does not know this store's key"):
        FleetConnection(first, Quiet(), deadline=0).__enter__()
    kit = Kit.read(chain.write_kit("süd 2", with_key=True))
    with FleetConnection(second, Quiet(), deadline=float("inf")) as line:
        with FleetConnection(load_or_enrol(kit, wait=30), Quiet(), deadline=float("inf")) as newest:
            wait_for(lambda: nodes(place).get(str(newest.node_id)) == "süd 2")
        with pytest.raises(RefusedError, match="does not know this store's key"):
            line.receive()


@pytest.mark.slow(minutes=0.5)
def test_a_person_is_told_when_the_home_is_a_copy_and_when_the_store_is_revoked(
    chain: Chain, place: Path, command: Starter, folders: dict[str, Path]
) -> None:
    """Of two with one home the first goes on, and its restart is no copy."""
    home = place / "state"
    copy = place / "copied"
    join = (
        "flower-client",
        "join",
        "--kit",
        chain.write_kit("bonn", with_key=True),
        "--data",
        folders["ost"],
    )
    command.environment = command.environment | {"FEDSHELF_HOME": str(home)}
    first = command(*join)
    first.says("Joined; waiting for work.")
    shutil.copytree(home, copy)
    command.environment = command.environment | {"FEDSHELF_HOME": str(copy)}
    second = command(*join)
    second.says("another flower-client with this store's key was at work seconds ago")
    assert second.ends() == RefusedError.exit_code == 7
    assert "The other one came first and goes on; this one ends." in second.lines[-1]
    assert first.process.poll() is None
    noted = "127.0.0.1: store bonn: a second machine, or a copy of its home,"
    wait_for(lambda: f"{noted} has its key" in door_log(place))
    wait_for(lambda: read_sessions(chain.sessions)["bonn"].refused)
    listed = call(app, "stores", "list", "--credentials", chain.directory)
    assert listed.returncode == 0, listed.stderr
    assert "bonn: a second machine, or a copy of its home, came with its key until" in listed.stdout

    first.kill()
    command.environment = command.environment | {"FEDSHELF_HOME": str(home)}
    again = command(*join)
    again.says("Joined; waiting for work.")
    chain.stores.revoke("bonn")
    assert again.ends() == 7
    assert (
        again.lines[-1]
        == "Error: The server does not let this store in: the chain has revoked this store. "
        "If that is a mistake, ask for a new kit."
    )


def test_a_store_that_was_killed_is_back_before_the_server_misses_it(oslo: Credentials) -> None:
    killed = FleetConnection(oslo, Quiet(), deadline=float("inf"))
    killed.__enter__()
    # the server would miss it after 20 s
    with FleetConnection(oslo, Quiet(), deadline=time.monotonic() + 8) as line:
        assert line.node_id == killed.node_id
    killed.__exit__(None, None, None)


def test_a_clerk_that_dies_before_it_notes_the_answer_finds_out(
    flower: FlowerServer, oslo: Credentials, place: Path
) -> None:
    assert oslo
    before = nodes(place)
    registrations = place / "flower" / "registrations.json"
    clerk = flower.children.process_groups()["clerk"]
    os.kill(clerk, signal.SIGKILL)
    os.waitid(os.P_PID, clerk, os.WEXITED | os.WNOWAIT)
    noted = json.loads(registrations.read_text())
    number = next(number for number, node in noted["nodes"].items() if node["store"] == "oslo-7")
    noted["pending"] = [noted["nodes"].pop(number)]
    registrations.write_text(json.dumps(noted))
    assert flower.restart_dead() == ["clerk"]
    wait_for(lambda: json.loads(registrations.read_text())["pending"] == [])
    wait_for(lambda: nodes(place) == before)


def test_a_store_hears_from_the_door_where_the_server_moves(
    chain: Chain, oslo: Credentials
) -> None:
    before = oslo.known_addresses.all
    there = (Endpoint("127.0.0.1", chain.port), Endpoint("new.example", 9443))
    with FleetConnection(oslo, Quiet(), deadline=float("inf")) as line:
        assert oslo.known_addresses.all == before
        chain.move(there)
        # with the next heartbeat
        wait_for(lambda: oslo.known_addresses.all == (*map(str, there), *before))
        assert list(line.receive() or []) == []
    again = load_or_enrol(Kit.read(chain.kit_path("oslo-7")), wait=0)
    assert again.server == f"127.0.0.1:{chain.port}"
    with FleetConnection(again, Quiet(), deadline=float("inf")) as line:
        assert list(line.receive() or []) == []


def test_codes_and_keys_are_in_no_log(chain: Chain, place: Path) -> None:
    secret = [Kit.read(path).code for path in (chain.directory.parent / "kits").glob("*.kit")]
    logs = "".join(path.read_text() for path in (place / "flower").glob("*.log"))
    assert len(secret) == len(STORES)
    assert not [code for code in secret if code and code in logs]
    assert "PRIVATE KEY" not in logs


def test_wrong_codes_are_taken_a_few_times_only(oslo: Credentials) -> None:
    assert oslo.private_key
    assert oslo.root_certificates
    authority = oslo.root_certificates.decode()
    guess = Kit(
        chain=chain_id(authority),
        server=oslo.server,
        authority=authority,
        store="lyon-2",
        code="x" * 43,
    )
    with client_of(oslo) as client:
        answers = [
            client.post(ENROL_PATH, json=enrolment_request(guess, "x" * 43, new_key()))
            for _ in range(7)
        ]
    reasons = [answer.headers[REASON_HEADER] for answer in answers]
    assert reasons[0] == "code"
    assert reasons[-1] == "slow-down"
    assert {answer.status_code for answer in answers} == {403}


@pytest.mark.slow(minutes=0.5)
def test_stores_are_let_in_again_after_the_server_was_started_afresh(
    tmp_path: Path, place: Path
) -> None:
    assert place, "the state of this test's stores is kept there"
    with running(tmp_path, "kiel") as (chain, flower):
        kiel = load_or_enrol(Kit.read(chain.kit_path("kiel")), wait=30)
        line = FleetConnection(kiel, Quiet(), deadline=float("inf"))
        line.__enter__()
    with FlowerServer(tmp_path / "flower", flower.address, chain) as flower:
        with pytest.raises(UnknownStoreError):
            line.receive()
        with FleetConnection(kiel, Quiet(), deadline=float("inf")) as again:
            assert again.node_id != line.node_id
            assert nodes(tmp_path) == {str(again.node_id): "kiel"}
            os.kill(superlink := flower.children.process_groups()["superlink"], signal.SIGKILL)
            os.waitid(os.P_PID, superlink, os.WEXITED | os.WNOWAIT)
            assert flower.restart_dead() == ["superlink"]
            assert list(again.receive() or []) == []
            assert nodes(tmp_path) == {str(again.node_id): "kiel"}
