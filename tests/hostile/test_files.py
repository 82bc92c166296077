"""Whatever a file holds, it is read or refused with one sentence; nothing else is raised, and
nothing is run.
"""

import io
import json
import tomllib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from fedshelf.client.audit import AuditLog, AuditNote, verify
from fedshelf.client.audit.verify import entries
from fedshelf.client.health.evidence.label_errors import load as load_model
from fedshelf.client.health.folder_summary import summarize_folder
from fedshelf.client.identity.enrolment import load_key, membership
from fedshelf.client.policy.budgets import Spent, Usage
from fedshelf.client.policy.policy import Policy, load_policy, policy_template
from fedshelf.client.session.bundle import check_bundle
from fedshelf.client.worker.frozen_cache import FrozenCache
from fedshelf.client.worker.state_store import StateStore
from fedshelf.common.config import RunConfig, from_toml, resolve, to_toml
from fedshelf.common.errors import ConfigError, FedshelfError
from fedshelf.common.images.decoding.decode import NotUsableError, PixelFormat, decode
from fedshelf.common.images.folder.scan import scan
from fedshelf.common.models.spec import ModelSpec
from fedshelf.common.models.weights import read_weights
from fedshelf.common.protocol.kit import Kit
from fedshelf.common.protocol.serialization import frozen_sha256
from fedshelf.common.system.files import write_private
from fedshelf.server.credentials.authority import key_text
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.stores import StoreRegister
from fedshelf.server.monitor.page import PageView
from fedshelf.server.monitor.prometheus import exposition
from fedshelf.server.monitor.reader import RunReader
from fedshelf.server.results.checkpoints import Checkpoints, TrainingState
from fedshelf.server.results.run_directory import RunDirectory
from tests.helpers import heic
from tests.helpers.bundles import packed
from tests.helpers.by_hand import order_of
from tests.helpers.damage import DEEP, NESTED, altered, as_json, decodes, examples, spoiled
from tests.helpers.live_runs import LiveRun


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(scope="module")
def chain(place: Path) -> Chain:
    chain = Chain.make(place / "chain" / "server", "localhost", 9092)
    chain.write_kit("oslo")
    chain.write_kit("lyon", with_key=True)
    return chain


KEY = key_text(ec.generate_private_key(ec.SECP256R1())).encode()


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def of_json(data: st.DataObject, content: bytes) -> bytes:
    """Spoiled as bytes, or as a document."""
    as_bytes = data.draw(st.booleans())
    return (
        data.draw(spoiled(content))
        if as_bytes
        else as_json(data.draw(altered(json.loads(content))))
    )


@given(data=st.data())
@examples(40)
def test_kits(chain: Chain, place: Path, data: st.DataObject) -> None:
    kit = data.draw(st.sampled_from(("oslo", "lyon")))
    path = put(place / "a.kit", of_json(data, chain.kit_path(kit).read_bytes()))
    assert isinstance(decodes(lambda: Kit.read(path)), Kit | ConfigError)


@given(data=st.data())
@examples(40)
def test_what_a_store_remembers_of_its_chain(place: Path, data: st.DataObject) -> None:
    member = {
        "chain": "a",
        "server": "b:1",
        "authority": "c",
        "store": "d",
        "invitation": "e",
        "since": "2026-01-01T00:00Z",
    }
    put(place / "store.json", of_json(data, json.dumps(member).encode()))
    decodes(lambda: membership(place))


@given(data=st.data())
@examples(20)
def test_keys(place: Path, data: st.DataObject) -> None:
    path = put(place / "key.pem", data.draw(spoiled(KEY)))
    assert isinstance(decodes(lambda: load_key(path)), ec.EllipticCurvePrivateKey | ConfigError)


@given(data=st.data())
@examples(40)
def test_registries(chain: Chain, place: Path, data: st.DataObject) -> None:
    copy = place / "copy"
    copy.mkdir(mode=0o700, exist_ok=True)
    for name in ("ca.crt", "ca.key", "server.crt", "server.key", "server.json", "stores.json"):
        write_private(copy / name, (chain.directory / name).read_text())
    which = data.draw(st.sampled_from(("server.json", "stores.json", "ca.crt")))
    content = (chain.directory / which).read_bytes()
    put(copy / which, data.draw(spoiled(content)) if which == "ca.crt" else of_json(data, content))
    decodes(lambda: Chain.load(copy).name)
    decodes(lambda: StoreRegister(copy).stores())


