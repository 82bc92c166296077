"""`flower-client check`, as a person uses it."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fedshelf.client.health.run_checks import Subject, exit_code, quick_check, run_checks
from fedshelf.client.main import app
from fedshelf.common.protocol.kit import Kit, chain_id
from tests.helpers.canned_server import Authority, Canned, http
from tests.helpers.commands import call
from tests.helpers.deployed import SCRIPTS, free_port
from tests.helpers.store_photos import folder

Check = Callable[..., subprocess.CompletedProcess[str]]
NO_OVERRIDE = "-dac_override,-dac_read_search"  # what makes root read everything


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def run(*arguments: str | Path, before: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        own = {
            "FEDSHELF_HOME": str(tmp_path / "home"),
            "FEDSHELF_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        if not before:
            return call(app, "check", *arguments, **own)
        command = [*before, str(SCRIPTS / "flower-client"), "check", *map(str, arguments)]
        return subprocess.run(
            command, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False
        )

    return run


def test_a_store_with_its_kit(check: Check, tmp_path: Path) -> None:
    shop = folder(tmp_path / "shop", {"hat": 20, "boot": 15})
    authority = Authority(tmp_path / "a.pem", days=5)
    server = Canned(http(ahead=7200), authority.context())
    pem = authority.pem.decode()
    kit = Kit(
        chain=chain_id(pem), server=server.address, authority=pem, store="lyon-2", code="c" * 30
    )
    kit.write(tmp_path / "lyon-2.kit")
    ended = check("--data", shop, "--kit", tmp_path / "lyon-2.kit")
    server.close()
    assert (ended.returncode, ended.stderr) == (0, "")
    home = tmp_path / "home" / "stores" / "lyon-2"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "health.html").stat().st_mode & 0o777 == 0o600
    counts, *findings, last = ended.stdout.splitlines()
    assert counts == "Store lyon-2: 35 photos of 2 classes (boot 15, hat 20)."
    verdict = "lyon-2 can take part all the same."
    assert last == f"{verdict} The page, which stays on this machine: {home / 'health.html'}"
    told = json.loads((home / "health.json").read_text())["findings"]
    assert [line.split(":")[0].lower() for line in findings] == [
        finding["severity"] for finding in told
    ]
    assert "Warning: The server's certificate ends in 4 days" in ended.stdout
    assert " min behind the server's." in ended.stdout
    assert kit.code not in (home / "health.html").read_text() + ended.stdout
    sent = b"".join(server.heard)
    assert [line for line in sent.split(b"\r\n") if b" HTTP/1.1" in line] == [
        b"GET /health HTTP/1.1", b"POST /fedshelf/classes HTTP/1.1",
    ]  # fmt: skip
    assert json.loads(sent[sent.rindex(b"\r\n") :]) == {"store": "lyon-2", "code": kit.code}
    assert len(sent) < 300  # bytes


def test_each_kind_of_problem_has_its_exit_code(check: Check, tmp_path: Path) -> None:
    shop = folder(tmp_path / "shop", {"hat": 12})
    ended = check("--data", tmp_path / "gone", "--out", tmp_path / "page")
    assert ended.returncode == 3
    assert "Problem: " in ended.stdout
    assert (tmp_path / "page" / "health.html").exists()
    assert check("--data", shop, "--server", f"127.0.0.1:{free_port()}").returncode == 6


def _closed(place: Path) -> tuple[Path, list[str]]:
    """A folder of photos that the user who runs a command after these words may not enter."""
    shop = folder(place / "closed" / "shop", {"hat": 12})
    if os.geteuid():
        shop.parent.chmod(0)
        return shop, []
    os.chown(shop.parent, 65534, -1)
    shop.parent.chmod(0o700)
    return shop, ["setpriv", f"--bounding-set={NO_OVERRIDE}", f"--inh-caps={NO_OVERRIDE}"]


@pytest.mark.skipif(
    os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may read everything"
)
def test_photos_that_may_not_be_read_are_a_problem_of_the_photos(
    check: Check, tmp_path: Path
) -> None:
    shop, words = _closed(tmp_path)
    try:
        for data in (shop.parent, shop):
            ended = check("--data", data, "--name", "oslo-7", before=words)
            assert (ended.returncode, ended.stderr) == (3, "")
            assert (
                f"{data} cannot be read (Permission denied); let the user who runs" in ended.stdout
            )
    finally:
        shop.parent.chmod(0o700)


def test_a_policy_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    shop = folder(tmp_path / "shop", {"hat": 12})
    (tmp_path / "policy.toml").write_text("hours = 7\n")
    report = run_checks(
        Subject("oslo-7", shop, policy=tmp_path / "policy.toml"), lambda _: lambda *_: None
    )
    assert report.findings[0].kind == "settings"
    assert "hours" in report.findings[0].what
    assert exit_code(report.findings) == 2
    assert quick_check(shop, tmp_path / "policy.toml")[0] == report.findings[0]


def test_mistakes_in_the_command(check: Check, tmp_path: Path) -> None:
    shop = folder(tmp_path / "shop", {"hat": 2})
    for arguments, words in {
        ("--server", "here"): "expected HOST:PORT",
        ("--name", "../up"): "cannot be used",
        ("--kit", str(tmp_path / "no.kit")): "There is no kit",
    }.items():
        ended = check("--data", shop, *arguments)
        assert ended.returncode == 2
        assert ended.stderr.startswith("Error: ")
        assert words in ended.stderr
        assert ended.stderr.count("\n") == 1
