"""Flower's client of the Fleet API, over the store's own HTTP transport."""

from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supernode.fleet_http_client import FleetHttpClient

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.connection.interceptors import AddressReader, PollInterval
from fedshelf.client.connection.response_limits import CountBytes, limit_responses
from fedshelf.client.connection.signing import Signer
from fedshelf.client.connection.transport import http_client
from fedshelf.common.protocol.enrolment import PROCESS_HEADER, process_header

# seconds to connect, and for each piece of an answer; that of Flower's own client
TIMEOUT_SECONDS = 30.0


def connect(
    credentials: Credentials,
    signer: Signer,
    polls: PollInterval,
    silence: float,
    count_bytes: CountBytes,
) -> FleetHttpClient:
    """Return a client of the Fleet API for the credentials' server; nothing is sent yet.

    Args:
        silence: Longest time (s) that a living store may be silent to the server.
        count_bytes: Called with the size of each piece of a message, see
            `client.connection.response_limits`.
    """
    known = credentials.known_addresses
    authority = credentials.root_certificates
    client = FleetHttpClient.from_server_address(
        known.all[0],
        insecure=authority is None,
        root_certificates=authority,
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            signer,
            AddressReader(known),
            polls,
        ],
    )
    client._client.close()
    client._client = http_client(known, TIMEOUT_SECONDS)
    limit_responses(client._client, count_bytes)
    client._client.headers[PROCESS_HEADER] = process_header(credentials.process, silence)
    return client
