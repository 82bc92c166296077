"""Whole runs with compressed updates: killed and resumed, and refused."""

from pathlib import Path

import pytest

from tests.helpers.killing import kill_when, lines
from tests.helpers.simulation_command import SMALL, history, run, start, summary

TOP = ["--set", "messages.compression=top-k", "--set", "messages.keep=0.05"]


@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    """Changes that stores have not sent yet survive with them, as of the round that is trained
    again.
    """
    whole = tmp_path / "whole"
    out = tmp_path / "run"
    assert run("run", *SMALL, *TOP, "--rounds", "4", "--out", whole).returncode == 0
    process = start("run", *SMALL, *TOP, "--rounds", "4", "--out", out, start_new_session=True)
    kill_when(process, lambda: lines(out) >= 2)
    assert run("run", "--resume", "--out", out).returncode == 0
    assert summary(out)["weights_sha256"] == summary(whole)["weights_sha256"]
    sent = {record["bytes"]["up"] for record in history(whole)}
    assert all(
        0.05 * 2.5 < bytes_up / history(whole)[0]["bytes"]["down"] * 4 < 0.05 * 3.5
        for bytes_up in sent
    )


def test_what_would_never_learn_is_refused(tmp_path: Path) -> None:
    refused = run("run", *SMALL, *TOP, "--strategy", "median", "--out", tmp_path / "run")
    assert refused.returncode == 2
    assert "messages.compression got 'top-k' with strategy median" in refused.stderr
    assert "Traceback" not in refused.stderr
