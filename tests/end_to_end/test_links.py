"""Stores behind a bad link: everything arrives, once, and only what was missing is sent again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import save_file

from fedshelf.common import models
from fedshelf.common.config import ModelConfig
from tests.helpers.deployed import draw_photos, free_port, history, summary, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.link import Link

pytestmark = pytest.mark.slow

LARGE = ["--model", "mcmahan-cnn", "--set", "data.image_size=72"]
# bytes of this model of two classes: about as many as a ResNet-18 has, and little work
SIZE = 4 * 10_672_066
PIECE = 5 * 2**20  # bytes: what Flower cuts a model into
AT_ONCE = 4  # pieces that a store has on the way at one time
QUIET = ["--set", "evaluation.stores=false"]  # so that a round is one model down and one up


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def link(port: int) -> Iterator[Link]:
    with Link(port) as link:
        yield link


@pytest.fixture
def takes_no_model(tmp_path: Path) -> None:
    """The run's model, which the store `far` would be given at the end, would count as if an order
    came twice.
    """
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
    """43 MB at 80 Mbit/s: as with 750 MB at 20 Mbit/s, a cut finds some pieces there and some on
    their way.
    """
    store = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], per_class=6), link.port)
    link.throttle(up=80e6, down=80e6)
    server = command.server(out, port, "--stores", "1", "--rounds", "1", *LARGE, *QUIET)
    for cuts, way in enumerate(("down", "up"), start=1):
        wait_for(lambda way=way: getattr(link, way) > 0.8 * SIZE)
        link.cut()
        wait_for(lambda cuts=cuts: store.text.count("Lost the server") == cuts)
        link.mend()
    assert server.ends() == 0, server.text
    assert [sorted(record["stores"]) for record in history(out)] == [["far"]]
    for crossed in (link.down, link.up):  # all of it again would be 1.8 times the size
        assert SIZE < crossed < SIZE + AT_ONCE * PIECE + PIECE


@pytest.mark.slow(minutes=2)
def test_a_store_that_is_killed_in_the_middle_of_its_answer_is_done_without(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """Flower itself would wait for the rest of the answer for hours; the round begins once more,
    with another store.
    """
    far = command.store(
        draw_photos(tmp_path / "far", ["boot", "hat"], per_class=6, seed=1), link.port
    )
    link.throttle(up=80e6)
    server = command.server(out, port, "--stores", "1", "--rounds", "1", *LARGE, *QUIET)
    wait_for(lambda: link.up > 0.25 * SIZE)
    far.kill()
    command.store(draw_photos(tmp_path / "near", ["boot", "hat"], per_class=6), port)
    server.says("Round 1: 0 of 1 updates needed; far: lost the connection.")
    assert server.ends() == 0, server.text
    assert [sorted(record["stores"]) for record in history(out)] == [["near"]]


@pytest.mark.usefixtures("takes_no_model")
@pytest.mark.slow(minutes=2)
def test_after_a_long_cut_nothing_is_sent_on_that_the_server_has_written_off(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """The server gives the half answer up, and the round begins once more: the store is told so
    when it asks, and what it sends for the new order is what the server lacks of the same update.
    """
    far = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], per_class=6), link.port)
    link.throttle(up=20e6)  # so that some pieces wait for their turn in this store
    server = command.server(out, port, "--stores", "1", "--rounds", "1", *LARGE, *QUIET)
    wait_for(lambda: link.up > 0.4 * SIZE)
    link.cut()
    server.says("Round 1: 0 of 1 updates needed; far: lost the connection.")
    link.mend()
    far.says("The server no longer waits for this answer.")
    link.throttle()
    assert server.ends() == 0, server.text
    assert far.text.count("Round 1: trained") == 1
    assert link.up < 1.6 * SIZE  # it was 0.4 sent, and all of it twice more would be 2


@pytest.mark.usefixtures("takes_no_model")
def test_a_frozen_backbone_crosses_the_link_once(
    command: Starter, link: Link, tmp_path: Path, port: int
) -> None:
    """Down once, whatever the rounds, evaluations and runs; never up, where all that travels is
    packed, too.
    """
    classes = ("boot", "hat")
    config = ModelConfig(name="mcmahan-cnn")
    module = models.build(
        models.specify(config, classes, image_size=72, native_size=None, channels=3)
    )
    save_file(module.state_dict(), tmp_path / "known.safetensors")
    command.store(draw_photos(tmp_path / "far", classes, per_class=6), link.port)
    known = [
        "--set",
        f"model.weights={tmp_path / 'known.safetensors'}",
        "--set",
        "model.freeze=backbone",
    ]
    settings = [
        "--stores",
        "1",
        "--rounds",
        "2",
        *LARGE,
        *known,
        "--set",
        "messages.compression=fp16",
    ]
    seen = []
    for run in ("first", "second"):
        before = link.down
        assert command.server(tmp_path / run, port, *settings).ends() == 0
        seen.append(link.down - before)
        assert history(tmp_path / run)[0]["bytes"]["up"] == 2 * (512 * 2 + 2)
    assert SIZE < seen[0] < 1.1 * SIZE
    assert seen[1] < 0.1 * SIZE
    assert link.up < 0.1 * SIZE


def test_lost_answers_change_nothing(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """A quarter of the answers to each kind of request is lost, so that a store repeats what the
    server has done.

    A round that a store did twice would show in what it remembers, and in what it has not sent yet.
    """
    settings = {
        "model.dropout": 0.2, "data.crop": 2, "train.epochs": 2, "strategy.name": "scaffold",
        # the last model is that of both rounds; the best one may be the first
        "run.rounds": 2, "messages.compression": "top-k", "run.deliver": "last",
    }  # fmt: skip
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    for seed, name in enumerate(("near", "far")):
        draw_photos(tmp_path / "stores" / name, ["boot", "hat"], seed=seed)
    command.store(tmp_path / "stores" / "near", port)
    far = command.store(tmp_path / "stores" / "far", link.port)
    server = command.server(out, port, "--stores", "2", *given)
    far.says("Joined")
    link.lose_answers(every=4)
    assert server.ends() == 0, server.text
    assert {"pull-messages", "push-messages", "push-object", "pull-object"} <= set(link.lost)
    assert [record["failed"] for record in history(out)] == [{}] * 2
    undisturbed = command.simulated(tmp_path / "simulated", tmp_path / "stores", *given)
    for key in ("weights_sha256", "test", "bytes"):
        assert summary(out)[key] == undisturbed[key]


@pytest.mark.slow(minutes=2)
def test_a_store_whose_link_falls_silent_is_done_without_and_comes_back(
    command: Starter, link: Link, tmp_path: Path, out: Path, port: int
) -> None:
    """For longer than the server believes in a store that it does not hear (two heartbeats of 10
    s).
    """
    far = command.store(draw_photos(tmp_path / "far", ["boot", "hat"], seed=1), link.port)
    server = command.server(
        out, port, "--stores", "1", "--rounds", "1000", "--epochs", "100", *QUIET
    )
    far.says("training.")
    link.silence()
    server.says("0 of 1 updates needed; far: lost the connection.")
    command.store(draw_photos(tmp_path / "near", ["boot", "hat"]), port)
    wait_for(lambda: history(out) and list(history(out)[-1]["stores"]) == ["near"])
    link.mend()
    wait_for(lambda: sorted(history(out)[-1]["stores"]) == ["far", "near"])
    server.interrupt()
    assert server.ends() == 130, server.text
    assert [record["round"] for record in history(out)] == list(range(1, len(history(out)) + 1))
    assert far.process.poll() is None
