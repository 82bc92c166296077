"""The engine `ray`: it connects to a cluster, and only then imports the modules that need Ray."""

import logging
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from fedshelf.common.errors import ConfigError, NetworkError
from fedshelf.server.training.setup import InitialState
from fedshelf.simulations.federation.federation import Federation

if TYPE_CHECKING:
    from fedshelf.simulations.engines.ray.engine import RayEngine

# Ray reads these when it is imported: no usage is reported, `uv run` is not repeated on the nodes,
# and no warning of other versions' behaviour is shown.
RAY_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# The one setting that makes Ray stay on the loopback interface. Without it, Ray replaces 127.0.0.1
# by the machine's address and listens on all interfaces, where anybody who reaches its ports can
# run code.
LOOPBACK_ENVIRONMENT = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "::1")
CONNECT_TIMEOUT_SECONDS = 5.0  # seconds in which a cluster must answer


def build(federation: Federation, start: InitialState, states: Path) -> "RayEngine":
    """Return the engine, on the cluster that the settings name.

    Raises what `connect` raises, RunError.
    """
    connect(start.plan.config.run.ray_address)
    from fedshelf.simulations.engines.ray.engine import RayEngine

    return RayEngine(federation, start, states)


def connect(address: str) -> None:
    """Connect to the Ray cluster at HOST:PORT, or the one that runs on this machine ("auto"), or
    start one here ("").

    Raises ConfigError for an address of another form, NetworkError if there is no cluster to be
    had.
    """
    host = _check_ray_answers(address) if address not in ("", "auto") else ""
    os.environ.update(
        RAY_ENVIRONMENT | (LOOPBACK_ENVIRONMENT if not address or host in LOOPBACK_HOSTS else {})
    )
    import ray

    try:
        ray.init(
            address or "local",
            namespace=f"fedshelf-{os.getpid()}",
            include_dashboard=None if address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        advice = (
            "this machine must be a node of the cluster: `ray start --head`, or `ray start"
            " --address HEAD:PORT`"
        )
        raise NetworkError(
            f"Cannot use Ray ({address or 'started here'}): {advice}. Ray says: {error}"
        ) from error


def _check_ray_answers(address: str) -> str:
    """Check that a Ray head answers at the address; return its host.

    Ray itself tries for more than a minute and then ends the process.
    """
    host, _, digits = address.rpartition(":")
    host = host.strip("[]")
    port = int(digits) if digits.isdigit() else 0
    if not host or not 0 < port < 65536:
        raise ConfigError(
            f"Setting run.ray_address got {address!r}; expected HOST:PORT of a Ray cluster, or"
            " auto."
        )
    try:
        with socket.create_connection((host, port), CONNECT_TIMEOUT_SECONDS) as peer:
            # A Ray head speaks gRPC, so HTTP/2: it answers our preface with a frame of type
            # SETTINGS (RFC 9113, 3.4).
            peer.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)))
            answer = peer.recv(9, socket.MSG_WAITALL)
    except OSError as error:
        raise NetworkError(
            f"No Ray cluster answers at {address} ({error}): start one with `ray start --head`, and"
            " give the address that this prints."
        ) from error
    if answer[3:4] != b"\x04":
        raise NetworkError(
            f"The program that answers at {address} is not Ray; give the address that `ray"
            " start --head` printed."
        )
    return host
