"""Connections through a SOCKS proxy with a timeout: httpcore reads a SOCKS proxy's answers without
one.
"""

import ssl
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx


def socks_transport(proxy: httpx.Proxy, tls: ssl.SSLContext | bool) -> httpx.HTTPTransport:
    """Return a transport through a SOCKS proxy; a silent proxy raises httpx.ConnectTimeout."""
    transport = httpx.HTTPTransport(verify=tls, proxy=proxy, trust_env=False)
    assert isinstance(transport._pool, httpcore.SOCKSProxy)
    transport._pool._network_backend = _TimeoutBackend()
    return transport


class _TimeoutBackend(httpcore.SyncBackend):
    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _TimeoutStream(
            super().connect_tcp(host, port, timeout, local_address, socket_options), timeout
        )


class _TimeoutStream(httpcore.NetworkStream):
    """A stream on which each read and write waits at most as long as the connecting was allowed to
    take.
    """

    def __init__(self, stream: httpcore.NetworkStream, default_timeout: float | None) -> None:
        self._stream = stream
        self._default_timeout = default_timeout

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if timeout is not None:
            return self._stream.read(max_bytes, timeout)
        try:
            return self._stream.read(max_bytes, self._default_timeout)
        except httpcore.ReadTimeout as error:
            self.close()
            raise httpcore.ConnectTimeout from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._default_timeout if timeout is None else timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
