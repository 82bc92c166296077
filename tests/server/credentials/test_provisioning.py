"""A chain's credentials: made once, kept private, enrolled once; and what a person is told who
holds them wrong.
"""

import base64
import json
import ssl
import stat
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from fedshelf.client.connection.credentials import new_key
from fedshelf.client.health.evidence.server_probe import proof_of
from fedshelf.client.identity.enrolment import load_or_enrol, membership
from fedshelf.client.identity.home import store_home
from fedshelf.client.main import app as client
from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.enrolment import RefusalReason, enrolment_statement
from fedshelf.common.protocol.kit import Kit
from fedshelf.server.credentials import commands
from fedshelf.server.credentials.authority import (
    RENEWAL_TIME,
    SERVER_LIFETIME,
    Authority,
    certificate_text,
    load_key,
    renew_if_due,
)
from fedshelf.server.credentials.authorizer import Authorizer
from fedshelf.server.credentials.chain import Chain, public_key_text
from fedshelf.server.credentials.rejection_log import MAX_LINES_PER_PERIOD, RejectionLog
from fedshelf.server.credentials.stores import EnrolmentState, NotAdmittedError, StoreRegister, now
from fedshelf.server.main import app as server
from tests.helpers.commands import call
from tests.helpers.provisioned import signed


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain.make(tmp_path / "chain" / "server", "shop.example", 9092)


def modes(place: Path) -> dict[str, int]:
    return {
        str(path.relative_to(place)): stat.S_IMODE(path.stat().st_mode)
        for path in [place, *place.rglob("*")]
    }


def contents(place: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def provision(place: Path, stores: str, **more: bool) -> None:
    commands.provision(
        place, "shop.example", 9092, stores, keys_in_kits=more.get("keys_in_kits", False)
    )


def test_provision_makes_all_that_is_needed_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    place = tmp_path / "chain"
    provision(place, "oslo-7, süd 2")
    found = modes(place)
    assert {
        "server/ca.crt",
        "server/server.crt",
        "server/server.json",
        "kits/oslo-7.kit",
        "kits/süd 2.kit",
    } <= set(found)
    assert [found[name] for name in ("server", "kits")] == [0o700, 0o700]
    private = ("server/ca.key", "server/server.key", "server/stores.json", "kits/oslo-7.kit")
    assert [found[name] for name in private] == [0o600] * 4
    kit = Kit.read(place / "kits" / "oslo-7.kit")
    assert (kit.server, kit.store, kit.private_key) == ("shop.example:9092", "oslo-7", None)
    assert kit.authority == (place / "server" / "ca.crt").read_text()


def test_provision_again_adds_stores_and_touches_nothing_else(tmp_path: Path) -> None:
    place = tmp_path / "chain"
    provision(place, "oslo-7")
    before = contents(place)
    commands.provision(place, None, None, "oslo-7,lyon-2", keys_in_kits=False)
    after = contents(place)
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed == {"stores.json", "lyon-2.kit", "office.json"}
    assert set(Chain.load(place / "server").stores.stores()) == {"oslo-7", "lyon-2"}


def test_a_chain_is_not_made_over_another_nor_half(tmp_path: Path) -> None:
    place = tmp_path / "chain"
    provision(place, "oslo-7")
    before = contents(place)
    with pytest.raises(
        ConfigError,
        match=r"is for the server shop.example:9092, which its kits name; got other:9092",
    ):
        commands.provision(place, "other", 9092, "lyon-2", keys_in_kits=False)
    with pytest.raises(ConfigError, match="differ in case only"):
        provision(place, "Oslo-7")
    assert contents(place) == before
    with pytest.raises(ConfigError, match="--host got 'no host'"):
        commands.provision(tmp_path / "new", "no host", 9092, "a", keys_in_kits=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("host", ["shop.example", "192.0.2.7", "2001:db8::7"])
def test_the_servers_certificate_is_for_its_host_and_this_machine(
    tmp_path: Path, host: str
) -> None:
    chain = Chain.make(tmp_path / "server", host, 1)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain.directory / "server.crt", chain.directory / "server.key")
    for name in (host, "localhost", "127.0.0.1"):
        shake(chain.client_tls(), server, name)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(chain.client_tls(), server, "elsewhere.example")
    strict = chain.client_tls()
    strict.verify_flags |= ssl.VERIFY_X509_STRICT
    shake(strict, server, host)


def shake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> None:
    """A TLS handshake in memory. Raises what the client has against the server."""
    to_server = ssl.MemoryBIO()
    to_client = ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server, server_hostname=name),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(5):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue


