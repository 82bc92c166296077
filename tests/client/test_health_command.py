"""`flower-client check` as a process of its own."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.client.canned_server import Authority, Canned, http
from tests.client.store_photos import folder
from tests.deployment.deployed import SCRIPTS, free_port

Check = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        own = {
            "FEDSHELF_HOME": str(tmp_path / "home"),
            "FEDSHELF_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        command = [str(SCRIPTS / "flower-client"), "check", *map(str, arguments)]
        return subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_a_good_store(check: Check, tmp_path: Path) -> None:
    server = Canned(http())
    ended = check(
        "--data", folder(tmp_path / "shop", {"hat": 20, "boot": 15}), "--name", "oslo-7", "--server", server.address
    )
    server.close()
    assert (ended.returncode, ended.stderr) == (0, "")
    home = tmp_path / "home" / "stores" / "oslo-7"
    assert home.stat().st_mode & 0o777 == 0o700
    assert ended.stdout.splitlines()[-1] == (
        f"oslo-7 can take part all the same. The page, which stays on this machine: {home / 'health.html'}"
    )
    told = json.loads((home / "health.json").read_text())
    assert len([line for line in ended.stdout.splitlines() if line.startswith(("Problem", "Warning", "Note"))]) == len(
        told["findings"]
    )
    assert len(b"".join(server.heard)) < 100  # bytes: one GET /health


def test_each_kind_of_problem_has_its_exit_code(check: Check, tmp_path: Path) -> None:
    shop = folder(tmp_path / "shop", {"hat": 12})
    (tmp_path / "policy.toml").write_text("hours = 7\n")
    ended = check("--data", tmp_path / "gone", "--out", tmp_path / "page")
    assert ended.returncode == 3
    assert "Problem: " in ended.stdout
    assert (tmp_path / "page" / "health.html").exists()
    assert check("--data", shop, "--server", f"127.0.0.1:{free_port()}").returncode == 6
    ended = check("--data", shop, "--policy", tmp_path / "policy.toml")
    assert ended.returncode == 2
    assert "hours" in ended.stdout


def test_mistakes_in_the_command(check: Check, tmp_path: Path) -> None:
    shop = folder(tmp_path / "shop", {"hat": 2})
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    for arguments, words in {
        ("--server", "here"): "expected HOST:PORT",
        ("--name", "../up"): "cannot be used",
        ("--model", str(tmp_path)): "which cannot be used",
        ("--kit", str(tmp_path / "no.kit")): "There is no kit",
    }.items():
        ended = check("--data", shop, *arguments)
        assert ended.returncode == 2
        assert ended.stderr.startswith("Error: ")
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1


def test_with_a_kit_the_certificate_is_checked(check: Check, tmp_path: Path) -> None:
    from common.kit import Kit, chain_id

    shop = folder(tmp_path / "shop", {"hat": 12})
    authority = Authority(tmp_path / "a.pem", days=5)
    server = Canned(http(ahead=60), authority.context())
    pem = authority.pem.decode()
    kit = Kit(chain=chain_id(pem), server=server.address, authority=pem, store="lyon-2", code="c" * 30)
    kit.write(tmp_path / "lyon-2.kit")
    ended = check("--data", shop, "--kit", tmp_path / "lyon-2.kit")
    server.close()
    assert ended.returncode == 0, ended.stderr
    assert "Warning: The server's certificate ends in 4 days" in ended.stdout
    assert "seconds behind the server's." in ended.stdout
    page = (tmp_path / "home" / "stores" / "lyon-2" / "health.html").read_text()
    assert kit.code not in page + ended.stdout
    assert kit.code not in b"".join(server.heard).decode()
