"""The forms of a run's output: a table, lines of stores, JSON lines, or nothing."""

import json
from pathlib import Path

import pytest

from tests.helpers.simulation_command import SMALL, history, run


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The output of one round in each form: the option -> what was printed to `out/OPTION`."""
    out = tmp_path_factory.mktemp("output")
    forms = {"quiet": ["--quiet"], "verbose": ["--verbose"], "json": ["--log", "json"]}
    printed = {"out": str(out)}
    for name, options in forms.items():
        done = run("run", *SMALL, "--rounds", "1", "--out", out / name, *options)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout
    return printed


def test_quiet_prints_the_directory_alone(printed: dict[str, str]) -> None:
    assert printed["quiet"] == f"{printed['out']}/quiet\n"


def test_verbose_prints_a_line_for_each_store(printed: dict[str, str]) -> None:
    (record,) = history(Path(printed["out"], "verbose"))
    for store, facts in record["stores"].items():
        line = f"store={store} images={facts['images']} loss={facts['loss']:.4f}"
        assert printed["verbose"].count(line) == 1


def test_json_lines_end_with_the_outcome(printed: dict[str, str]) -> None:
    lines = [json.loads(line) for line in printed["json"].splitlines()]
    (done,) = [line for line in lines if line["event"] == "round"]
    (record,) = history(Path(printed["out"], "json"))
    assert done["loss"] == record["train"]["loss"]
    assert lines[-1]["event"] == "finished"
    assert lines[-1]["directory"] == f"{printed['out']}/json"


def test_one_form_at_a_time() -> None:
    for options in (["-q", "-v"], ["-q", "--log", "json"], ["-v", "--log", "json"]):
        refused = run("run", *options)
        assert refused.returncode == 2
        assert "Give one of --quiet, --verbose and --log json." in refused.stderr


def test_settings_are_found_by_section_and_by_word() -> None:
    train = json.loads(run("settings", "train", "--json").stdout)
    assert {key.partition(".")[0] for key in train} == {"train"}
    assert train["train.lr"] == {"default": 0.05, "meaning": "learning rate of the first round"}
    momentum = json.loads(run("settings", "MOMENTUM", "--json").stdout)
    assert {"train.momentum", "strategy.server_momentum"} <= momentum.keys()
    assert all("momentum" in f"{key} {each['meaning']}".lower() for key, each in momentum.items())
    refused = run("settings", "train.momentun")
    assert refused.returncode == 2
    assert "Did you mean train.momentum?" in refused.stderr
