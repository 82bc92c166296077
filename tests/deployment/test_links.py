"""Stores behind a bad link: everything arrives, once, and only what was missing is sent again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from common import models
from common.config import ModelConfig
from tests.deployment.conftest import Starter
from tests.deployment.deployed import draw_photos, free_port, history, summary, wait_for
from tests.deployment.link import Link

pytestmark = pytest.mark.slow

PIECE = 5 * 2**20  # bytes: what Flower cuts a model into
AT_ONCE = 4  # pieces that a store has on the way at one time
LONELY = ["--set", "cohort.min_stores=1"]
GONE = {"code": "unavailable", "reason": "lost the connection"}
QUIET = ["--set", "evaluation.stores=false"]  # so that a round is one model down and one up


def records(out: Path) -> list[dict[str, Any]]:
    return history(out) if (out / "history.jsonl").exists() else []


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def link(port: int) -> Iterator[Link]:
    with Link(port) as link:
        yield link


@pytest.fixture
def takes_no_model(tmp_path: Path) -> None:
    """The run's model, which the store `far` would be given at the end, would count as if an order came twice."""
    home = tmp_path / "state" / "stores" / "far"
    home.mkdir(parents=True)
    (home / "policy.toml").write_text("model_delivery = false\n")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.mark.usefixtures("takes_no_model")
def test_a_large_model_arrives_over_a_slow_link_that_is_cut_in_the_middle(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """45 MB at 80 Mbit/s: as with 750 MB at 20 Mbit/s, a cut finds some pieces there and some on their way."""
    store = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], per_class=6), link.port)
    link.throttle(80e6)
    server = command.server(out, port, "--stores", "1", "--rounds", "1", "--model", "resnet18", *QUIET)
    size = 11.18e6 * 4
    for cuts, way in enumerate(("down", "up"), start=1):
        wait_for(lambda way=way: getattr(link, way) > 0.8 * size)
        link.cut()
        wait_for(lambda cuts=cuts: store.text.count("Lost the server") == cuts)
        link.mend()
    assert server.ends() == 0, server.text
    assert [sorted(record["stores"]) for record in history(out)] == [["far"]]
    for crossed in (link.down, link.up):  # all of it again would be 1.8 times the size
        assert size < crossed < size + AT_ONCE * PIECE + PIECE


@pytest.mark.timeout(600)
def test_a_store_that_is_killed_in_the_middle_of_its_answer_is_done_without(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """Flower itself would wait for the rest of the answer for hours; the round begins once more, with another store."""
    far = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], per_class=6, seed=1), link.port)
    link.throttle(80e6)
    server = command.server(out, port, "--stores", "1", "--rounds", "1", "--model", "resnet18", *QUIET)
    wait_for(lambda: link.up > 11.18e6, 180)
    far.kill()
    command.store(draw_photos(tmp_path / "near", ["boot", "hat"], per_class=6), port)
    server.says("Round 1: 0 of 1 updates needed; far: lost the connection.", 240)
    assert server.ends() == 0, server.text
    assert [sorted(record["stores"]) for record in history(out)] == [["near"]]


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("takes_no_model")
def test_after_a_long_cut_nothing_is_sent_on_that_the_server_has_written_off(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """The server gives the half answer up, and the round begins once more: the store is told so when it asks, and what
    it sends for the new order is what the server lacks of the same update.
    """
    far = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], per_class=6), link.port)
    link.throttle(20e6)  # so that some pieces wait for their turn in this store
    server = command.server(out, port, "--stores", "1", "--rounds", "1", "--model", "resnet18", *QUIET)
    size = 11.18e6 * 4
    wait_for(lambda: link.up > 0.4 * size, 300)
    link.cut()
    server.says("Round 1: 0 of 1 updates needed; far: lost the connection.", 300)
    link.mend()
    far.says("The server no longer waits for this answer.")
    assert server.ends(300) == 0, server.text
    assert far.text.count("Round 1: trained") == 1
    assert link.up < 1.6 * size  # it was 0.4 sent, and all of it twice more would be 2


