"""Flower's server side as child processes: SuperLink, SuperExec, gateway, and the submitted run.

Only command lines are used, no private name of flwr. All of Flower's files are below
`<run>/flower/`.
"""

import json
import os
import secrets
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import tomli_w

from fedshelf.common.command_line import ENVIRONMENT
from fedshelf.common.errors import NetworkError, RunError
from fedshelf.common.system.files import write_json, write_private, write_text
from fedshelf.server.addresses import LOOPBACK, Address, check_free, free_port
from fedshelf.server.credentials.chain import Chain
from fedshelf.server.credentials.registrar import reset_registrations
from fedshelf.server.ipc.run_mailbox import ANSWERED, PROCESSES
from fedshelf.server.launcher.child_processes import (
    ChildProcesses,
    installed_command,
    kill_leftovers,
)

PORT_RELEASE_TIMEOUT_SECONDS = 5.0  # for a killed process to release its port
GATEWAY_HEALTH_TIMEOUT_SECONDS = 5.0  # for the gateway to say whether the SuperLink is well
# for the SuperLink to answer, and for a submission to be accepted
STARTUP_TIMEOUT_SECONDS = 90.0
CONNECTION_NAME = "fedshelf"  # our name for the SuperLink in Flower's own configuration file

# Set before Python starts, for every child, beside the settings that keep Flower quiet.
_ENVIRONMENT = ENVIRONMENT | {
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.7",
    "NO_COLOR": "1",
    "PYTHONUNBUFFERED": "1",
}