def test_a_certificate_is_renewed_before_its_end_and_keeps_its_key(chain: Chain) -> None:
    assert not renew_if_due(chain.directory, chain.hosts)
    key = (chain.directory / "server.key").read_text()
    short = Authority.load(chain.directory).issue(
        chain.hosts, load_key(key), RENEWAL_TIME - timedelta(hours=1)
    )
    (chain.directory / "server.crt").write_text(certificate_text(short))
    assert renew_if_due(chain.directory, chain.hosts)
    left = x509.load_pem_x509_certificate(
        (chain.directory / "server.crt").read_bytes()
    ).not_valid_after_utc
    assert left - datetime.now(UTC) > SERVER_LIFETIME - timedelta(minutes=5)
    assert (chain.directory / "server.key").read_text() == key


def test_kits_and_keys_that_others_can_read_are_refused(chain: Chain) -> None:
    path = chain.write_kit("oslo-7", with_key=True)
    load_or_enrol(Kit.read(path), wait=0)
    path.chmod(0o644)
    with pytest.raises(
        ConfigError, match=rf"mode 644, expected 600\); keep it to yourself: chmod 600 {path}"
    ):
        Kit.read(path)
    path.chmod(0o600)
    (store_home("oslo-7") / "key.pem").chmod(0o640)
    with pytest.raises(ConfigError, match="mode 640, expected 600"):
        load_or_enrol(Kit.read(path), wait=0)
    chain.directory.chmod(0o755)
    with pytest.raises(ConfigError, match="mode 755, expected 700"):
        Chain.load(chain.directory)


@pytest.mark.parametrize(
    "damage", ["", "{}", "[", "nul", "cut", "authority", "both", "address", "name", "large"]
)
def test_a_damaged_kit_is_one_sentence(chain: Chain, damage: str) -> None:
    path = chain.write_kit("oslo-7")
    text = path.read_text()
    kit = Kit.read(path)
    path.write_text({
        "nul": "\0" * 100,
        "cut": text[:-10],
        "authority": text.replace(kit.authority[40:60], kit.authority[60:80]),
        "both": text.replace('"code"', '"private_key": "x", "code"'),
        "address": text.replace("shop.example:9092", "shop.example"),
        "name": text.replace("oslo-7", "../oslo"),
        "large": text + " " * 100_000,
    }.get(damage, damage))  # fmt: skip
    with pytest.raises(ConfigError, match="is not a whole kit") as caught:
        Kit.read(path)
    assert ("too large" in str(caught.value)) == (damage == "large")
    assert ("Store name '../oslo' cannot be used; expected" in str(caught.value)) == (
        damage == "name"
    )
    assert kit.code
    assert kit.code not in str(caught.value)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_a_kit_holds_is_a_kit_or_one_sentence(
    a_kit: bytes, place: Path, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(a_kit)))
    end = data.draw(st.integers(start, min(len(a_kit), start + 40)))
    path = place / "fuzzed.kit"
    path.touch(mode=0o600)
    path.write_bytes(a_kit[:start] + data.draw(st.binary(max_size=40)) + a_kit[end:])
    with suppress(ConfigError):  # nothing else may be raised
        assert Kit.read(path).chain == Kit.read(place / "kits" / "oslo-7.kit").chain


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kits")


@pytest.fixture(scope="module")
def a_kit(place: Path) -> bytes:
    return Chain.make(place / "server", "shop.example", 1).write_kit("oslo-7").read_bytes()