@pytest.mark.usefixtures("takes_no_model")
def test_a_frozen_backbone_crosses_the_link_once(command: Starter, link: Link, tmp_path: Path, port: int) -> None:
    """Down once, whatever the rounds, evaluations and runs; never up, where all that travels is packed, too."""
    classes = ("boot", "hat")
    config = ModelConfig(name="resnet18")
    module = models.build(models.specify(config, classes, image_size=32, native_size=None, channels=3))
    save_file(module.state_dict(), tmp_path / "known.safetensors")
    size = 4 * sum(tensor.numel() for tensor in module.state_dict().values() if tensor.is_floating_point())
    command.store(draw_photos(tmp_path / "far", classes, per_class=6), link.port)
    known = ["--set", f"model.weights={tmp_path / 'known.safetensors'}", "--set", "model.freeze=backbone"]
    settings = ["--stores", "1", "--rounds", "2", "--model", "resnet18", *known, "--set", "messages.compression=fp16"]
    seen = []
    for run in ("first", "second"):
        before = link.down
        assert command.server(tmp_path / run, port, *settings).ends() == 0
        seen.append(link.down - before)
        assert history(tmp_path / run)[0]["bytes"]["up"] == 2 * (512 * 2 + 2)
    assert size < seen[0] < 1.1 * size
    assert seen[1] < 0.1 * size
    assert link.up < 0.1 * size


def test_lost_answers_change_nothing(command: Starter, tmp_path: Path, port: int) -> None:
    """A quarter of the answers to each kind of request is lost, so that a store repeats what the server has done."""
    folders = [draw_photos(tmp_path / name, ["boot", "hat"], seed=seed) for seed, name in enumerate(["near", "far"])]
    outcomes = {}
    for name in ("undisturbed", "lossy"):
        with Link(port) as link:
            stores = [command.store(folders[0], port), command.store(folders[1], link.port)]
            server = command.server(tmp_path / name, port, "--stores", "2", "--rounds", "2")
            stores[1].says("Joined")
            if name == "lossy":
                link.lose_answers(every=4)
            assert server.ends(240) == 0, server.text
            outcomes[name] = summary(tmp_path / name)
            for store in stores:
                store.kill()
    assert {"pull-messages", "push-messages", "push-object", "pull-object"} <= set(link.lost)
    assert [record["failed"] for record in history(tmp_path / "lossy")] == [{}] * 2
    assert outcomes["lossy"]["weights_sha256"] == outcomes["undisturbed"]["weights_sha256"]
    assert outcomes["lossy"]["bytes"] == outcomes["undisturbed"]["bytes"]


@pytest.mark.timeout(600)
def test_a_store_whose_link_falls_silent_is_done_without_and_comes_back(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """For longer than the server believes in a store that it does not hear (two heartbeats of 10 s)."""
    near = command.store(draw_photos(tmp_path / "near", ["boot", "hat"]), port)
    far = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], seed=1), link.port)
    for store in (near, far):
        store.says("Waiting for the server")
    server = command.server(out, port, "--stores", "2", "--rounds", "1000", "--epochs", "100", *LONELY, *QUIET)
    far.says("training.")
    link.silence()
    done = len(records(out))  # an answer that was cut in two is waited for as long as the store was at it
    wait_for(lambda: any("far" not in record["stores"] for record in records(out)[done:]), 240)
    link.mend()
    wait_for(lambda: records(out) and sorted(records(out)[-1]["stores"]) == ["far", "near"])
    server.interrupt()
    assert server.ends() == 130, server.text
    lost = next(record for record in history(out)[done:] if "far" not in record["stores"])
    assert lost["failed"].get("far", GONE) == GONE
    assert [record["round"] for record in history(out)] == list(range(1, len(history(out)) + 1))
    assert far.process.poll() is None
