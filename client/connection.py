"""The HTTP connection to a server, fit for slow links."""

import socket
import ssl
from urllib.request import getproxies

import httpx
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient

from client.kit import Credentials
from client.signing import Signer

UNSENT = 128 * 1024  # bytes that the system may hold of what is still to be sent


def connect(credentials: Credentials, signer: Signer) -> FleetHttpClient:
    """A client of the Fleet API at the credentials' server; nothing is sent yet.

    On a slow link the system would take megabytes off our hands at once, and the time that it then needs to send them
    would count as the server's silence. (A proxy, if the environment names one, is on a fast link.)
    """
    authority = credentials.root_certificates
    client = FleetHttpClient.from_server_address(
        credentials.server,
        insecure=authority is None,
        root_certificates=authority,
        interceptors=[RuntimeVersionHttpInterceptor(component_name="SuperNode"), signer],
    )
    if not getproxies() and hasattr(socket, "TCP_NOTSENT_LOWAT"):
        options = [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT)]
        transport = httpx.HTTPTransport(verify=_tls(authority), socket_options=options)
        client._client = httpx.Client(transport=transport, timeout=client._client.timeout)
    return client


def _tls(authority: bytes | None) -> ssl.SSLContext | bool:
    """What a server has to prove: that its certificate is from this authority (PEM)."""
    if authority is None:
        return False
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.decode("ascii"))
    return context
