"""The commands `flower-server provision`, `flower-server move` and `flower-server stores`."""

from collections.abc import Sequence
from pathlib import Path

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.common.system.files import write_text
from fedshelf.server.credentials.chain import Chain, endpoints_on_port, parse_endpoints
from fedshelf.server.credentials.office import Office
from fedshelf.server.credentials.stores import EnrolmentState

DEFAULT_PORT = 9092  # default port for stores
_OLD_KEY_WORKS = "The key that the store has now works until this kit is first used."
_OLD_KEY_ENDED = "The key that the store had does not work any more."


def provision(
    out: Path,
    host: str | None,
    port: int | None,
    stores: str,
    *,
    keys_in_kits: bool,
    office: Path | None = None,
) -> None:
    """Make or load a chain, and make a kit for each named store that has none yet.

    A new chain gets an office. A chain that has none gets one if `office` is given.

    Args:
        out:          the chain's folder
        host:         hosts of a new chain's server, comma-separated
        port:         its port; None: the default
        stores:       names of the stores, comma-separated
        keys_in_kits: True to put private keys into the kits
        office:       the folder of the chain's office; None: DIR/office

    Raises:
        ConfigError: a name, host or port does not fit, or the chain's office is not there.
        OSError: a file cannot be written.
    """
    names = [check_store_name(name.strip()) for name in stores.split(",")]
    chain = _load_or_make_chain(out, host, port, office)
    known = chain.stores.stores()
    new_names = [name for name in dict.fromkeys(names) if name not in known]
    _check_distinct([*known, *new_names])
    chain_office = _office_for_new_stores(chain, office) if new_names or office else None
    for name in new_names:
        print(f"Kit of {name}: {chain.write_kit(name, with_key=keys_in_kits, office=chain_office)}")
    if known_names := [name for name in names if name in known]:
        print(
            f"These stores have kits already: {', '.join(known_names)}. To make a new kit for one"
            " of them: flower-server stores renew."
        )
    print(f"Start the server with:  flower-server start --credentials {chain.directory} ...")
    print(
        "Give each store its kit (chmod 600); it joins with:  flower-client join --kit NAME.kit"
        " --data FOLDER"
    )
    if chain.office_key is None:
        print(
            "This chain has no office key, so its stores cannot take part in secure sums. To make"
            " one: provision --office DIR, then give all stores new kits: flower-server stores"
            " renew --office DIR."
        )
    elif chain_office is not None:
        print(
            f"Move {chain_office.directory} and {chain.kits_directory} off the server, and keep a"
            " copy of the first in a safe place. Only the office key certifies stores to each"
            " other: a server that has it could invent stores and open secure sums. It is needed"
            " again to add stores: --office DIR."
        )


def _office_for_new_stores(chain: Chain, directory: Path | None) -> Office | None:
    """Return the chain's office, or None if it has none and none is asked for.

    Raises:
        ConfigError: the office is not where it should be.
    """
    if chain.office_key is not None:
        return chain.load_office(directory)
    return None if directory is None else chain.make_office(directory)


def _load_or_make_chain(
    out: Path, host: str | None, port: int | None, office: Path | None
) -> Chain:
    directory = out / "server"
    if not directory.exists():
        if host is None:
            raise ConfigError(
                "A new chain needs --host: the host names or IP addresses at which stores reach the"
                " server, comma-separated."
            )
        made = Chain.make(directory, host, port or DEFAULT_PORT)
        made.make_office(office or made.office_directory)
        return made
    chain = Chain.load(directory)
    requested = endpoints_on_port(host, port or chain.port) if host else chain.endpoints
    if requested != chain.endpoints or (port or chain.port) != chain.port:
        got = _format_endpoints(requested) if host else f"--port {port}"
        raise ConfigError(
            f"{out} is for the server {_format_endpoints(chain.endpoints)}, which its kits name;"
            f" got {got}. To add stores, leave out --host and --port. If the server has moved, run"
            " flower-server move. For another chain, give another --out."
        )
    return chain


def move(credentials: Path, to: str) -> None:
    """Move a chain's server to other addresses for its stores.

    Args:
        credentials: the chain's credentials directory
        to:          HOST:PORT, comma-separated, the preferred one first

    Raises:
        ConfigError: the addresses do not fit, or are the present ones.
    """
    chain = Chain.load(credentials)
    endpoints = parse_endpoints(to)
    if endpoints == chain.endpoints:
        raise ConfigError(
            f"The chain's server is at {_format_endpoints(chain.endpoints)} already, and --to got"
            " the same; give its new addresses."
        )
    moved = chain.move(endpoints)
    print(f"Stores find the server at {_format_endpoints(moved.endpoints)} from now on.")
    print(
        "The running server tells each store within seconds after the store has connected. Keep"
        f" {_format_endpoints(chain.endpoints)} answering until every store has connected once. A"
        f" store that has not needs --server {moved.endpoints[0]} beside its kit. New kits have the"
        " new addresses."
    )
    if moved.port != chain.port:
        print(
            f"The server listens on port {moved.port} from its next start on, unless told otherwise"
            " with --port."
        )


