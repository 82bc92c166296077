"""The installed package is `fedshelf` alone, whatever lies in the folder where a command is
called.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
SOURCES = (
    "fedshelf",
    "common",
    "client",
    "server",
    "simulations",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources: a build leaves files beside them."""
    place = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place / "copy" / name, symlinks=True)
        else:
            (place / "copy").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, place / "copy" / name)
    build = [
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--disable-pip-version-check",
    ]
    subprocess.run([sys.executable, "-m", *build, "--wheel-dir", place, place / "copy"], check=True)
    (built,) = place.glob("*.whl")
    return built


@pytest.fixture
def neighbours(tmp_path: Path) -> Path:
    """Make a folder whose modules have the names of our folders, and end every process that imports
    one.
    """
    for name in ("server.py", "client.py", "common/__init__.py", "simulations/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"raise SystemExit('imported {name}')\n")
    return tmp_path


def test_a_wheel_holds_one_package_and_all_that_it_needs(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    packages = {
        name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")
    }
    assert packages == {"fedshelf"}
    tracked = subprocess.run(
        ["git", "ls-files", *SOURCES[1:5]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert {f"fedshelf/{name}" for name in tracked.stdout.split()} <= set(names)
    assert "fedshelf/py.typed" in names


def test_an_installed_wheel_runs_beside_modules_of_the_same_names(
    wheel: Path, neighbours: Path
) -> None:
    installed = neighbours / "installed"
    ZipFile(wheel).extractall(installed)
    program = (
        "import sys, fedshelf; print(fedshelf.__path__[0]); sys.argv[0] = 'flower-simulation'; "
        "from fedshelf.simulations.main import main; main()"
    )
    arguments = ["run", "--dataset", "shelf", "--stores", "2", "--rounds", "1", "--out", "run"]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments, "--set", "data.image_size=8"],
        cwd=neighbours,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), "."])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == str(installed / "fedshelf")
    assert (neighbours / "run" / "model.safetensors").is_file()


def test_the_extra_all_has_every_extra_for_users() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (everything,) = extras["all"]
    named = re.fullmatch(r"fedshelf\[(.*)\]", everything)
    assert named is not None
    assert sorted(named[1].split(",")) == sorted(extras.keys() - {"all", "dev", "docs"})


@pytest.mark.parametrize("command", ["flower-server", "flower-client", "flower-simulation"])
def test_commands_start_beside_modules_of_the_same_names(command: str, neighbours: Path) -> None:
    done = subprocess.run(
        [BIN / command, "--help"],
        cwd=neighbours,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"Usage: {command}" in done.stdout


def test_a_shell_completes_commands() -> None:
    asked = {"_FLOWER_CLIENT_COMPLETE": "complete_bash", "COMP_WORDS": "flower-client jo"}
    done = subprocess.run(
        [BIN / "flower-client"],
        env={**os.environ, **asked, "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["join"]


@pytest.mark.slow(minutes=0.5)
def test_server_and_stores_run_beside_modules_of_the_same_names(neighbours: Path) -> None:
    options = ["--stores", "2", "--rounds", "1", "--set", "data.image_size=8", "--out", "run"]
    done = subprocess.run(
        [BIN / "flower-server", "try", *options],
        cwd=neighbours,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (neighbours / "run" / "model.safetensors").is_file()
