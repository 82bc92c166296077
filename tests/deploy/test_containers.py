"""The container images of deploy/: what is copied into them, what a linter says, and a build where
one can be made.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.deployed import SCRIPTS

ROOT = Path(__file__).parents[2]
CONTAINERS = sorted((ROOT / "deploy").glob("Containerfile.*"))
NAMES = [path.name for path in CONTAINERS]


def test_there_is_one_for_each_side() -> None:
    assert NAMES == ["Containerfile.server", "Containerfile.store"]


@pytest.mark.parametrize("path", CONTAINERS, ids=NAMES)
def test_the_commands_and_options_exist(path: Path) -> None:
    text = path.read_text().replace("\\\n", "")
    found = [
        json.loads(each)
        for each in re.findall(r"^(?:ENTRYPOINT|HEALTHCHECK.*CMD) (\[.*\])", text, re.MULTILINE)
    ]
    assert found
    for script, command, *arguments in found:
        help_of = [SCRIPTS / script, command, "--help"]
        told = subprocess.run(help_of, capture_output=True, text=True, check=True).stdout
        for option in arguments:
            assert not option.startswith("--") or re.search(rf"{option}\b", told), (
                f"{script} {command} has no {option}"
            )


@pytest.mark.parametrize("path", CONTAINERS, ids=NAMES)
def test_the_linter_has_no_complaint(path: Path) -> None:
    command = [SCRIPTS / "hadolint", "--no-color", "--failure-threshold", "info", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def copied(path: Path) -> set[str]:
    """Return the paths that an image takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*)", path.read_text(), re.MULTILINE)
    return {source for line in lines for source in line.split()[:-1]}


@pytest.mark.parametrize("path", CONTAINERS, ids=NAMES)
def test_an_image_gets_what_there_is_and_runs_as_nobody_special(path: Path) -> None:
    assert all((ROOT / source).exists() for source in copied(path))
    last_stage = path.read_text().rpartition("\nFROM ")[2]
    assert last_stage.index("USER 10001") < last_stage.index("ENTRYPOINT")
    assert path.read_text().count("pip install") == path.read_text().count(
        "--constraint constraints.txt"
    )


@pytest.mark.parametrize("path", CONTAINERS, ids=NAMES)
def test_state_and_cache_are_volumes(path: Path) -> None:
    (volumes,) = re.findall(r"^VOLUME (.*)", path.read_text(), re.MULTILINE)
    kept = re.findall(r"FEDSHELF_(?:HOME|CACHE)=(\S+)", path.read_text())
    assert json.loads(volumes) == kept == ["/var/lib/fedshelf", "/var/cache/fedshelf"]


def test_builders_see_what_is_copied_and_nothing_else() -> None:
    rules = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert rules[0] == "*", "what is not named is left out: photos, runs, keys, .git, .venv"
    named = {rule[1:] for rule in rules if rule.startswith("!")}
    assert named == set().union(*map(copied, CONTAINERS))


def builder() -> str:
    """A program of this machine that builds images. Skips the test if there is none that works."""
    for name, ask in (("docker", "info"), ("podman", "info"), ("buildah", "images")):
        if (
            shutil.which(name)
            and subprocess.run([name, ask], capture_output=True, check=False).returncode == 0
        ):
            return name
    return pytest.skip(
        "neither docker (with its daemon) nor podman nor buildah works on this machine"
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", CONTAINERS, ids=NAMES)
def test_an_image_is_built(path: Path) -> None:
    """With the index of PyTorch's wheels for CPUs from the environment, since its address is the
    builder's to know.
    """
    program = builder()
    index = os.environ.get("TORCH_INDEX")
    if not index:
        pytest.skip("TORCH_INDEX does not say where PyTorch's wheels for CPUs are")
    given = ["--build-arg", f"TORCH_INDEX={index}", *os.environ.get("BUILD_OPTIONS", "").split()]
    tag = f"fedshelf-tried:{path.suffix[1:]}"
    command = [program, "build", "-f", str(path), "-t", tag, *given, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    subprocess.run([program, "rmi", tag], capture_output=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
