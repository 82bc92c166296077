"""Lists of runs, and the differences of two."""

import json
from pathlib import Path

import pytest

from tests.helpers.simulation_command import SMALL, run, summary

SHORT = [*SMALL, "--rounds", "1", "--set", "data.holdout=0.2"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs that differ in one setting, and what was left of a third before its first round."""
    folder = tmp_path_factory.mktemp("runs")
    for name, lr in (("slow", "0.01"), ("fast", "0.1")):
        assert run("run", *SHORT, "--lr", lr, "--out", folder / name).returncode == 0
    (folder / "begun").mkdir()
    (folder / "begun" / "config.toml").write_bytes((folder / "slow" / "config.toml").read_bytes())
    return folder


def test_runs_are_listed_with_what_they_reached_and_what_differs(folder: Path) -> None:
    heading, *rows = run("runs", folder, "--sort", "train.lr").stdout.splitlines()
    assert heading.split()[-1] == "train.lr"
    assert sorted(row.split()[0] for row in rows[:2]) == ["begun", "slow"]
    assert rows[2].split()[0] == "fast"
    accuracy = summary(folder / "fast")["best"]["accuracy"]
    assert f"{accuracy:.1%}" in rows[2]


def test_the_best_run_is_first_and_an_unfinished_one_last(folder: Path) -> None:
    listed = json.loads(run("runs", folder, "--sort", "validation", "--json").stdout)
    best = [summary(folder / each["name"])["best"]["accuracy"] for each in listed[:2]]
    assert best == sorted(best, reverse=True)
    assert [each["validation"] for each in listed[:2]] == best
    assert (listed[2]["name"], listed[2]["status"], listed[2]["rounds"]) == (
        "begun",
        "unfinished",
        0,
    )


def test_the_difference_of_two_runs_names_settings_and_results(folder: Path) -> None:
    lines = [
        line.split() for line in run("diff", folder / "slow", folder / "fast").stdout.splitlines()
    ]
    assert ["train.lr", "0.01", "0.1"] in lines
    assert [line[0] for line in lines[1:]] == [
        "train.lr", "state", "rounds", "validation", "test", "time",
    ]  # fmt: skip
    assert (
        "All their settings are the same." in run("diff", folder / "slow", folder / "begun").stdout
    )


def test_what_is_no_run_is_refused(folder: Path, tmp_path: Path) -> None:
    refused = run("runs", tmp_path)
    assert (refused.returncode, "There is no run in" in refused.stderr) == (4, True)
    refused = run("diff", folder / "slow", tmp_path)
    assert (refused.returncode, "holds no run" in refused.stderr) == (4, True)
    refused = run("runs", folder, "--sort", "speed")
    assert refused.returncode == 2
    assert "--sort got 'speed'; expected one of name, status" in refused.stderr