class FlowerServer:
    """SuperLink, SuperExec and gateway of one run.

    A context manager: all processes are gone afterwards, also after an error.

    Args:
        directory: folder of their files, made if need be
        address:   where stores reach the gateway
        chain:     with a chain all connections are encrypted, and only its enrolled stores are
            admitted; None: plain HTTP for anybody who reaches the address
    """

    def __init__(self, directory: Path, address: Address, chain: Chain | None) -> None:
        self._directory = directory.resolve()
        self.address = address
        self._chain = chain
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)])
        environment = {
            **os.environ,
            **_ENVIRONMENT,
            "FLWR_HOME": str(self._directory / "home"),
            "PATH": path,
        }
        environment |= _without_proxy(os.environ)
        self._environment = {
            key: value for key, value in environment.items() if key != "FLWR_DATABASE"
        }
        self.children = ChildProcesses(self._directory, self._environment)
        self.superlink_port = 0
        self._page_port = 0

    def __enter__(self) -> "FlowerServer":
        self._clear_leftovers()
        check_free(self.address, PORT_RELEASE_TIMEOUT_SECONDS)
        self.superlink_port = free_port()
        secret = self._directory / "superexec.secret"
        home = self._directory / "home"
        home.mkdir(mode=0o700, exist_ok=True)
        # anew at each start: it is for processes of this start alone
        write_private(secret, secrets.token_urlsafe(48))
        connection = {"address": f"{LOOPBACK}:{self.superlink_port}", **self._trust_settings()}
        settings = {"superlink": {"default": CONNECTION_NAME, CONNECTION_NAME: connection}}
        write_text(home / "config.toml", tomli_w.dumps(settings))
        try:
            self._start_processes(secret)
            # only then is a kit of any use, and the launcher says that stores may join
            self._await_health(secret)
        except BaseException:
            self.children.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.children.stop()
        self._processes_file.unlink(missing_ok=True)

    def submit(self, run_directory: Path, **task: str | float) -> None:
        """Start the server's app for a run.

        Args:
            run_directory: the run
            **task:        further entries of the app's config section `run`; none: the app trains

        Raises:
            RunError: Flower did not accept the run; with Flower's words.
        """
        bundle = self._write_bundle(run_directory, task)
        command = [
            installed_command("flwr"),
            "run",
            str(bundle),
            CONNECTION_NAME,
            "--format",
            "json",
        ]
        try:
            completed = subprocess.run(
                command,
                env=self._environment,
                cwd=bundle,
                capture_output=True,
                text=True,
                timeout=STARTUP_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise RunError(
                f"Flower did not accept the run within {STARTUP_TIMEOUT_SECONDS:g} s; see"
                f" {self._directory}."
            ) from None
        response = _last_json(completed.stdout)
        if not response.get("success"):
            message = (
                response.get("error-message")
                or (completed.stdout + completed.stderr).strip()[-500:]
            )
            raise RunError(f"Flower did not accept the run: {message}")

    def serve_page(self, port: int) -> None:
        """Serve the live page of the run on a port of this machine."""
        command = [
            sys.executable,
            "-m",
            "fedshelf.server.monitor",
            str(self._directory.parent),
            str(port),
        ]
        self.children.spawn("live-page", command)
        self._page_port = port
        self._save_processes()

    def restart_dead(self) -> list[str]:
        """Restart the processes that have died; return their names.

        The SuperLink's database outlives it.
        """
        if revived := self.children.restart_dead():
            self._save_processes()
        return revived

    def _trust_settings(self) -> dict[str, str | bool]:
        """Return the settings by which Flower's command line trusts the SuperLink."""
        return (
            {"root-certificates": str(self._chain.directory / "ca.crt")}
            if self._chain
            else {"insecure": True}
        )

    def _start_processes(self, secret: Path) -> None:
        """Start all processes, with an empty database."""
        # orders of an earlier start, which nobody waits for
        for stale in self._directory.glob("state.db*"):
            stale.unlink()
        reset_registrations(self._directory, has_chain=self._chain is not None)
        self._spawn_processes(secret)
        self._save_processes()

    def _spawn_processes(self, secret: Path) -> None:
        link = f"{LOOPBACK}:{self.superlink_port}"
        secret_flag = ["--superexec-auth-secret-file", str(secret)]
        superlink = [
            installed_command("flower-superlink"),
            *secret_flag,
            "--host",
            LOOPBACK,
            "--port",
            str(self.superlink_port),
        ]
        superlink += ["--database", str(self._directory / "state.db"), "--isolation", "process"]
        superlink += ["--disable-runtime-dependency-installation"]
        superexec = [
            installed_command("flower-superexec"),
            *secret_flag,
            "--runtime-api-address",
            link,
        ]
        gateway = [
            sys.executable,
            "-m",
            "fedshelf.server.gateway.proxy",
            self.address.host,
            str(self.address.port),
            str(self.superlink_port),
            str(self._directory / ANSWERED),
        ]
        if self._chain:
            credentials = str(self._chain.directory)
            superlink += [
                *self._chain.link_flags(self._directory / "tls"),
                "--enable-supernode-auth",
            ]
            superexec += ["--root-certificates", f"{credentials}/ca.crt"]
            gateway.append(credentials)
        else:
            superlink.append("--insecure")
            superexec.append("--insecure")
        self.children.spawn("superlink", superlink)
        self.children.spawn("door", gateway)
        self.children.spawn("superexec", superexec)
        if self._chain:
            registrar = [
                sys.executable,
                "-m",
                "fedshelf.server.credentials.registrar",
                credentials,
                str(self._directory),
                CONNECTION_NAME,
            ]
            self.children.spawn("clerk", registrar)

    def _await_health(self, secret: Path) -> None:
        """Wait until the SuperLink answers through the gateway. Raises NetworkError."""
        deadline = time.monotonic() + STARTUP_TIMEOUT_SECONDS
        while not self.is_healthy():
            statuses = {name: self.children.exit_status(name) for name in ("superlink", "door")}
            if (statuses["superlink"] or 0) < 0:  # killed: half a database is worse than none
                self.children.stop()
                self._start_processes(secret)
            elif (statuses["door"] or 0) < 0:  # killed: it is restarted, as it would be later
                self.restart_dead()
            for name, status in statuses.items():
                if status is not None and status >= 0:
                    raise NetworkError(
                        f"Flower's {name} ended with status {status}; see"
                        f" {self.children.log_file(name)}."
                    )
            if time.monotonic() > deadline:
                raise NetworkError(
                    f"Flower's SuperLink did not start within {STARTUP_TIMEOUT_SECONDS:g} s; see"
                    f" {self._directory}."
                )
            time.sleep(0.1)

    def is_healthy(self) -> bool:
        """Return whether the SuperLink answers through the gateway."""
        host = self.address.seen_from_here()
        tls = None
        if self._chain:
            tls = self._chain.client_tls()
            tls.check_hostname = False  # the address that we listen on need not be one in the kits
        url = f"http{'s' if tls else ''}://{host}/health"
        try:
            return httpx.get(
                url, verify=tls or False, timeout=GATEWAY_HEALTH_TIMEOUT_SECONDS, trust_env=False
            ).is_success
        except httpx.HTTPError:
            return False

    def _write_bundle(self, run_directory: Path, task: Mapping[str, str | float]) -> Path:
        """Write the bundle that `flwr run` ships: a pyproject.toml that names installed code."""
        bundle = self._directory / "app"
        components = {
            "serverapp": "fedshelf.server.app:app",
            "clientapp": "fedshelf.client.app:app",
        }
        app = {
            "publisher": "fedshelf",
            "components": components,
            "config": {"run": {"out": str(run_directory.resolve()), **task}},
        }
        project = {"name": "fedshelf-run", "version": "1.0.0", "license": "Apache-2.0"}
        write_text(
            bundle / "pyproject.toml",
            tomli_w.dumps({"project": project, "tool": {"flwr": {"app": app}}}),
        )
        return bundle

    @property
    def _processes_file(self) -> Path:
        return self._directory / PROCESSES

    def _save_processes(self) -> None:
        """Save our addresses and process groups, for the next start if this process is killed."""
        addresses = {
            "port": self.superlink_port,
            "address": str(self.address),
            "page": self._page_port,
        }
        write_json(
            self._processes_file,
            {"groups": list(self.children.process_groups().values()), **addresses},
        )

    def _clear_leftovers(self) -> None:
        if self._processes_file.exists():
            record = json.loads(self._processes_file.read_text(encoding="utf-8"))
            kill_leftovers(
                record["groups"],
                [
                    str(self._directory),
                    f"{LOOPBACK}:{record['port']}",
                    "fedshelf.server.gateway.proxy",
                    "fedshelf.server.monitor",
                ],
            )
            self._processes_file.unlink()


def join_command(address: Address, chain: Chain | None) -> str:
    """Return the command with which a store joins; its name and folder are placeholders."""
    if chain:
        return "flower-client join --kit NAME.kit --data FOLDER"
    return f"flower-client join --server {address} --data FOLDER --name NAME --insecure"


def _without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the settings that keep Flower's processes from calling each other through a proxy."""
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY")
    no_proxy = ",".join(filter(None, [exceptions, LOOPBACK, "localhost"]))
    return {"no_proxy": no_proxy, "NO_PROXY": no_proxy}


def _last_json(output: str) -> Mapping[str, object]:
    """Return the JSON object in a command's output; empty if there is none."""
    try:
        value = json.loads(output[output.index("{") :])
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
