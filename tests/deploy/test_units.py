"""Units that deploy/ hands to systemd: ones that systemd 252 accepts, commands that there are,
restarts that end.
"""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.deployed import SCRIPTS

DEPLOY = Path(__file__).parents[2] / "deploy"
DOCS = DEPLOY.parent / "docs"
UNITS = sorted(DEPLOY.glob("*.service"))
# that run our commands, not a container
OURS = [path for path in UNITS if "container" not in path.name]
KEYS = Path(__file__).with_name("systemd_252_keys.txt")
SYSTEMD = Path("/lib/systemd/systemd")
ALONE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]

# Exit codes, and whether systemd is to start again.
CODES = {
    "fedshelf-server@.service": {
        0: False,
        1: True,
        2: False,
        3: False,
        4: True,
        5: True,
        6: True,
        130: False,
    },
    "fedshelf-store@.service": {0: True, 1: True, 2: False, 3: True, 6: True, 7: False},
}
RESTARTS = r"^(?:StartLimit.*|Restart.*|SuccessExitStatus.*)$"


def test_there_is_one_for_each_side() -> None:
    kinds = ("server", "server-container", "store", "store-container", "watch")
    assert [path.name for path in UNITS] == sorted(f"fedshelf-{kind}@.service" for kind in kinds)


@pytest.mark.parametrize("side", ["server", "store"])
def test_containers_are_started_again_like_commands(side: str) -> None:
    own, container = (
        (DEPLOY / f"fedshelf-{kind}@.service").read_text() for kind in (side, f"{side}-container")
    )
    lines = [sorted(re.findall(RESTARTS, text, re.MULTILINE)) for text in (own, container)]
    assert lines[0] == lines[1] != []