def test_a_store_keeps_to_its_chain(chain: Chain, tmp_path: Path) -> None:
    load_or_enrol(Kit.read(chain.write_kit("oslo-7", with_key=True)), wait=0)
    other = Chain.make(tmp_path / "other" / "server", "other.example", 1)
    before = contents(store_home("oslo-7"))
    with pytest.raises(
        ConfigError, match=rf"belongs to the chain {chain.name} .*, and this kit is of the chain"
    ):
        load_or_enrol(Kit.read(other.write_kit("oslo-7", with_key=True)), wait=0)
    assert contents(store_home("oslo-7")) == before


def test_a_kit_with_a_key_needs_no_enrolment_and_a_new_one_replaces_it(chain: Chain) -> None:
    first = load_or_enrol(Kit.read(chain.write_kit("oslo-7", with_key=True)), wait=0)
    again = load_or_enrol(Kit.read(chain.kit_path("oslo-7")), wait=0)
    second = load_or_enrol(Kit.read(chain.write_kit("oslo-7", with_key=True)), wait=0)
    numbers = [
        each.private_key.private_numbers() for each in (first, again, second) if each.private_key
    ]
    assert numbers[0] == numbers[1] != numbers[2]
    assert {path.name for path in store_home("oslo-7").iterdir()} == {"key.pem", "store.json"}
    assert stat.S_IMODE((store_home("oslo-7") / "key.pem").stat().st_mode) == 0o600
    member = membership(store_home("oslo-7"))
    assert member
    assert (member.chain, member.server) == (chain.name, "shop.example:9092")


def enrol(registry: StoreRegister, code: str, key: str) -> bool | RefusalReason:
    try:
        return registry.enrol("oslo-7", code, key)
    except NotAdmittedError as error:
        return error.reason


def test_a_code_works_once_with_one_key_and_for_its_time(tmp_path: Path) -> None:
    registry = StoreRegister(tmp_path)
    registry.invite("oslo-7", "code-1", now() + timedelta(hours=1))
    assert enrol(registry, "code-2", "key-a") is RefusalReason.CODE
    assert enrol(registry, "code-1", "key-a") is True
    before = registry.path.stat()
    assert enrol(registry, "code-1", "key-a") is False, (
        "the answer got lost: the same again is no harm"
    )
    assert registry.path.stat() == before, "nor work for all who would have to read the file again"
    assert enrol(registry, "code-1", "key-b") is RefusalReason.CODE
    registry.invite("oslo-7", "code-2", now() - timedelta(seconds=1))
    assert enrol(registry, "code-2", "key-b") is RefusalReason.EXPIRED
    assert registry.stores()["oslo-7"].key == "key-a", (
        "an enrolled key stays until another is enrolled"
    )


def as_in(key: str) -> tuple[EnrolmentState, str | None, str | None]:
    """Return the entry of a store that is enrolled with a key, as `standing` tells it."""
    return EnrolmentState.ENROLLED, key, None


def standing(registry: StoreRegister) -> tuple[EnrolmentState, str | None, str | None]:
    entry = registry.stores()["oslo-7"]
    return entry.state, entry.key, entry.next_key


def test_a_key_in_a_kit_replaces_the_one_before_when_it_is_first_used_or_at_once(
    tmp_path: Path,
) -> None:
    registry = StoreRegister(tmp_path)
    registry.admit("oslo-7", "key-a")
    assert standing(registry) == (
        EnrolmentState.INVITED,
        None,
        "key-a",
    ), "nobody has come with it yet"
    registry.use("oslo-7", "key-a")
    assert standing(registry) == as_in("key-a")
    registry.admit("oslo-7", "key-b")
    assert standing(registry) == (EnrolmentState.ENROLLED, "key-a", "key-b")
    registry.admit("oslo-7", "key-c")
    registry.use("oslo-7", "key-b")
    assert standing(registry) == (
        EnrolmentState.ENROLLED,
        "key-a",
        "key-c",
    ), "the second kit is worth nothing any more"
    registry.use("oslo-7", "key-c")
    assert standing(registry) == as_in("key-c")
    registry.admit("oslo-7", "key-d", ends_old_key=True)
    assert standing(registry) == (EnrolmentState.INVITED, None, "key-d")
    registry.use("oslo-7", "key-d")
    registry.invite("oslo-7", "code-1", now() + timedelta(hours=1))
    assert standing(registry) == as_in("key-d")
    registry.invite("oslo-7", "code-2", now() + timedelta(hours=1), ends_old_key=True)
    assert standing(registry) == (EnrolmentState.INVITED, None, None)
    registry.revoke("oslo-7")
    registry.use("oslo-7", "key-d")
    assert registry.stores()["oslo-7"].state is EnrolmentState.REVOKED


