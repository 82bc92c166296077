"""`flower-server try`: server and stores on one machine, of which nothing is left when it ends,
however it ends.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fedshelf.common.errors import DataError
from fedshelf.server.operations.trial import _store_folders
from tests.helpers.deployed import Command, draw_photos, history, processes_of, wait_for
from tests.helpers.deployment_fixtures import Starter
from tests.helpers.scene_files import save_photo, save_text

QUICK = ["--set", "train.lr=0.02", "--set", "data.image_size=32", "--model", "niid-cnn"]


def place_of(trial: Command) -> Path:
    """The folder of its kits and stores."""
    trial.says("are in /")
    found = re.search(r"are in (/\S+) until the end", trial.text)
    assert found
    return Path(found[1])


def test_folders_of_stores_are_told_from_folders_of_products(tmp_path: Path) -> None:
    for name in ("oslo", "lyon", "test"):
        draw_photos(tmp_path / "chain" / name, ["boot", "hat"], per_class=1)
    assert sorted(_store_folders(tmp_path / "chain")) == ["lyon", "oslo", "test"]
    assert _store_folders(tmp_path / "chain" / "oslo") == {}
    for name in ("train", "Test"):
        draw_photos(tmp_path / "splits" / name, ["boot", "hat"], per_class=1)
    assert _store_folders(tmp_path / "splits") == {}
    (tmp_path / "chain" / "shirt").mkdir()
    with pytest.raises(
        DataError, match=r"can be read in two ways: 'lyon' holds folders.* 'shirt' holds none"
    ):
        _store_folders(tmp_path / "chain")


def test_folders_of_scenes_are_stores_and_one_alone_is_refused(tmp_path: Path) -> None:
    for name in ("oslo", "lyon"):
        save_photo(tmp_path / name / "1.png")
        save_text(tmp_path / name / "1.txt", "0 0.5 0.5 0.2 0.2\n")
    save_photo(tmp_path / "rome/images/train/1.png")
    save_text(tmp_path / "rome/labels/train/1.txt", "")
    assert sorted(_store_folders(tmp_path)) == ["lyon", "oslo", "rome"]
    for name in ("oslo", "rome"):
        with pytest.raises(DataError, match=f"{name}, which is one folder of scenes; expected"):
            _store_folders(tmp_path / name)


def test_mistakes_are_told_before_anything_starts(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    photos = folders["mitte"].parent
    for more, code, words in (
        (["--photos", tmp_path / "nowhere"], 3, "which is not a folder"),
        (["--photos", photos, "--stores", "2"], 2, "has the folders of 3 stores; --stores got 2"),
        (["--stores", "0"], 2, "--stores"),
    ):
        trial = command("flower-server", "try", "--out", tmp_path / "run", *more)
        assert trial.ends() == code, trial.text
        assert words in trial.text
        assert len(trial.lines) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.slow(minutes=0.5)
def test_one_interrupt_ends_server_and_stores(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    photos = tmp_path / "photos"
    for name in ("mitte", "ost"):
        shutil.copytree(folders[name], photos / name)
    draw_photos(photos / "ost" / "more", ["scarf"])
    (photos / "ost" / "more" / "scarf").rename(photos / "ost" / "scarf")
    (photos / "ost" / "more").rmdir()
    trial = command(
        "flower-server", "try", "--photos", photos, "--rounds", "9999", "--out", out, *QUICK
    )
    place = place_of(trial)
    trial.says("round=1/")
    trial.interrupt()
    assert trial.ends() == 130, trial.text
    assert trial.lines[-1] == f"All stores have ended. The run: {out}"
    assert sorted(history(out)[0]["stores"]) == ["mitte", "ost"]
    assert '"scarf"' in (out / "config.toml").read_text(), "a class that one store alone has"
    assert (out / "report.html").exists()
    assert not place.exists()
    assert processes_of(place) == processes_of(out) == []


@pytest.mark.slow(minutes=0.5)
def test_its_stores_can_sum_securely(
    command: Starter, folders: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    summed = ["--set", "privacy.secure_sum=true", "--set", "run.deliver=last", "--rounds", "1"]
    photos = folders["mitte"].parent
    trial = command("flower-server", "try", "--photos", photos, "--out", out, *summed, *QUICK)
    assert trial.ends() == 0, trial.text
    (record,) = history(out)
    assert (record["failed"], record["train"]["shortened"]) == ({}, 0)


@pytest.mark.slow(minutes=0.5)
def test_killed_it_leaves_no_process(command: Starter, tmp_path: Path) -> None:
    out = tmp_path / "run"
    photos = draw_photos(tmp_path / "photos", ["boot", "hat"])
    dealt = ["--photos", photos, "--stores", "2"]
    trial = command("flower-server", "try", *dealt, "--rounds", "9999", "--out", out, *QUICK)
    place = place_of(trial)
    trial.says("round=1/")
    assert processes_of(place)
    trial.kill()
    wait_for(lambda: not processes_of(place) and not processes_of(out))


WATCHED = """
import signal, sys
from pathlib import Path
from fedshelf.server.launcher.child_processes import ChildProcesses
from fedshelf.server.operations.trial import StoreWatch
children = ChildProcesses(Path(sys.argv[1]), {})
children.spawn("lyon", [sys.executable, "-c", "raise SystemExit(3)"])
try:
    with StoreWatch(children, ["lyon"]) as watch:
        signal.pause()
except KeyboardInterrupt:
    print(watch.ended)
"""


def test_a_store_that_ends_interrupts_a_trial_in_the_background_too(tmp_path: Path) -> None:
    """A shell starts what it runs in the background with SIGINT ignored."""
    command = [
        "sh",
        "-c",
        'trap \'\' INT; exec "$0" -c "$1" "$2"',
        sys.executable,
        WATCHED,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "{'lyon': 3}\n", done.stderr


@pytest.mark.slow(minutes=0.5)
def test_a_store_that_cannot_join_ends_it_and_is_named(command: Starter, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    draw_photos(photos / "oslo", ["boot", "hat"])
    (photos / "lyon" / "boot").mkdir(parents=True)
    (photos / "lyon" / "boot" / "1.jpg").write_text("no photo")
    trial = command(
        "flower-server",
        "try",
        "--photos",
        photos,
        "--rounds",
        "1",
        "--out",
        tmp_path / "run",
        *QUICK,
    )
    place = place_of(trial)
    assert trial.ends() == 4, trial.text
    assert "Store lyon has ended with exit code 3: Error:" in trial.lines[-1]
    assert not place.exists()
    assert processes_of(place) == []
