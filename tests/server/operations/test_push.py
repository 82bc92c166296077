"""`flower-server push`: a release in the hub's layout, on disk and sent to a real server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedshelf.common.inference.release.hub_layout import hub_files
from fedshelf.common.models import saved
from fedshelf.common.release.keys import pin
from tests.helpers.hub_server import hub_server
from tests.helpers.released_models import save_locator_release, save_release

PROGRAM = "from fedshelf.server.main import main; main()"


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A release whose key is pinned here."""
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    folder, public = save_release(tmp_path)
    pin(public)
    return folder


def push(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PROGRAM, "push", *map(str, arguments)]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )


def front_matter(readme: bytes) -> dict[str, Any]:
    _, matter, card = readme.decode().split("---\n", 2)
    assert "# A card" in card
    return dict(yaml.safe_load(matter))


def test_the_layout_has_the_card_the_config_and_the_signed_files(release: Path) -> None:
    files = hub_files(release)
    spec = saved.read(release / "model.safetensors").spec
    told = front_matter(files["README.md"])
    assert told["pipeline_tag"] == "image-classification"
    assert told["library_name"] == "fedshelf"
    config = json.loads(files["config.json"])
    assert config["architecture"] == spec.name
    assert config["label_names"] == list(spec.classes)
    for path in release.iterdir():
        assert files[f"release/{path.name}"] == path.read_bytes()
    assert files["model.safetensors"] == (release / "model.safetensors").read_bytes()


def test_a_locator_is_told_as_a_finder_of_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "home"))
    test = {"test": {"accuracy": 0.1, "macro_f1": None}}
    locator, public = save_locator_release(tmp_path, provenance=test)
    pin(public)
    readme = hub_files(locator)["README.md"].decode()
    told = yaml.safe_load(readme.split("---\n")[1])
    assert told["pipeline_tag"] == "object-detection"
    assert "model-index" not in told  # the share of faultless photos says little


def test_it_is_sent_as_one_commit_and_can_be_written_instead(release: Path, tmp_path: Path) -> None:
    files = hub_files(release)
    with hub_server() as hub:
        sent = push(
            release, "hf:lab/shoes",
            HF_ENDPOINT=hub.address, HF_TOKEN="hf_secret", HF_HOME=str(tmp_path / "hf"),
            HF_HUB_OFFLINE="0", HF_HUB_DISABLE_XET="1",
        )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert f"Pushed to {hub.address}/lab/shoes/commit/1: README.md" in sent.stdout
    assert hub.files == files
    assert files["model.safetensors"] in hub.large.values()
    (made,) = hub.repositories
    assert (made["name"], made["organization"], made["visibility"]) == ("shoes", "lab", "private")
    assert hub.tokens == {"Bearer hf_secret"}

    written = push(release, "hf:lab/shoes", "--to", tmp_path / "layout")
    assert written.returncode == 0, written.stderr
    found = {
        path.relative_to(tmp_path / "layout").as_posix(): path.read_bytes()
        for path in (tmp_path / "layout").rglob("*")
        if path.is_file()
    }
    assert found == files
    saved.read(tmp_path / "layout" / "release" / "model.safetensors")  # verified as signed


def test_what_cannot_be_pushed_is_refused_in_one_sentence(release: Path, tmp_path: Path) -> None:
    for arguments, code, words in (
        ((release, "shoes"), 2, "Got 'shoes'; expected hf:OWNER/NAME"),
        ((tmp_path, "hf:lab/shoes"), 3, "is no release: it has no release.json"),
        ((release, "hf:lab/shoes", "--to", release), 2, "is there already"),
    ):
        done = push(*arguments)
        assert (done.returncode, done.stdout) == (code, "")
        assert words in done.stderr
    nobody = push(release, "hf:lab/shoes", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert nobody.returncode == 6
    assert "The hub did not take hf:lab/shoes" in nobody.stderr