def test_a_store_is_deleted_if_it_never_joined_or_is_revoked(tmp_path: Path) -> None:
    provision(tmp_path, "oslo-7,olso-7,lyon-2")
    chain = Chain.load(tmp_path / "server")
    chain.stores.enrol("oslo-7", str(Kit.read(chain.kit_path("oslo-7")).code), "key-a")
    with pytest.raises(
        ConfigError,
        match=r"'oslo-7' has joined with its kit; .* flower-server stores revoke oslo-7",
    ):
        commands.delete(chain.directory, ["olso-7", "oslo-7"])
    assert set(chain.stores.stores()) == {"oslo-7", "olso-7", "lyon-2"}
    commands.delete(chain.directory, ["olso-7"])
    assert set(chain.stores.stores()) == {"oslo-7", "lyon-2"}
    assert not chain.kit_path("olso-7").exists()
    chain.stores.revoke("oslo-7")
    commands.delete(chain.directory, ["oslo-7"])
    with pytest.raises(ConfigError, match="There is no store 'oslo-7'; the chain has lyon-2"):
        commands.delete(chain.directory, ["oslo-7"])


def test_a_revoked_store_that_comes_with_its_code_is_told_so(tmp_path: Path) -> None:
    registry = StoreRegister(tmp_path)
    registry.invite("oslo-7", "code-1", now() + timedelta(hours=1))
    registry.revoke("oslo-7")
    assert enrol(registry, "code-1", "key-a") is RefusalReason.REVOKED
    assert enrol(registry, "code-2", "key-a") is RefusalReason.CODE, "a stranger is told nothing"


@pytest.mark.parametrize("text", ["", "{", '{"stores": {"oslo-7": {"state": "unheard-of"}}}', "[]"])
def test_a_damaged_list_of_stores_is_one_sentence_before_anything_starts(
    chain: Chain, text: str
) -> None:
    guard = Authorizer(chain)
    chain.stores.admit("oslo-7", public_key_text(new_key().public_key()))
    chain.stores.path.write_text(text)
    sentence = rf"^{chain.stores.path} is damaged \(\d errors?\); restore it from a backup\.$"
    with pytest.raises(ConfigError, match=sentence):
        Chain.load(chain.directory)
    assert guard.refusal("192.0.2.1", {}) is RefusalReason.UNKNOWN_KEY, "a running door goes on"


Steps = st.lists(
    st.tuples(st.sampled_from(["invite", "revoke", "enrol"]), st.integers(0, 3), st.integers(0, 3))
)


@given(Steps)
@settings(max_examples=60, deadline=None)
def test_whatever_is_done_only_the_latest_code_lets_in_and_only_one_key(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[str, int, int]]
) -> None:
    registry = StoreRegister(tmp_path_factory.mktemp("chain"))
    latest = ""
    used = dict[str, str]()
    for count, (step, code, key) in enumerate(steps):
        if step == "invite":
            latest = f"code-{count}"
            registry.invite("oslo-7", latest, now() + timedelta(hours=1))
        elif step == "revoke" and registry.stores():
            registry.revoke("oslo-7")
            latest = ""
        elif step == "enrol":
            asked = latest if code else f"code-{code}-other"
            before = registry.stores()
            if isinstance(enrol(registry, asked, f"key-{key}"), RefusalReason):
                assert registry.stores() == before
            else:
                assert asked == latest != ""
                assert used.setdefault(asked, f"key-{key}") == f"key-{key}"
                assert registry.stores()["oslo-7"].key == f"key-{key}"


