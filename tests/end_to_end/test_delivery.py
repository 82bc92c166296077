"""A finished model is delivered to real stores: during the run, at its end, and afterwards."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.deployed import Command, draw_photos, free_port, history, summary
from tests.helpers.deployment_fixtures import Starter


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
    stores["north"].says("The model of run shops has arrived")
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


@pytest.mark.slow(minutes=2)
def test_stores_that_pinned_the_chains_key_get_the_release(
    command: Starter, chain: Path, tmp_path: Path
) -> None:
    """At the run's end none has pinned it; once it is pinned, `flower-server deliver` is enough."""
    out = tmp_path / "shops"
    key = tmp_path / "release.key"
    none = start(command, chain, "--release-key", str(key))
    assert (none.ends(), "There is no release key" in none.text) == (2, True)
    assert command("flower-server", "release-key", key).ends() == 0
    stores = {name: join(command, chain, name) for name in ("north", "west")}
    server = start(command, chain, "--stores", "2", "--rounds", "2", "--release-key", str(key))
    assert server.ends() == 0, server.text
    server.says("Released to ")
    assert list(summary(out)["delivery"]["missing"]) == ["north", "west"]
    stores["north"].says("none is pinned here")
    assert not (home_of("north", tmp_path) / "models").exists()

    pinned = command("flower-client", "pin-release-key", f"{key}.pub")
    assert pinned.ends() == 0, pinned.text
    delivering = command(
        "flower-server", "deliver", out, "--credentials", chain / "server", "--wait", "120"
    )
    for name, store in stores.items():
        store.says("The release of run shops has arrived")
        delivering.says(f"{name} has the model of run shops.")
        kept = home_of(name, tmp_path) / "models" / "shops"
        (released,) = (out / "releases").iterdir()
        files = {file.name: file.read_bytes() for file in released.iterdir()}
        assert {name: (kept / name).read_bytes() for name in files} == files
        assert {file.name for file in kept.iterdir()} == {*files, "own"}  # with its class shares
    delivering.interrupt()  # south, which wants no models, is away
    assert delivering.ends() == 130, delivering.text
    assert summary(out)["delivery"]["delivered"] == ["north", "west"]

    photo = tmp_path / "photos" / "north" / "boot" / "0.png"
    classified = command("flower-client", "classify", kept, photo)
    assert classified.ends() == 0, classified.text
    (kept / "card.md").write_text("# A better model\n")
    refused = command("flower-client", "classify", kept, photo)
    assert (refused.ends(), "card.md was changed" in refused.text) == (3, True)
