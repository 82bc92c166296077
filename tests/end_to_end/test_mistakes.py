"""A mistake of a person who runs a server or a store: one sentence, an exit code, nothing left
behind.
"""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from fedshelf.client.main import app as client
from fedshelf.server.main import app as server
from tests.helpers.commands import call
from tests.helpers.deployed import draw_photos
from tests.helpers.deployment_fixtures import Starter

COMMANDS = {"flower-client": client, "flower-server": server}
JOIN = [
    "flower-client",
    "join",
    "--server",
    "127.0.0.1:9",
    "--name",
    "north",
    "--insecure",
    "--data",
]
START = ["flower-server", "start", "--insecure", "--out"]


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store has been set up on this machine."""
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_photos(tmp_path_factory.mktemp("photos") / "north", ["boot", "hat"], per_class=3)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("empty")
    (folder / "notes.txt").write_text("no photo")
    return folder


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ([], 2, "Missing option '--data'"),
        (["PHOTOS", "--nam", "x"], 2, "No such option '--nam'"),
        (["PHOTOS", "--server", "nonsense"], 2, "expected HOST:PORT"),
        (["PHOTOS", "--server", "127.0.0.1:99999"], 2, "expected HOST:PORT"),
        (["PHOTOS", "--server", "192.0.2.1:8443"], 2, "plain HTTP is for a server on this machine"),
        (["PHOTOS", "--name", "../north"], 2, "Store name '../north' cannot be used"),
        (["PHOTOS", "--wait", "-1"], 2, "--wait"),
    ],
)
def test_a_mistyped_join(photos: Path, more: list[str], code: int, words: str) -> None:
    arguments = [str(photos) if argument == "PHOTOS" else argument for argument in more]
    prefix = JOIN if arguments else JOIN[:-1]
    assert_one_sentence([*prefix, *arguments], code, words)


def test_a_store_without_tls_says_so(photos: Path) -> None:
    arguments = [each for each in JOIN if each != "--insecure"]
    assert_one_sentence([*arguments, str(photos)], 2, "--insecure")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert_one_sentence([*JOIN, str(tmp_path / "nowhere")], 3, "nowhere")


def test_a_folder_without_photos(empty: Path) -> None:
    assert_one_sentence([*JOIN, str(empty)], 3, "one sub-folder per product class")


def test_a_device_that_is_not_there(photos: Path) -> None:
    assert_one_sentence([*JOIN, str(photos), "--device", "cuda:99"], 2, "cuda:99")


def test_a_server_that_is_not_there(photos: Path) -> None:
    assert_one_sentence([*JOIN, str(photos), "--wait", "0.5"], 6, "No server at 127.0.0.1:9")


def test_something_else_listens_there(command: Starter, photos: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        started = command.store(photos, port, "", "--wait", "60")
        connection, _ = other.accept()
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        assert started.ends() == 6
        assert "it is not a Fedshelf server (HTTP 404)" in started.text


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--stores", "many"], 2, "--stores"),
        (["--stores", "0"], 2, "cohort.min_stores"),
        (["--port", "0"], 2, "--port"),
        (["--host", "0.0.0.0"], 2, "plain HTTP is served on 127.0.0.1 only"),
        (["--set", "train.epoch=3"], 2, "train.epochs"),
        (["--set", "train.lr"], 2, "KEY=VALUE"),
        (["--config", "/nowhere.toml"], 2, "/nowhere.toml"),
        (["--resume"], 4, "no run to resume"),
    ],
)
def test_a_mistyped_start(tmp_path: Path, more: list[str], code: int, words: str) -> None:
    out = tmp_path / "run"
    assert_one_sentence([*START, str(out), *more], code, words)
    assert not out.exists()


def test_an_unknown_model(tmp_path: Path) -> None:
    assert_one_sentence([*START, str(tmp_path / "run"), "--model", "resnet81"], 2, "resnet81")
    assert not (tmp_path / "run").exists()


def test_weights_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "evil.pt").write_bytes(b"\x80\x04.")
    save_file({"weight": torch.full((2,), torch.nan)}, tmp_path / "nan.safetensors")
    for name, code, words in (
        ("evil.pt", 2, "a pickle"),
        ("nan.safetensors", 3, "not finite (NaN or infinity in"),
    ):
        assert_one_sentence(
            [*START, str(tmp_path / "run"), "--weights", str(tmp_path / name)], code, words
        )
        assert not (tmp_path / "run").exists()


def test_a_run_that_exists_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_text("precious")
    assert_one_sentence([*START, str(tmp_path)], 4, "--resume")
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        assert_one_sentence(
            [*START, str(tmp_path / "run"), "--port", port], 6, f"Port {port} on 127.0.0.1"
        )


def test_help_loads_nothing_heavy() -> None:
    program = (
        "import sys, fedshelf.client.main, fedshelf.server.main; "
        "sys.exit(bool({'torch', 'flwr', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_who_trains_nothing_loads_no_pytorch(photos: Path) -> None:
    """The launcher of a run of default strategy and the store's process on the line: 3 s and 500 MB
    each.
    """
    program = """
import sys
from pathlib import Path
from fedshelf.common.config import resolve
from fedshelf.server.launcher.launcher import check_early
check_early(resolve({"model.name": "niid-cnn"}))
import fedshelf.client.identity.enrolment, fedshelf.client.session.join
import fedshelf.server.training.class_confirmation, fedshelf.server.launcher.launcher
import fedshelf.server.credentials.registrar, fedshelf.server.gateway.proxy
import fedshelf.server.monitor.web
from fedshelf.client.health.folder_summary import summarize_folder
summarize_folder(Path(sys.argv[1]))
sys.exit("torch" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", program, photos], check=False).returncode == 0


def assert_one_sentence(arguments: list[str], code: int, words: str) -> None:
    """The command ends with this exit code; its last line has these words; nothing like a traceback
    is there.
    """
    done = call(COMMANDS[arguments[0]], *arguments[1:], NO_COLOR="1")
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    lines = text.splitlines()
    assert words in lines[-1]
    assert "Traceback" not in text
    assert [line for line in lines if line.startswith("Error")] == lines[-1:], text
