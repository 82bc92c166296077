"""The model that a whole run delivers: the round that was chosen, judged and written are one."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedshelf.server.main import app as server
from tests.helpers.commands import call
from tests.helpers.model_files import description_in
from tests.helpers.simulation_command import SMALL, history, run, summary

ROUNDS = 5


@pytest.fixture(scope="module")
def chaotic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run at so high a rate that no round is better for being later; every second one is
    judged.
    """
    out = tmp_path_factory.mktemp("runs") / "chaotic"
    settings = ("data.holdout=0.1", "evaluation.every=2", "run.keep_checkpoints=9")
    given = [word for setting in settings for word in ("--set", setting)]
    done = run("run", *SMALL, "--rounds", str(ROUNDS), "--lr", "0.4", *given, "--out", out)
    assert done.returncode == 0, done.stderr
    return out


def best_of(out: Path) -> int:
    judged = {
        each["round"]: each["validation"]["accuracy"] for each in history(out) if each["validation"]
    }
    return max(judged, key=lambda number: (judged[number], -number))


def weights(out: Path) -> torch.Tensor:
    return torch.cat([tensor.ravel() for tensor in load_file(out / "model.safetensors").values()])


def of_checkpoint(out: Path, number: int) -> torch.Tensor:
    return load_file(out / "checkpoints" / f"round-{number:06d}.safetensors")["params"]


def assert_delivers(out: Path, number: int) -> None:
    """The model in the file, its judgement and what is said of it are those of round `number`."""
    told = summary(out)
    described = json.loads((out / "model.json").read_text())["provenance"]
    assert told["delivered_round"] == described["round"] == number
    assert told["delivered_because"] == described["delivered_because"]
    torch.testing.assert_close(
        weights(out).sort().values, of_checkpoint(out, number).sort().values, rtol=0, atol=0
    )
    (record,) = (each for each in history(out) if each["round"] == number)
    if record["test"]:
        assert (
            told["test"]["accuracy"] == described["test"]["accuracy"] == record["test"]["accuracy"]
        )
        assert told["test"]["confusion"] is not None


def test_any_round_with_a_checkpoint_is_exported_by_either_command(
    chaotic: Path, tmp_path: Path
) -> None:
    by_simulation = run("export", chaotic, "--round", "1", "--out", tmp_path / "one")
    assert by_simulation.returncode == 0, by_simulation.stderr
    assert f"The model of round 1 of {ROUNDS}" in by_simulation.stdout
    assert (
        call(server, "export", chaotic, "--round", "1", "--out", tmp_path / "other").returncode == 0
    )
    told = [description_in(tmp_path / name / "model.safetensors") for name in ("one", "other")]
    for each in told:
        del each["provenance"]["made"]
    assert told[0] == told[1]
    assert torch.equal(weights(tmp_path / "one"), weights(tmp_path / "other"))
    expected = of_checkpoint(chaotic, 1).sort().values
    torch.testing.assert_close(weights(tmp_path / "one").sort().values, expected, rtol=0, atol=0)
    # it was not judged
    assert json.loads((tmp_path / "one" / "model.json").read_text())["provenance"]["test"] is None
    refused = run("export", chaotic, "--round", "99")
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)


def test_the_best_round_on_validation_is_delivered_and_on_demand_the_last(chaotic: Path) -> None:
    assert [each["round"] for each in history(chaotic) if each["validation"]] == [2, 4, 5]
    assert_delivers(chaotic, best_of(chaotic))
    last = run("run", "--resume", "--out", chaotic, "--set", "run.deliver=last")
    assert last.returncode == 0, last.stderr
    assert "The model is that of round 5 of 5, the last, as run.deliver asks for." in last.stdout
    assert_delivers(chaotic, ROUNDS)
    longer = run("run", "--resume", "--out", chaotic, "--set", "run.deliver=best", "--rounds", "7")
    assert longer.returncode == 0, longer.stderr
    assert_delivers(chaotic, best_of(chaotic))


def test_without_validation_images_the_last_is_delivered(tmp_path: Path) -> None:
    done = run("run", *SMALL, "--rounds", "1", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    told = summary(tmp_path / "run")
    assert told["delivered_because"] == "the last, as no round was judged on validation images"
    assert told["test"]["images"] == 1000


def test_where_no_store_can_choose_a_part_of_the_servers_images_does_and_is_not_reported(
    tmp_path: Path,
) -> None:
    out = tmp_path / "run"
    done = run(
        "run",
        *SMALL,
        "--rounds",
        "9",
        "--lr",
        "0.4",
        "--set",
        "evaluation.patience=1",
        "--out",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert (
        "200 of the server's 1,000 test images choose the round, and test figures are of the others"
        in " ".join(done.stdout.split())
    )
    told = summary(out)
    rounds = history(out)
    assert len(rounds) < 9
    assert told["best"]["on"] == "server-validation"
    assert [(each["validation"]["images"], each["test"]["images"]) for each in rounds] == [
        (200, 800)
    ] * len(rounds)
    assert told["delivered_round"] == len(rounds) - 1
    assert_delivers(out, best_of(out))
    assert told["test"]["images"] == 800
    assert told["calibration"]["fitted_on"] == 200


@pytest.mark.parametrize("asked", ["run.deliver=best", "evaluation.patience=2"])
def test_what_nobody_can_choose_is_refused(tmp_path: Path, asked: str) -> None:
    out = tmp_path / "run"
    done = run("compare", *SMALL, "--set", asked, "--out", out)
    assert done.returncode == 2
    assert f"Error: Setting {asked.split('=', maxsplit=1)[0]} got " in done.stderr
    assert "there is nothing to choose rounds on" in done.stderr
    assert not out.exists()