def test_enrolment_needs_proof_of_the_key(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    kit = Kit.read(chain.write_kit("oslo-7"))
    key = new_key()
    guard = Authorizer(chain)
    assert kit.code
    form = (serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    public = key.public_key().public_bytes(*form).decode()
    statements = {
        "another code": enrolment_statement(kit.chain, kit.store, "another", public),
        "another chain": enrolment_statement("other", kit.store, kit.code, public),
        "right": enrolment_statement(kit.chain, kit.store, kit.code, public),
    }
    answers = {}
    for signer, words in [
        (new_key(), "right"),
        (key, "another code"),
        (key, "another chain"),
        (key, "right"),
    ]:
        signature = base64.b64encode(
            signer.sign(statements[words], ec.ECDSA(hashes.SHA256()))
        ).decode()
        body = {"store": "oslo-7", "code": kit.code, "public_key": public, "signature": signature}
        answers[signer is key, words] = guard.enrol("192.0.2.1", json.dumps(body).encode())
    assert answers.pop((True, "right")) is None
    assert set(answers.values()) == {RefusalReason.MALFORMED}
    assert (
        "192.0.2.1: not a request to enrol, or no proof that the key is its own"
        in capsys.readouterr().out
    )


def test_only_who_has_a_kit_of_the_chain_is_told_its_classes(chain: Chain) -> None:
    with_code = Kit.read(chain.write_kit("oslo-7"))
    with_key = Kit.read(chain.write_kit("lyon-2", with_key=True))
    answers = {}
    for name, body in {
        "code": proof_of(with_code),
        "key": proof_of(with_key),
        "wrong code": json.dumps({"store": "oslo-7", "code": "x" * 40}).encode(),
        "another's code": json.dumps({"store": "lyon-2", "code": with_code.code}).encode(),
        "another's key": proof_of(with_key.model_copy(update={"store": "oslo-7"})),
        "no store": json.dumps({"store": "nobody", "code": with_code.code}).encode(),
        "nothing": b"{}",
        "an old moment": (
            json.dumps(
                json.loads(proof_of(with_key)) | {"moment": "2020-01-01T00:00:00+00:00"}
            ).encode()
        ),
        "no moment": json.dumps(json.loads(proof_of(with_key)) | {"moment": "now"}).encode(),
    }.items():
        answers[name] = Authorizer(chain).refusal_of_kit("192.0.2.1", body)
    assert [name for name, reason in answers.items() if reason is None] == ["code", "key"]
    assert set(answers.values()) == {None, RefusalReason.CODE}
    guard = Authorizer(chain)
    chain.stores.revoke("oslo-7")
    assert guard.refusal_of_kit("192.0.2.1", proof_of(with_code)) is RefusalReason.REVOKED
    wrong = json.dumps({"store": "oslo-7", "code": "x" * 40}).encode()
    assert [guard.refusal_of_kit("192.0.2.1", wrong) for _ in range(6)] == [
        RefusalReason.CODE
    ] * 5 + [RefusalReason.SLOW_DOWN]


def test_the_key_of_a_new_kit_is_taken_up_by_who_has_it_only(chain: Chain) -> None:
    old = Kit.read(chain.write_kit("oslo-7", with_key=True))
    guard = Authorizer(chain)
    first = key_in(old)
    second = key_in(Kit.read(chain.write_kit("oslo-7", with_key=True)))
    assert guard.refusal("192.0.2.1", signed(first, first)) is RefusalReason.UNKNOWN_KEY, (
        "that kit was never used"
    )
    assert guard.refusal("192.0.2.1", signed(second, second)) is None
    chain.write_kit("oslo-7", with_key=True)
    third = key_in(Kit.read(chain.kit_path("oslo-7")))
    assert guard.refusal("192.0.2.1", signed(first, third)) is RefusalReason.UNKNOWN_KEY, (
        "named, but not had"
    )
    assert guard.refusal("192.0.2.1", signed(second, second)) is None, "the old key goes on"
    assert guard.refusal("192.0.2.1", signed(third, third)) is None
    assert guard.refusal("192.0.2.1", signed(second, second)) is RefusalReason.UNKNOWN_KEY


def key_in(kit: Kit) -> ec.EllipticCurvePrivateKey:
    return load_key(str(kit.private_key))


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Authorizer:
    return Authorizer(Chain.make(tmp_path_factory.mktemp("fuzz") / "server", "shop.example", 1))


@given(
    st.binary(max_size=300)
    | st.dictionaries(st.text(), st.text()).map(lambda told: json.dumps(told).encode())
)
@settings(max_examples=100, deadline=None)
def test_no_body_harms_the_door(guard: Authorizer, body: bytes) -> None:
    assert guard.enrol("192.0.2.1", body) in (RefusalReason.MALFORMED, RefusalReason.SLOW_DOWN)
    assert guard.refusal_of_kit("192.0.2.2", body) in (RefusalReason.CODE, RefusalReason.SLOW_DOWN)


def test_the_log_of_refusals_is_no_flood(capsys: pytest.CaptureFixture[str]) -> None:
    log = RejectionLog()
    for number in range(3 * MAX_LINES_PER_PERIOD):
        log.tell("192.0.2.1", "again and again")
        log.tell(f"192.0.2.{number}", "many")
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "again and again" in line]) == 1
    assert len(lines) == MAX_LINES_PER_PERIOD


