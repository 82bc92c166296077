"""The forms of a run's output: a table, lines of stores, JSON lines, or nothing."""

import json
from pathlib import Path

from tests.helpers.simulation_command import SMALL, history, run


def test_a_run_prints_in_the_form_that_was_asked_for(tmp_path: Path) -> None:
    forms = {"quiet": ["--quiet"], "verbose": ["--verbose"], "json": ["--log", "json"]}
    printed = {}
    for name, options in forms.items():
        done = run("run", *SMALL, "--rounds", "1", "--out", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
        printed[name] = done.stdout
    assert printed["quiet"] == f"{tmp_path}/quiet\n"

    (record,) = history(tmp_path / "verbose")
    for store, facts in record["stores"].items():
        line = f"store={store} images={facts['images']} loss={facts['loss']:.4f}"
        assert printed["verbose"].count(line) == 1

    lines = [json.loads(line) for line in printed["json"].splitlines()]
    (ended,) = [line for line in lines if line["event"] == "round"]
    (record,) = history(tmp_path / "json")
    assert ended["loss"] == record["train"]["loss"]
    assert lines[-1]["event"] == "finished"
    assert lines[-1]["directory"] == f"{tmp_path}/json"


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
