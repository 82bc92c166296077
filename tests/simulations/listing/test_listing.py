"""Lists of runs, and the differences of two."""

import json
from pathlib import Path

from tests.helpers.simulation_command import SMALL, run, summary

SHORT = [*SMALL, "--rounds", "1", "--set", "data.holdout=0.2"]


def make_runs(folder: Path) -> None:
    """Two runs that differ in one setting, and what was left of a third before its first round."""
    for name, lr in (("slow", "0.01"), ("fast", "0.1")):
        assert run("run", *SHORT, "--lr", lr, "--out", folder / name).returncode == 0
    (folder / "begun").mkdir()
    (folder / "begun" / "config.toml").write_bytes((folder / "slow" / "config.toml").read_bytes())


def test_runs_are_listed_and_compared(tmp_path: Path) -> None:
    folder = tmp_path / "runs"
    make_runs(folder)
    check_table(folder)
    check_order(folder)
    check_difference(folder)
    check_earlier_run(folder)
    check_refusals(folder, tmp_path)


def check_table(folder: Path) -> None:
    heading, *rows = run("runs", folder, "--sort", "train.lr").stdout.splitlines()
    assert heading.split()[-1] == "train.lr"
    assert sorted(row.split()[0] for row in rows[:2]) == ["begun", "slow"]
    assert rows[2].split()[0] == "fast"
    accuracy = summary(folder / "fast")["best"]["accuracy"]
    assert f"{accuracy:.1%}" in rows[2]


def check_order(folder: Path) -> None:
    listed = json.loads(run("runs", folder, "--sort", "validation", "--json").stdout)
    best = [summary(folder / each["name"])["best"]["accuracy"] for each in listed[:2]]
    assert best == sorted(best, reverse=True)
    assert [each["validation"] for each in listed[:2]] == best
    assert (listed[2]["name"], listed[2]["status"], listed[2]["rounds"]) == (
        "begun",
        "unfinished",
        0,
    )


def check_difference(folder: Path) -> None:
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


def check_earlier_run(folder: Path) -> None:
    """A run of an earlier version, whose setting has another name today, is listed like others."""
    config = folder / "begun" / "config.toml"
    text = config.read_text(encoding="utf-8")
    assert text.count('suspects = "report"') == 1
    config.write_text(text.replace('suspects = "report"', "exclude_suspects = true"))
    listed = json.loads(run("runs", folder, "--json").stdout)
    (begun,) = [each for each in listed if each["name"] == "begun"]
    assert begun["settings"]["screening.suspects"] == "exclude"


def check_refusals(folder: Path, tmp_path: Path) -> None:
    refused = run("runs", tmp_path)
    assert (refused.returncode, "There is no run in" in refused.stderr) == (4, True)
    refused = run("diff", folder / "slow", tmp_path)
    assert (refused.returncode, "holds no run" in refused.stderr) == (4, True)
    refused = run("runs", folder, "--sort", "speed")
    assert refused.returncode == 2
    assert "--sort got 'speed'; expected one of name, status" in refused.stderr
