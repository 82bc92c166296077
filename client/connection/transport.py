"""HTTP to a store's server, used to join, to enrol and to check, over any of its addresses and any
proxy.
"""

import socket
import ssl
from collections.abc import Iterator
from functools import cached_property

import httpx
from socksio import SOCKSError

from fedshelf.client.connection.known_addresses import KnownAddresses
from fedshelf.client.connection.proxies import proxy_fault, proxy_for
from fedshelf.client.connection.response_limits import limit_responses
from fedshelf.client.connection.socks import socks_transport
from fedshelf.common.protocol.endpoint import Endpoint

MAX_UNSENT_BYTES = 128 * 1024  # bytes that the operating system may buffer of a request
SERVER_CONNECT_TIMEOUT_SECONDS = 10.0  # seconds to connect, if the server has other addresses


def http_client(addresses: KnownAddresses, timeout: float) -> httpx.Client:
    """Return a client of the server at these addresses, for paths or for URLs of the first; nothing
    is sent yet.

    Args:
        timeout: Seconds to connect (less where there are other addresses), and for each piece of an
            answer.
    """
    connect = min(timeout, SERVER_CONNECT_TIMEOUT_SECONDS) if len(addresses.all) > 1 else timeout
    client = httpx.Client(
        base_url=f"{addresses.scheme}://{addresses.all[0]}",
        transport=ServerTransport(addresses),
        timeout=httpx.Timeout(timeout, connect=connect),
        trust_env=False,  # the transport reads the environment
    )
    for name in list(client.headers):
        del client.headers[name]  # a server gets no more headers than it needs
    limit_responses(client)
    return client


class ServerTransport(httpx.BaseTransport):
    """A transport that sends each request to the address that answered last, else to the next
    reachable one.

    On a slow link the operating system would buffer megabytes at once, and the time that it then
    needs to send them would count as the server's silence: so its buffer is small.
    """

    def __init__(self, addresses: KnownAddresses) -> None:
        self._addresses = addresses
        self._current = addresses.all[0]
        self._transports: dict[str, tuple[httpx.HTTPTransport, httpx.URL | None]] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Return the server's answer.

        Raises httpx.TransportError: that of the first address if none is reached.
        """
        errors = []
        for address in self._addresses_in_order():
            try:
                response = self._send_to(request, address)
            # nothing was sent
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
                errors.append(error)
            else:
                self._current = self._addresses.last_answering = address
                return response
        try:
            raise errors[0]
        finally:
            # breaks a reference cycle that would keep half-open connections until garbage
            # collection
            del errors

    def close(self) -> None:
        """Close all connections."""
        for transport, _ in self._transports.values():
            transport.close()

    def _addresses_in_order(self) -> Iterator[str]:
        """Yield all addresses once, starting with the current one; addresses learnt meanwhile come
        first.
        """
        known = self._addresses.all
        start = known.index(self._current) if self._current in known else 0
        return iter(known[start:] + known[:start])

    def _send_to(self, request: httpx.Request, address: str) -> httpx.Response:
        endpoint = Endpoint.parse(address)
        url = request.url.copy_with(host=endpoint.host, port=endpoint.port)
        headers = [(name, value) for name, value in request.headers.raw if name.lower() != b"host"]
        host = [(b"Host", str(endpoint).encode())]
        sent = httpx.Request(
            request.method,
            url,
            headers=host + headers,
            stream=request.stream,
            extensions=request.extensions,
        )
        transport, proxy = self._transport_and_proxy(address, endpoint)
        if proxy is None:
            return transport.handle_request(sent)
        try:
            return transport.handle_request(sent)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            if any(isinstance(cause, ssl.SSLError) for cause in causes(error)):
                raise  # the proxy reached a server
            raise proxy_fault(proxy, error) from error
        # of httpcore, if a SOCKS proxy answers nonsense
        except (AssertionError, SOCKSError) as error:
            raise proxy_fault(proxy, error) from error

    def _transport_and_proxy(
        self, address: str, endpoint: Endpoint
    ) -> tuple[httpx.HTTPTransport, httpx.URL | None]:
        if address not in self._transports:
            proxy = proxy_for(endpoint, self._addresses.scheme)
            proxy_settings = httpx.Proxy(proxy) if proxy else None
            if proxy_settings and proxy_settings.url.scheme.startswith("socks"):
                transport = socks_transport(proxy_settings, self._tls)
            else:
                transport = httpx.HTTPTransport(
                    verify=self._tls,
                    proxy=proxy_settings,
                    socket_options=_socket_options(),
                    trust_env=False,
                )
            self._transports[address] = transport, proxy
        return self._transports[address]

    @cached_property
    def _tls(self) -> ssl.SSLContext | bool:
        """The TLS context or flag that verifies the server's certificate."""
        if self._addresses.authority is None:
            return False
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = self._addresses.checks_names
        context.load_verify_locations(cadata=self._addresses.authority.decode("ascii"))
        return context


def _socket_options() -> list[tuple[int, int, int]]:
    if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
        return []
    return [(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)]


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
