"""Commands and settings of docs/how-to/operations.md, with a folder here for /var and /etc."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.helpers.deployed import free_port
from tests.helpers.page_commands import ROOT, WITH_A_CHAIN, PageCommands, run_here

PAGE = "docs/how-to/operations.md"
COPIES = ("sudo cp ", "sudo install -m")


@pytest.mark.slow
def test_a_server_is_prepared_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSHELF_HOME", str(tmp_path / "state"))
    here = {
        "sudo -u fedshelf /opt/fedshelf/bin/": "",
        "/var/lib/fedshelf": str(tmp_path / "var"),
        "/etc/fedshelf": str(tmp_path / "etc"),
        "shop.example": "localhost",
        "9092": str(free_port()),
    }
    page = PageCommands(PAGE, here, but=(*COPIES, *WITH_A_CHAIN[PAGE]))
    run_here(page.take("sudo -u fedshelf /opt/fedshelf/bin/flower-server provision"))
    kits = [path.name for path in (tmp_path / "var/shops/chain/kits").iterdir()]
    assert sorted(kits) == ["lyon-2.kit", "oslo-7.kit"]
    (settings,) = page.blocks("toml")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "shops.toml").write_text(settings)
    check = page.take("sudo -u fedshelf /opt/fedshelf/bin/flower-server check")
    told = run_here(check, "--live-port", "0", "--host", "127.0.0.1")
    assert re.search(r"^ok\b", told, re.MULTILINE)
    assert not re.search(r"^fail\b", told, re.MULTILINE)
    assert page.left == []


def test_the_units_that_the_page_starts_are_those_that_it_copies(tmp_path: Path) -> None:
    page = PageCommands(PAGE, {"sudo ": "", " /etc/": f" {tmp_path}/"}, only=COPIES)
    for folder in ("systemd/system", "logrotate.d"):
        (tmp_path / folder).mkdir(parents=True)
    for line in list(page.left):
        subprocess.run(shlex.split(page.take(line)), cwd=ROOT, check=True)
    assert (tmp_path / "logrotate.d" / "fedshelf").stat().st_mode & 0o777 == 0o644
    copied = {path.name for path in (tmp_path / "systemd/system").iterdir()}
    started = set(re.findall(r"(fedshelf-[a-z-]+@)[a-z0-9-]+", page.text))
    assert {f"{unit}.service" for unit in started} == copied
