"""The proxy that the machine's settings name for a server, and the error of a proxy that fails."""

import ipaddress
from contextlib import suppress
from urllib.request import getproxies, proxy_bypass

import httpx

from fedshelf.common.errors import ConfigError
from fedshelf.common.protocol.endpoint import Endpoint

SCHEMES = ("http", "https", "socks5", "socks5h")


def proxy_for(endpoint: Endpoint, scheme: str) -> httpx.URL | None:
    """Return the proxy for a server that is called over `scheme`; None: none, as always for this
    machine.

    HTTPS_PROXY (HTTP_PROXY for plain HTTP) names it, else ALL_PROXY; NO_PROXY lists exceptions:
    hosts, domains, IP addresses and networks (10.0.0.0/8). Raises ConfigError for a proxy that
    cannot be used.
    """
    settings = getproxies()
    value = settings.get(scheme) or settings.get("all")
    if not value or endpoint.is_on_this_machine or _is_exempt(endpoint, settings.get("no", "")):
        return None
    try:
        proxy = httpx.URL(value if "://" in value else f"http://{value}")
    except httpx.InvalidURL:
        proxy = httpx.URL("")
    if proxy.scheme not in SCHEMES or not proxy.host:
        raise ConfigError(
            f"The proxy that this machine's settings name for {endpoint} cannot be used (it begins"
            f" {value.partition('//')[0][:20]!r}); expected http://HOST:PORT, https://, socks5://"
            f" or socks5h:// in {scheme.upper()}_PROXY or ALL_PROXY. For no proxy, add"
            f" {endpoint.host} to NO_PROXY."
        )
    return proxy


def _is_exempt(endpoint: Endpoint, exceptions: str) -> bool:
    if proxy_bypass(str(endpoint)) or proxy_bypass(endpoint.host):
        return True
    with suppress(ValueError):
        address = ipaddress.ip_address(endpoint.host)
        return any(address in network for network in _networks(exceptions))
    return False


def _networks(exceptions: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    networks = []
    for entry in exceptions.split(","):
        with suppress(ValueError):
            networks.append(ipaddress.ip_network(entry.strip().strip("[]"), strict=False))
    return networks


class ProxyFault(httpx.ProxyError):
    """A proxy failed to reach the server; the text says which one and why, and holds no
    password.
    """


def proxy_fault(proxy: httpx.URL, error: Exception) -> ProxyFault:
    """Return the error of a proxy through which no connection was made."""
    name = f"{proxy.scheme}://{proxy.host}" + (f":{proxy.port}" if proxy.port else "")
    match error:
        case httpx.ProxyError() if str(error).startswith("407") or "username" in str(error).lower():
            why = "needs a valid user name and password (as in http://USER:PASSWORD@HOST:PORT)"
        case httpx.ProxyError():
            why = f"does not let this store through to the server ({str(error).rstrip('.')})"
        case httpx.TimeoutException():
            why = "does not answer"
        case httpx.ConnectError():
            why = "cannot be reached"
        case _:
            why = "does not answer as a proxy does"
    return ProxyFault(
        f"the proxy {name} {why}; this machine's settings name it (HTTPS_PROXY, ALL_PROXY,"
        " NO_PROXY)"
    )
