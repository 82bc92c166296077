"""HOST:PORT, the address of a server, and the hosts by which stores can reach one."""

import ipaddress
import re
from dataclasses import dataclass

from fedshelf.common.errors import ConfigError

_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*"
)


@dataclass(frozen=True)
class Endpoint:
    """A host, by name or number (an IPv6 number without brackets), and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, label: str = "The server's address") -> "Endpoint":
        """Return the endpoint that a text names.

        Args:
            text: HOST:PORT
            label: the setting, as an error calls it

        Raises:
            ConfigError: it is none, or its host cannot be one of a server
        """
        host, colon, port = text.rpartition(":")
        if not (colon and host and port.isdecimal() and port.isascii() and 0 < int(port) < 65536):
            raise ConfigError(
                f"{label} got {text[:300]!r}; expected HOST:PORT, for example 127.0.0.1:8443."
            )
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if ":" in host and bare == host:
            raise ConfigError(
                f"{label} got {text[:300]!r}; an IPv6 address stands in brackets before its"
                f" port: [{host[:300]}]:{port}."
            )
        check_host(bare, label)
        return cls(bare, int(port))

    @property
    def is_on_this_machine(self) -> bool:
        """True if the host is a loopback address or "localhost"."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def check_host(host: str, label: str) -> None:
    """Check that stores can reach a machine by `host`, a name or an address.

    Args:
        host: without brackets and port
        label: the setting, as an error calls it

    Raises:
        ConfigError: they cannot
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if _HOST_NAME.fullmatch(host):
            return
        raise ConfigError(
            f"{label} got {host[:300]!r}; expected the host name or IP address by which stores"
            " reach the server, for example shop.example."
        ) from None
    if address.is_unspecified:
        raise ConfigError(
            f"{label} got {host}, which means all addresses of a machine, so that no store can"
            " call it; expected the host name or IP address by which stores reach the server,"
            " for example shop.example."
        )