def _format_endpoints(endpoints: Sequence[Endpoint]) -> str:
    return ", ".join(map(str, endpoints))


def _check_distinct(names: Sequence[str]) -> None:
    """Check that no two names are one file name on some systems; raise ConfigError if two are."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ConfigError(
                f"The stores {other!r} and {name!r} differ in case only; give one of them"
                " another name."
            )


def revoke(credentials: Path, names: Sequence[str], office: Path | None = None) -> None:
    """Revoke stores, and their peer keys if the chain's office is there.

    Args:
        credentials: the chain's credentials directory
        names:       names of the stores
        office:      the folder of the chain's office; None: DIR/office, if it is there

    Raises:
        ConfigError: the chain lacks one of the stores, or the office is not in the folder; then
            none is revoked.
    """
    chain = Chain.load(credentials)
    for name in names:
        chain.stores.check_known(name)
    chain_office = _office_if_there(chain, office)
    if chain_office is not None:  # first: a running server looks for the list when a store changes
        _revoke_peer_keys(chain, chain_office, names)
    for name in names:
        chain.stores.revoke(name)
        print(f"{name} is revoked: a running server turns it away from now on.")
    if chain_office is None and chain.office_key is not None:
        print(
            "Other stores still accept its peer key in secure sums, as the office key is not in"
            f" {chain.office_directory}. To revoke that as well, repeat this with --office DIR."
        )


def _revoke_peer_keys(chain: Chain, office: Office, names: Sequence[str]) -> None:
    revocations = office.revoke(names)
    write_text(chain.revoked_peers, revocations.model_dump_json() + "\n")
    print(
        f"The office's list {revocations.number} of revoked peer keys is in {chain.revoked_peers};"
        " the server passes it on to all stores."
    )


def _office_if_there(chain: Chain, directory: Path | None) -> Office | None:
    """Return the office in a given folder, else the one in DIR/office if there is one."""
    if directory is None and not (chain.office_key and chain.office_directory.exists()):
        return None
    return chain.load_office(directory)


def renew(
    credentials: Path,
    names: Sequence[str],
    *,
    keys_in_kits: bool,
    ends_old_key: bool,
    office: Path | None = None,
) -> None:
    """Write a new kit for each of these stores, with a new peer key if the chain's office is there.

    Args:
        credentials:  the chain's credentials directory
        names:        names of the stores
        keys_in_kits: True to put private keys into the kits
        ends_old_key: True to end present keys at once; False: they work until the kit is first
            used. Peer keys that the stores have had are revoked with it
        office:       the folder of the chain's office; None: DIR/office, if it is there

    Raises:
        ConfigError: the chain lacks one of the stores, or the office is not in the folder; then no
            kit is written.
    """
    chain = Chain.load(credentials)
    for name in names:
        chain.stores.check_known(name)
    chain_office = _office_if_there(chain, office)
    if chain_office is not None and ends_old_key:
        _revoke_peer_keys(chain, chain_office, names)
    stores_before = chain.stores.stores()
    for name in names:
        path = chain.write_kit(
            name, with_key=keys_in_kits, ends_old_key=ends_old_key, office=chain_office
        )
        message = f"New kit of {name}: {path}."
        if stores_before[name].state is EnrolmentState.ENROLLED:
            message += f" {_OLD_KEY_ENDED if ends_old_key else _OLD_KEY_WORKS}"
        print(message)
    if chain_office is None and chain.office_key is not None:
        print(
            "These kits have no peer keys, as the office key is not in"
            f" {chain.office_directory}: a store keeps the one that it has, and on a new machine it"
            " cannot take part in secure sums. With one: --office DIR."
        )


def delete(credentials: Path, names: Sequence[str]) -> None:
    """Delete stores that never joined, or that are revoked, with their kits.

    Raises:
        ConfigError: the chain lacks one of them, or one has joined; then none is deleted.
    """
    chain = Chain.load(credentials)
    unique_names = dict.fromkeys(names)
    chain.stores.delete(unique_names)
    for name in unique_names:
        chain.kit_path(name).unlink(missing_ok=True)
        print(f"{name} is deleted; its kit cannot be used any more.")
