"""Two stores of a real run send one update each that ruins the model: the run goes on without them,
and names them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.helpers import spoiling_store
from tests.helpers.deployed import Command, draw_photos, free_port, history, summary, wait_for
from tests.helpers.deployment_fixtures import Starter

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow(minutes=1), pytest.mark.timeout(900)]

# each one spoils a round of such a number
HONEST = ("north", "south")
HOSTILE = {"even": 0, "odd": 1}


@pytest.fixture
def chain(command: Starter, tmp_path: Path) -> Path:
    made = tmp_path / "chain"
    names = ",".join([*HONEST, *HOSTILE])
    told = ["--host", "localhost", "--port", str(free_port())]
    assert (
        command("flower-server", "provision", *told, "--stores", names, "--out", made).ends() == 0
    )
    for name in names.split(","):
        draw_photos(tmp_path / "photos" / name, ["boot", "hat"])
        (tmp_path / name).mkdir()
    return made


def start(command: Starter, chain: Path, rounds: int) -> Command:
    """Even rounds are judged, so that of the spoilt ones one is found out at once, and one in the
    next round.
    """
    settings = {
        "run.rounds": rounds, "model.name": "niid-cnn", "data.classes": "boot,hat",
        "data.image_size": 32, "train.lr": 0.02, "evaluation.every": 2, "cohort.min_stores": 2,
        "screening.norm_factor": 0, "run.deliver": "last",
    }  # fmt: skip
    told = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    place = ("--credentials", chain / "server", "--out", chain.parent / "shops", "--live-port", "0")
    return command("flower-server", "start", *told, *place)


def join(command: Starter, chain: Path, name: str) -> Command:
    place = chain.parent
    told = [
        "join",
        "--kit",
        chain / "kits" / f"{name}.kit",
        "--data",
        place / "photos" / name,
        "--device",
        "cpu",
    ]
    if name in HONEST:
        return command("flower-client", *told)
    spoils = {"SPOILS": str(place / name), "SPOILS_REST": str(HOSTILE[name])}
    python = {"PYTHONPATH": str(ROOT)}
    command.started.append(
        Command(
            command.environment | spoils | python,
            sys.executable,
            "-m",
            spoiling_store.__name__,
            *told,
        )
    )
    return command.started[-1]


def is_played_by_all(out: Path) -> bool:
    return (out / "history.jsonl").exists() and any(
        len(line["stores"]) == 4 for line in history(out)
    )


def spoilt_models(place: Path) -> set[str]:
    """The stores that keep a model which nobody can use."""
    found = (place / "state" / "stores").glob("*/models/shops/model.safetensors")
    return {
        path.parents[2].name
        for path in found
        if load_file(path).popitem()[1].abs().max() > spoiling_store.WEIGHT / 10
    }


def test_a_run_goes_on_without_the_stores_that_spoil_it_also_when_it_is_killed_right_after(
    command: Starter, chain: Path, tmp_path: Path
) -> None:
    out, (even, odd) = tmp_path / "shops", (tmp_path / name for name in HOSTILE)
    server = start(command, chain, 1000)
    stores = {name: join(command, chain, name) for name in (*HONEST, *HOSTILE)}
    wait_for(lambda: is_played_by_all(out), 300)
    (even / "go").touch()
    (even / "asked").touch()
    server.says("even is set aside: its update in round", 300)

    (odd / "asked").touch()
    wait_for((odd / "spoiling").exists, 300)
    # of the round under way, which is being spoilt
    assert command("flower-server", "deliver", out).ends() == 0
    (odd / "go").touch()
    second, third = (int((place / "spoiling").read_text()) for place in (even, odd))
    server.says(f"Round {third} is taken back, and odd is left out", 300)
    assert "north" in spoilt_models(tmp_path)
    server.kill()
    server = start(command, chain, rounds := third + 2)
    assert server.ends(400) == 0, server.text

    lines = history(out)
    assert [line["round"] for line in lines] == list(range(1, rounds + 1))
    taken_back: list[dict[str, Any]] = [
        line["taken_back"] for line in lines if "taken_back" in line
    ]
    assert [(told["round"], told["store"]) for told in taken_back] == [
        (second, "even"),
        (third, "odd"),
    ]
    assert "everybody else's training diverges" in taken_back[1]["reason"]
    assert all(sorted(line["stores"]) == sorted(HONEST) for line in lines[third - 1 :])
    told = summary(out)
    assert (told["status"], sorted(told["set_aside"])) == ("finished", ["even", "odd"])
    assert told["taken_back"] == taken_back
    gone = [json.loads(line) for line in (out / "taken-back.jsonl").read_text().splitlines()]
    assert [(line["round"], "odd" in line["stores"]) for line in gone] == [(third, True)]

    assert spoilt_models(tmp_path) == set()
    assert (
        load_file(out / "model.safetensors").popitem()[1].abs().max() < spoiling_store.WEIGHT / 10
    )
    stores["north"].says("The server took back the model of run")
    audit = (tmp_path / "state" / "stores" / "north" / "audit.jsonl").read_text()
    assert "takes back one that the run gave before" in audit
    status = command("flower-server", "status", out)
    assert (status.ends(), "round taken back" in status.text, "odd" in status.text) == (
        0,
        True,
        True,
    )