def test_an_authority_with_bytes_that_are_no_text_behind_it(chain: Chain, place: Path) -> None:
    copy = place / "copy"
    copy.mkdir(mode=0o700, exist_ok=True)
    write_private(copy / "server.json", (chain.directory / "server.json").read_text())
    put(copy / "ca.crt", (chain.directory / "ca.crt").read_bytes() + b"\xff")
    with pytest.raises(ConfigError, match="damaged"):
        Chain.load(copy)


@given(data=st.data())
@examples(50)
def test_policies(place: Path, data: st.DataObject) -> None:
    text = policy_template()
    if data.draw(st.booleans()):
        odd = data.draw(altered(tomllib.loads(text)))
        content = _toml(odd)
    else:
        content = data.draw(spoiled(text.encode()))
    path = put(place / "policy.toml", content)
    assert isinstance(decodes(lambda: load_policy(path)), Policy | ConfigError)


@given(data=st.data())
@examples(50)
def test_settings_of_a_run(place: Path, data: st.DataObject) -> None:
    text = to_toml(RunConfig())
    content = (
        _toml(data.draw(altered(tomllib.loads(text))))
        if data.draw(st.booleans())
        else data.draw(spoiled(text.encode()))
    )
    path = put(place / "config.toml", content)
    assert isinstance(decodes(lambda: resolve(from_toml(path))), RunConfig | FedshelfError)
    decodes(lambda: RunDirectory.stored(place, {}))


