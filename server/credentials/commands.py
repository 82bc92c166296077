"""The commands `flower-server provision` and `flower-server stores`."""

from collections.abc import Sequence
from pathlib import Path

from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.protocol.endpoint import Endpoint
from fedshelf.server.credentials.chain import Chain, endpoints_of, endpoints_told
from fedshelf.server.credentials.stores import EnrolmentState

PORT = 9092  # default port for stores
_OLD_KEY_WORKS = "The key that the store has now works until this kit is first used."
_OLD_KEY_ENDED = "The key that the store had does not work any more."


def provision(
    out: Path, host: str | None, port: int | None, stores: str, *, keys_in_kits: bool
) -> None:
    """Make or load the chain in `out`, and make a kit for each of `stores` (comma-separated) that
    has none yet.

    Raises ConfigError and OSError.
    """
    names = [check_store_name(name.strip()) for name in stores.split(",")]
    chain = _chain(out, host, port)
    known = chain.stores.stores()
    fresh = [name for name in dict.fromkeys(names) if name not in known]
    _check_distinct([*known, *fresh])
    for name in fresh:
        print(f"Kit of {name}: {chain.write_kit(name, with_key=keys_in_kits)}")
    if kept := [name for name in names if name in known]:
        print(
            f"Left as they are: {', '.join(kept)}. A new kit for one of them: flower-server stores"
            " renew."
        )
    print(f"Start the server with:  flower-server start --credentials {chain.directory} ...")
    print(
        "Give each store its kit (chmod 600); it joins with:  flower-client join --kit NAME.kit"
        " --data FOLDER"
    )


def _chain(out: Path, host: str | None, port: int | None) -> Chain:
    directory = out / "server"
    if not directory.exists():
        if host is None:
            raise ConfigError(
                "A new chain needs --host, the names or numbers by which stores reach the server,"
                " comma-separated."
            )
        return Chain.make(directory, host, port or PORT)
    chain = Chain.load(directory)
    asked = endpoints_of(host, port or chain.port) if host else chain.endpoints
    if asked != chain.endpoints or (port or chain.port) != chain.port:
        got = _listed(asked) if host else f"--port {port}"
        raise ConfigError(
            f"{out} is of the server {_listed(chain.endpoints)}, which its kits name; got {got}."
            " Leave --host and --port out to add stores. If the server moves: flower-server move."
            " Another chain needs another --out."
        )
    return chain


def move(credentials: Path, to: str) -> None:
    """Move a chain's server to other addresses (HOST:PORT, comma-separated), for its stores.

    Raises ConfigError.
    """
    chain = Chain.load(credentials)
    endpoints = endpoints_told(to)
    if endpoints == chain.endpoints:
        raise ConfigError(
            f"The chain's server is at {_listed(chain.endpoints)} already; --to got the same."
        )
    moved = chain.move(endpoints)
    print(f"Stores find the server at {_listed(moved.endpoints)} from now on.")
    print(
        "Each store learns of it from the running server, within seconds of its being connected:"
        f" keep {_listed(chain.endpoints)} answering until all have been there. A store that was"
        f" not joins with --server {moved.endpoints[0]} beside its kit. New kits name the new"
        " addresses."
    )
    if moved.port != chain.port:
        print(
            f"The server listens on port {moved.port} from its next start on, unless told otherwise"
            " with --port."
        )


def _listed(endpoints: Sequence[Endpoint]) -> str:
    return ", ".join(map(str, endpoints))


def _check_distinct(names: Sequence[str]) -> None:
    """Check that no two names are the same file on some systems; raise ConfigError if two are."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.casefold(), name)) != name:
            raise ConfigError(
                f"The stores {other!r} and {name!r} differ in case only; give one another name."
            )


def revoke(credentials: Path, names: Sequence[str]) -> None:
    """Revoke stores. Raises ConfigError, before any is revoked."""
    registry = Chain.load(credentials).stores
    for name in names:
        registry.check_known(name)
    for name in names:
        registry.revoke(name)
        print(f"{name} is revoked: a running server turns it away from now on.")


def renew(
    credentials: Path, names: Sequence[str], *, keys_in_kits: bool, ends_old_key: bool
) -> None:
    """Write a new kit for each of these stores. Raises ConfigError, before any is written.

    The key that a store has now works until the new kit is first used; with `ends_old_key` no
    longer.
    """
    chain = Chain.load(credentials)
    for name in names:
        chain.stores.check_known(name)
    before = chain.stores.stores()
    for name in names:
        path = chain.write_kit(name, with_key=keys_in_kits, ends_old_key=ends_old_key)
        words = f"New kit of {name}: {path}."
        if before[name].state is EnrolmentState.ENROLLED:
            words += f" {_OLD_KEY_ENDED if ends_old_key else _OLD_KEY_WORKS}"
        print(words)


def delete(credentials: Path, names: Sequence[str]) -> None:
    """Delete stores that never joined, or are revoked, with their kits. Raises ConfigError."""
    chain = Chain.load(credentials)
    named = dict.fromkeys(names)
    chain.stores.delete(named)
    for name in named:
        chain.kit_path(name).unlink(missing_ok=True)
        print(f"{name} is deleted; its kit is worth nothing.")
