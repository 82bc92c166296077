"""Photos that change during a run of real processes: the next round is trained on what is there."""

import shutil
from pathlib import Path

import pytest

from fedshelf.client.audit.verify import entries
from fedshelf.client.identity.home import store_home
from fedshelf.common.images.cache.pixel_file import read_digests
from tests.helpers.deployed import draw_photos, free_port, history, wait_for
from tests.helpers.deployment_fixtures import Starter

pytestmark = pytest.mark.slow(minutes=0.5)


def trained(out: Path) -> list[int]:
    """Images that the store's update of each round counted with."""
    return [
        record["stores"]["oslo"]["images"] for record in history(out) if "oslo" in record["stores"]
    ]


def test_photos_come_and_go_while_a_run_is_under_way(
    command: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    command.environment |= {"FEDSHELF_CACHE": str(tmp_path / "cache")}
    port = free_port()
    out = tmp_path / "run"
    photos = draw_photos(tmp_path / "oslo", ["boot", "hat"], per_class=20)
    more = draw_photos(tmp_path / "more", ["boot", "hat"], per_class=10, seed=1)
    store = command.store(photos, port)
    server = command.server(out, port, "--stores", "1", "--rounds", "1000")
    wait_for(lambda: 32 in trained(out))
    for file in more.rglob("*.png"):
        shutil.copy(file, photos / file.parent.name / f"more-{file.name}")
    wait_for(lambda: 48 in trained(out))
    for file in photos.rglob("more-*"):
        file.unlink()
    done = len(trained(out))
    wait_for(lambda: trained(out)[done:].count(32) > 1)
    server.interrupt()
    assert server.ends() == 130, server.text
    assert "invalid" not in {
        failure["code"] for record in history(out) for failure in record["failed"].values()
    }
    assert {
        len(read_digests(path)) for path in (tmp_path / "cache" / "images").glob("*.pixels")
    } == {40}
    store.says("The photos have changed: ")
    noted = [
        entry.why
        for entry in entries(store_home("oslo") / "audit.jsonl")
        if entry.event == "photos"
    ]
    assert len(noted) >= 2
    assert any("added" in why for why in noted)
    assert any("removed" in why for why in noted)