def options_of(script: str, command: str) -> str:
    return subprocess.run(
        [SCRIPTS / script, *command.split(), "--help"], capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_the_commands_and_options_exist(path: Path) -> None:
    (line,) = re.findall(r"^ExecStart=(.*)", path.read_text(), re.MULTILINE)
    script, command, *arguments = shlex.split(line)
    told = options_of(Path(script).name, command)
    for option in arguments:
        assert not option.startswith("--") or re.search(rf"{option}\b", told), (
            f"{script} {command} has no {option}"
        )


def test_the_commands_in_the_handbook_exist() -> None:
    pages = ("operations", "monitoring", "new-product", "upgrading", "joining")
    text = "".join((DOCS / f"how-to/{page}.md").read_text() for page in pages)
    found = set(
        re.findall(
            r"(flower-(?:server|client)) (provision|start|status|watch|join|stores"
            r" [a-z]+|move)\b([^`|\n]*)",
            text,
        )
    )
    assert {command for _, command, _ in found} >= {"provision", "start", "status", "watch"}
    for script, command, rest in found:
        told = options_of(script, command)
        for option in re.findall(r"--[a-z][a-z-]*", rest):
            assert re.search(rf"{option}\b", told), f"{script} {command} has no {option}"


def test_the_handbook_tells_what_systemd_does() -> None:
    text = (DOCS / "reference/exit-codes.md").read_text()
    table = dict(re.findall(r"^\| (\d+) \| .* \| ([^|]+) \|$", text, re.MULTILINE))
    for name, codes in CODES.items():
        side = "server" if "server" in name else "store"
        for code, is_again in codes.items():
            told = table[str(code)]
            assert (told if told in ("yes", "no") else re.findall(rf"{side} (\w+)", told)[0]) == (
                "no",
                "yes",
            )[is_again]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_252_knows_every_key(path: Path) -> None:
    known = dict(re.findall(r"^\[(\w+)\]\n([^\[]*)", KEYS.read_text(), re.MULTILINE))
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            assert line.partition("=")[0] in known[section].split(), line


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_units(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd on this machine")
    here = tmp_path / path.name
    text = (
        path.read_text()
        .replace("/opt/fedshelf/bin", str(SCRIPTS))
        .replace("/usr/bin/docker", "/usr/bin/env")
    )
    here.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(here)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


class OwnSystemd:
    """A user's systemd that sees its own processes and its own /run, with one of our units, whose
    command is `command`.

    pause: between two starts; else the unit's own settings of restarts
    more: lines of its [Unit] section
    """

    def __init__(self, path: Path, place: Path, command: str, pause: str, more: str) -> None:
        self._place = place
        self._units = place / "systemd" / "user"
        self._units.mkdir(parents=True)
        ours = rf"{RESTARTS}|^(?:\[Unit\]|\[Service\]|Type=.*)$"
        kept = [
            re.sub(r"^(RestartSec)=.*", rf"\1={pause}", line)
            for line in re.findall(ours, path.read_text(), re.M)
        ]
        kept.insert(kept.index("[Service]"), more)
        self.write("tried", *kept, f"ExecStart=/bin/sh -c '{command}'")

    def write(self, name: str, *lines: str) -> None:
        (self._units / f"{name}.service").write_text("\n".join(lines) + "\n")

    def run(self) -> None:
        """Start the unit, and wait until one of its actions ends this systemd."""
        steps = [
            "mount -t tmpfs none /run",
            "mkdir -p /run/systemd/system /run/user",
            "$0 --user --unit=tried.service",
        ]
        # the shell stays: as process 1 it would be a whole machine's systemd
        script = " && ".join(steps) + "; exit $?"
        own = {
            "XDG_RUNTIME_DIR": "/run/user",
            "XDG_CONFIG_HOME": str(self._place),
            "HOME": str(self._place),
        }
        command = [*ALONE, "sh", "-c", script, str(SYSTEMD)]
        subprocess.run(
            command, env=own | {"PATH": "/bin"}, capture_output=True, check=False, timeout=200
        )


def is_started_again(path: Path, code: int, place: Path) -> bool:
    """Return whether systemd starts what ends with that exit code by the unit at `path` once more,
    after its pause.
    """
    systemd = OwnSystemd(path, place, f"exit {code}", "1h", "Wants=end.service")
    look = "systemctl --user show --property SubState --value tried.service"
    until = (
        f"until {look} | grep -xE auto-restart\\|failed\\|dead > {place}/state; do sleep 0.05; done"
    )
    actions = ["After=tried.service", "SuccessAction=exit-force", "FailureAction=exit-force"]
    systemd.write(
        "end", "[Unit]", *actions, "[Service]", "Type=oneshot", f"ExecStart=/bin/sh -c '{until}'"
    )
    systemd.run()
    return (place / "state").read_text().strip() == "auto-restart"


def starts(path: Path, code: int, place: Path) -> int:
    """Return how often systemd starts what ends with that exit code at once, until it gives up;
    without pauses.
    """
    OwnSystemd(
        path, place, f"echo >> {place}/starts; exit {code}", "1ms", "StartLimitAction=exit-force"
    ).run()
    return len((place / "starts").read_text().splitlines())


@pytest.fixture
def own_systemd() -> None:
    """Skips a test where there cannot be any."""
    mount = ["mount", "-t", "tmpfs", "none", "/run"]
    if (
        not SYSTEMD.exists()
        or subprocess.run([*ALONE, *mount], capture_output=True, check=False).returncode
    ):
        pytest.skip("no systemd on this machine, or nobody may have one of his own here")


@pytest.mark.slow
@pytest.mark.usefixtures("own_systemd")
def test_what_trying_again_cannot_change_is_not_tried_again(tmp_path: Path) -> None:
    for name, codes in CODES.items():
        again = {
            code: is_started_again(DEPLOY / name, code, tmp_path / f"{name}{code}")
            for code in codes
        }
        assert again == codes


@pytest.mark.slow
@pytest.mark.usefixtures("own_systemd")
@pytest.mark.parametrize(
    ("name", "code"), [("fedshelf-store@.service", 3), ("fedshelf-server@.service", 4)]
)
def test_restarts_of_what_fails_at_once_come_to_an_end(
    name: str, code: int, tmp_path: Path
) -> None:
    assert starts(DEPLOY / name, code, tmp_path / "own") == 100
