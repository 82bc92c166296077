"""What deploy/ hands to systemd and to container tools: units that it accepts, commands that there are."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment.deployed import SCRIPTS

DEPLOY = Path(__file__).parents[2] / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
CONTAINERS = sorted(DEPLOY.glob("Containerfile.*"))
SINCE_254 = {"RestartSteps", "RestartMaxDelaySec"}  # an older systemd ignores them and waits RestartSec each time


def commands(path: Path) -> Iterator[list[str]]:
    """The command lines of ours that a file runs."""
    text = path.read_text().replace("\\\n", "")
    for line in re.findall(r"^ExecStart=(.*)", text, re.MULTILINE):
        yield shlex.split(line)
    for line in re.findall(r"^(?:ENTRYPOINT|HEALTHCHECK.*CMD) (\[.*\])", text, re.MULTILINE):
        yield json.loads(line)


def test_there_is_one_for_each_side() -> None:
    assert [path.name for path in UNITS] == ["fedshelf-server.service", "fedshelf-store@.service"]
    assert [path.name for path in CONTAINERS] == ["Containerfile.server", "Containerfile.store"]


@pytest.mark.parametrize("path", [*UNITS, *CONTAINERS], ids=lambda path: path.name)
def test_the_commands_and_options_exist(path: Path) -> None:
    found = list(commands(path))
    assert found
    for script, command, *arguments in found:
        help_of = [SCRIPTS / Path(script).name, command, "--help"]
        told = subprocess.run(help_of, capture_output=True, text=True, check=True).stdout
        for option in arguments:
            assert not option.startswith("--") or re.search(rf"{option}\b", told), f"{script} {command} has no {option}"


def test_the_commands_in_the_handbook_exist() -> None:
    text = (DEPLOY.parent / "docs" / "operations.md").read_text()
    found = set(re.findall(r"(flower-(?:server|client)) (provision|start|status|join|stores)\b([^`|\n]*)", text))
    assert {command for _, command, _ in found} >= {"provision", "start", "status"}
    for script, command, rest in found:
        told = subprocess.run([SCRIPTS / script, command, "--help"], capture_output=True, text=True, check=True).stdout
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert re.search(rf"{option}\b", told), f"{script} {command} has no {option}"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd on this machine")
    here = tmp_path / path.name
    here.write_text(path.read_text().replace("/opt/fedshelf/bin", str(SCRIPTS)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if not any(f"'{key}'" in line for key in SINCE_254)]
    assert complaints == []


@pytest.mark.parametrize("path", CONTAINERS, ids=lambda path: path.name)
def test_containers_copy_what_there_is_and_run_as_nobody_special(path: Path) -> None:
    text = path.read_text()
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*", text, re.MULTILINE)]
    assert all((DEPLOY.parent / source).exists() for sources in copied for source in sources)
    last_stage = text.rpartition("\nFROM ")[2]
    assert last_stage.index("USER fedshelf") < last_stage.index("ENTRYPOINT")
    assert "--constraint constraints.txt" in text
