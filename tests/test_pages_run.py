"""Each command of a page is run by a test, or listed here with the reason why not."""

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import typer

from fedshelf.client.main import app as client
from fedshelf.server.main import app as server
from fedshelf.simulations.main import app as simulation
from tests.helpers.commands import call
from tests.helpers.documented_commands import commands
from tests.helpers.product_photos import COLOURS, photos

ROOT = Path(__file__).parents[1]
APPS: Mapping[str, typer.Typer] = {
    "flower-client": client,
    "flower-server": server,
    "flower-simulation": simulation,
}
PAGES = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"))
    if path.name != "commands.md" and commands(path.read_text(encoding="utf-8"))
}
ELSEWHERE = {  # pages whose commands another test runs, all of them
    "README.md": "tests/test_readme.py",
    "CONTRIBUTING.md": "tests/test_contributing.py",
    "docs/tutorials/first-run.md": "tests/test_documented_commands.py",
    "docs/tutorials/your-photos.md": "tests/test_documented_commands.py",
    "docs/tutorials/three-stores.md": "tests/test_documented_commands.py",
    "docs/tutorials/a-page.md": "tests/test_documented_commands.py",
    "docs/how-to/photos.md": "tests/test_documented_commands.py",
    "docs/how-to/few-labels.md": "tests/test_documented_commands.py",
    "docs/how-to/unequal-stores.md": "tests/test_documented_commands.py",
    "docs/how-to/privacy.md": "tests/test_documented_commands.py",
    "docs/how-to/pretrained.md": "tests/test_documented_commands.py",
}
HERE = ("docs/how-to/use.md", "docs/how-to/health.md", "docs/how-to/compare.md")
ROOT_RIGHTS = "needs a machine of its own and root's rights; tests/deploy checks its files"
A_CHAIN = "needs a chain of stores, as tests/end_to_end has them"
NOT_RUN = {  # page -> the beginning of commands -> why no test runs them as they stand there
    "docs/how-to/use.md": {
        "flower-client corrections": "needs a person's labels; tests/client/use has such a file",
        "flower-client join": A_CHAIN,
        "flower-client watch": "needs a camera or a film; tests/client/use watches both",
        "flower-client serve": "stays; tests/client/service asks such a service",
        "curl ": "asks a service that stays; tests/client/service asks it, too",
        "python -m http.server": "stays; docs/tutorials/a-page.md runs it",
        "flower-client annotate MODEL inbox --out ask": (
            "needs photos of which a model is unsure; tests/client/use has some"
        ),
        "flower-server start": A_CHAIN,
    },
    "docs/how-to/health.md": {"flower-client check --kit": A_CHAIN},
    "docs/how-to/compare.md": {
        "flower-simulation compare --dataset photos --stores 4 --partition dirichlet:0.5 --seeds": (
            "the command above three times; tests/simulations/compare has several seeds"
        )
    },
    "docs/how-to/python.md": {
        "flower-simulation run": "run by tests/simulations/python/test_python_page.py",
        "flower-server start": "run by tests/end_to_end/test_own_code.py with such a package",
    },
    "docs/how-to/scenes.md": {
        "flower-": "locators train for minutes; tests/simulations/scenes, tests/client/use/scenes"
    },
    "docs/how-to/operations.md": {
        "sudo ": ROOT_RIGHTS,
        "docker ": "needs containers and a network; tests/deploy checks the files",
        "flower-server deliver": A_CHAIN,
    },
    "docs/how-to/joining.md": {
        "flower-server ": A_CHAIN,
        "flower-client ": A_CHAIN,
        "chmod ": A_CHAIN,
    },
    "docs/how-to/monitoring.md": {"ssh ": "needs a second machine"},
    "docs/how-to/new-product.md": {"flower-server ": A_CHAIN},
    "docs/how-to/ray.md": {
        "ray ": "needs several machines",
        "flower-simulation run": "needs their cluster; tests/simulations/engines/ray has one",
    },
    "docs/how-to/upgrading.md": {"systemctl ": ROOT_RIGHTS, "tar ": ROOT_RIGHTS},
    "docs/reference/reports.md": {"wandb sync": "needs a login at wandb.ai"},
}
QUICK = ("--rounds", "3", "--model", "cnn", "--set", "data.image_size=16")