def test_commands_say_what_is_wrong(tmp_path: Path) -> None:
    mistakes = {
        ("flower-server", "provision", "--stores", "a", "--out", "new"): "A new chain needs --host",
        (
            "flower-server",
            "start",
            "--credentials",
            "nowhere",
        ): "holds no credentials; expected the folder DIR/server",
        ("flower-server", "start"): "Choose how stores join: --credentials DIR/server",
        (
            "flower-server",
            "start",
            "--insecure",
            "--host",
            "0.0.0.0",
        ): "plain HTTP is served on 127.0.0.1 only",
        (
            "flower-client",
            "join",
            "--data",
            ".",
        ): "Join with the kit that the chain made for this store",
        (
            "flower-client",
            "join",
            "--data",
            ".",
            "--kit",
            "no.kit",
        ): "There is no kit no.kit; expected the file",
    }
    for arguments, words in mistakes.items():
        command, *more = [
            tmp_path / each if each in ("new", "nowhere") else each for each in arguments
        ]
        done = call(client if command == "flower-client" else server, *more)
        assert done.returncode == 2
        assert words in done.stderr
        assert (done.stdout, done.stderr.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == []


def test_stores_are_listed_revoked_and_renewed(tmp_path: Path) -> None:
    provision(tmp_path, "oslo-7,lyon-2")
    credentials = ("--credentials", tmp_path / "server")
    assert call(server, "stores", "revoke", "lyon-2", *credentials).returncode == 0
    before = contents(tmp_path)
    refused = call(server, "stores", "renew", "oslo-7", "rome", *credentials)
    assert refused.returncode == 2
    assert refused.stderr == "Error: There is no store 'rome'; the chain has lyon-2, oslo-7.\n"
    assert contents(tmp_path) == before
    listed = call(server, "stores", "list", *credentials)
    assert listed.returncode == 0
    rows = {line.split()[0]: line.split()[1] for line in listed.stdout.splitlines()}
    assert (rows["lyon-2"], rows["oslo-7"]) == ("revoked", "invited")
    renewed = call(server, "stores", "renew", "lyon-2", *credentials)
    assert renewed.returncode == 0
    assert renewed.stdout.endswith("lyon-2.kit.\n"), (
        "a revoked store has no key that would go on working"
    )
    registry = StoreRegister(tmp_path / "server")
    assert registry.stores()["lyon-2"].state is EnrolmentState.INVITED
    registry.enrol("oslo-7", str(Kit.read(tmp_path / "kits" / "oslo-7.kit").code), "key-a")
    told = {
        "": "The key that the store has now works until this kit is first used.",
        "--now": "does not work any more.",
    }
    for flag, words in told.items():
        renewed = call(server, "stores", "renew", "oslo-7", *credentials, *filter(None, [flag]))
        assert renewed.returncode == 0
        assert renewed.stdout.endswith(f"{words}\n")
        assert (registry.stores()["oslo-7"].key is None) == bool(flag)