@given(data=st.data())
@examples(20)
def test_audit_logs(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    with AuditLog(path) as log:
        for round in range(3):
            log.record(AuditNote("received", "train", "run", round, 9, "0" * 64, "x"))
    which = data.draw(st.sampled_from((path, path.with_suffix(".head"))))
    before = which.read_bytes()
    put(which, data.draw(spoiled(before)))
    is_changed = which.read_bytes() != before
    assert (verify(path).fault != "") == is_changed or which.suffix == ".head" or not is_changed
    assert len(list(entries(path))) <= 100
    with AuditLog(path) as log:
        log.record(AuditNote("sent", "update"))
    assert list(entries(path))[-1].event == "sent"


@given(data=st.data())
@examples(26)
def test_budgets(place: Path, data: st.DataObject) -> None:
    content = of_json(data, json.dumps({"2026-11-22": asdict(Spent(1, 2, 3.0, 4, 5))}).encode())
    path = put(place / "usage.json", content)
    assert isinstance(decodes(lambda: Usage(path).today()), Spent | ConfigError)
    decodes(lambda: Usage(path).add(Spent(1)))


@given(spoiled(packed(), packed(evil__py=b"import os")))
@examples(66)
def test_bundles(content: bytes) -> None:
    decodes(lambda: check_bundle(content))


def _checkpoint() -> bytes:
    return save(
        {"params": torch.ones(4), "strategy.m": torch.ones(4)},
        {
            "state": json.dumps(
                {"round": 1, "best": None, "stale": 0, "totals": {}, "record": {"round": 1}}
            )
        },
    )


@given(data=st.data())
@examples(40)
def test_checkpoints(place: Path, data: st.DataObject) -> None:
    content = data.draw(
        st.one_of(spoiled(_checkpoint()), safetensors({"params": torch.ones(4)}, "state"))
    )
    put(place / "round-000001.safetensors", content)
    assert isinstance(decodes(lambda: Checkpoints(place, 3).load(1)), TrainingState | FedshelfError)


@st.composite
def safetensors(draw: st.DrawFn, tensors: dict[str, torch.Tensor], key: str) -> bytes:
    """Tensors with metadata that may be anything."""
    told = draw(
        altered(
            {"round": 1, "best": {"round": 1}, "totals": {"images": 1}, "record": {}, "stale": 0}
        )
    )
    return save(tensors, {key: as_json(told).decode(errors="replace")})


@given(data=st.data())
@examples(20)
def test_models(place: Path, data: st.DataObject) -> None:
    spec = {
        "name": "niid-cnn",
        "classes": ["a", "b"],
        "image_size": 16,
        "channels": 3,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    told = as_json(
        data.draw(altered({**spec, "norm": "default", "dropout": 0.0, "freeze": "none"}))
    ).decode()
    whole = save({"fc.weight": torch.ones(4)}, {"spec": told})
    path = put(place / "model.safetensors", data.draw(st.one_of(st.just(whole), spoiled(whole))))
    decodes(lambda: load_model(path))
    decodes(lambda: read_weights(path))


@given(data=st.data())
@examples(26)
def test_kept_parameters_and_states(place: Path, data: st.DataObject) -> None:
    spec = ModelSpec("cnn", ("boot", "hat"), 32, 3, (0.5,) * 3, (0.25,) * 3)
    vector = torch.ones(9)
    sha256 = frozen_sha256(vector)
    cache = FrozenCache(place / "frozen")
    cache.put(sha256, vector)
    put(place / "frozen" / f"{sha256}.safetensors", data.draw(spoiled(save({"frozen": vector}))))
    found = FrozenCache(place / "frozen").get(sha256, spec)
    assert found is None or frozen_sha256(found) == sha256
    states = StateStore(place / "states")
    states.save(order_of(1), "oslo", {"a": vector})
    put(
        place / "states" / "run" / "oslo" / "round-000001.safetensors",
        data.draw(spoiled(save({"a": vector}))),
    )
    decodes(lambda: states.load("run", "oslo", 2))


def _photo(kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.effect_noise((40, 30), 50).convert("RGB").save(stream, kind, **options)
    return stream.getvalue()


KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "PDF", "ICO", "AVIF")
PHOTOS = (*map(_photo, KINDS), heic.PLAIN, heic.TURNED)


@given(spoiled(*PHOTOS), st.sampled_from((PixelFormat(8), PixelFormat(32, 1, 5))))
@examples(66)
def test_photos(content: bytes, form: PixelFormat) -> None:
    pixels = decodes(lambda: decode(content, form), NotUsableError)
    assert isinstance(pixels, NotUsableError) or pixels.shape == form.shape


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_photo_that_claims_to_be_huge_is_left_out_unread(kind: str) -> None:
    stream = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(
        stream, kind, **({"compression": "group4"} if kind == "TIFF" else {})
    )
    with pytest.raises(NotUsableError, match="too large"):
        decode(stream.getvalue(), PixelFormat(8))


@given(
    spoiled(
        b"image,label\na/1.jpg,boot\nb/2.jpg,hat\n",
        b'"a\x00",b\n' * 5,
        b"a," + b"x" * 200_000,
        "sep=;\nimage;label;split;store\na;b;train;c\n".encode("utf-16"),
        b"image\tlabel\nC:\\a.jpg\tfile://[\nfile://[x/y\tb\n",
    )
)
@examples(50)
def test_lists_of_photos(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        path = put(Path(place) / "photos.csv", content)
        decodes(lambda: scan(path))
        decodes(lambda: summarize_folder(path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveRun]:
    run = LiveRun(tmp_path_factory.mktemp("live") / "chain", stores=["lyon", "oslo"])
    with run.at_work():
        run.joined()
        run.play(1, 4)
        told = {"state": "ready", "since": 1.0, "why": "", "images": 3, "round": 2}
        (run.flower / "stores.json").write_text(json.dumps({"oslo": told, "lyon": told}))
        (run.path / "summary.json").write_text(json.dumps({"status": "finished", "reason": ""}))
        (run.flower / "outcome.json").write_text(
            json.dumps({"summary": None, "error": "x", "exit_code": 1})
        )
        yield run


@given(data=st.data())
@examples(13)
def test_files_of_a_run_that_people_watch_may_be_cut_anywhere(
    run: LiveRun, data: st.DataObject
) -> None:
    names = (
        "history.jsonl",
        "flower/events.jsonl",
        "flower/stores.json",
        "partition.json",
        "config.toml",
        "summary.json",
        "flower/outcome.json",
    )
    path = run.path / data.draw(st.sampled_from(names))
    before = path.read_bytes()
    junk = data.draw(
        st.sampled_from(
            (b"", b"\xff\n", b"[" * DEEP + b"\n", b"null\n[]\n3\n", b'{"note": 3}\n{"row": []}\n')
        )
    )
    path.write_bytes(
        before[: data.draw(st.integers(0, len(before)))]
        + (junk if path.suffix == ".jsonl" else b"")
    )
    try:
        state = RunReader(run.path).look()
        PageView().parts(state)
        exposition(state)
    finally:
        path.write_bytes(before)


def test_what_a_store_calls_itself_is_text_on_the_page(run: LiveRun) -> None:
    before = (run.flower / "stores.json").read_text()
    name = "<script>alert(1)</script>"
    told = {
        "state": "ready",
        "since": 1.0,
        "why": "<img src=x onerror=alert(1)>",
        "images": 3,
        "round": 2,
    }
    (run.flower / "stores.json").write_text(json.dumps({name: told}))
    parts = "".join(PageView().parts(RunReader(run.path).look()).values())
    (run.flower / "stores.json").write_text(before)
    assert "&lt;script&gt;" in parts
    assert "<script>" not in parts
    assert "<img" not in parts


def _toml(document: Any) -> bytes:
    try:
        return tomli_w.dumps(document).encode()
    except (TypeError, AttributeError, UnicodeEncodeError):  # what TOML has no words for
        return b"\xff" + NESTED[3]