def is_left_out(page: str, command: str) -> bool:
    return command.startswith(tuple(NOT_RUN.get(page, ())))


def test_each_command_is_run_or_left_out_for_a_reason() -> None:
    unknown = {
        page: left
        for page, path in PAGES.items()
        if page not in ELSEWHERE and page not in HERE
        if (left := [each for each in commands(path.read_text()) if not is_left_out(page, each)])
    }
    assert unknown == {}


def test_no_entry_is_stale() -> None:
    for page, reasons in NOT_RUN.items():
        found = commands(PAGES[page].read_text(encoding="utf-8"))
        unused = [start for start in reasons if not any(each.startswith(start) for each in found)]
        assert unused == [], page
    for page, test in ELSEWHERE.items():
        assert page in PAGES
        assert Path(page).name in (ROOT / test).read_text(encoding="utf-8") or "*.md" in test, page


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder with photos, three runs, and all that the commands of the pages name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    photos(tmp_path / "photos")
    for seed, name in enumerate(("one", "two", "three")):
        done = call(
            simulation, "run", "--dataset", "photos", "--stores", "2", "--seed", str(seed), *QUICK,
            "--out", f"runs/{name}",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    for copy, name in (("a", "one"), ("b", "two"), ("shop", "one")):
        shutil.copytree(f"runs/{name}", f"runs/{copy}")
    for name in ("inbox", "shelf", "store", "today", "good-pieces"):
        shutil.copytree("photos/train/hat", name)
    for split in ("validation", "test"):  # 19 good pieces are the fewest for its false alarms
        for path in Path(f"photos/{split}/hat").iterdir():
            shutil.copy(path, f"good-pieces/{split}-{path.name}")
    for folder, label in (("validation", "validation"), ("test", "test")):
        shutil.copytree(f"photos/{label}", folder)
    for name, label in zip(("scratch", "stain"), ("shoe", "coat"), strict=True):
        shutil.copytree(f"photos/train/{label}", f"defects/{name}")
    for name, label in zip(("photo", "a", "b", "c"), [*COLOURS, "hat"], strict=True):
        shutil.copy(f"photos/test/{label}/0.png", f"{name}.jpg")
    return tmp_path


def run(command: str, place: Path) -> None:
    """Run a command in this process; what its output is written to, too."""
    for word, path in (
        ("MODEL", "runs/one"),
        ("PHOTOS", "photos/test"),
        ("sorted/undo-2026-11-30-081500.jsonl", "sorted/undo-*.jsonl"),
    ):
        command = command.replace(word, path)
    if "ed25519:..." in command:
        command = command.replace("ed25519:...", Path("release.key.pub").read_text().strip())
    program, *words = shlex.split(command)
    to = words[words.index(">") + 1] if ">" in words else None
    words = words[: words.index(">")] if to else words
    expanded = [
        str(path) for word in words for path in (place.glob(word) if "*" in word else [word])
    ]
    more = QUICK if expanded[0] == "compare" else ()
    done = call(APPS[program], *expanded, *more)
    code = done.returncode
    assert code == 0, f"{command}\n{done.stdout}{done.stderr}"
    if to:
        Path(to).write_text(done.stdout, encoding="utf-8")


@pytest.mark.slow(minutes=1)
def test_the_commands_of_the_pages_run_as_they_stand_there(place: Path) -> None:
    failed = []
    for page in HERE:
        found = commands(PAGES[page].read_text(encoding="utf-8"))
        # the file that commands above it use is there already for a reader
        for command in sorted(found, key=lambda each: "export-onnx" not in each):
            if not is_left_out(page, command):
                try:
                    run(command, place)
                except AssertionError as error:
                    failed.append(f"{page}: {error}")
    assert not failed, "\n".join(failed)
