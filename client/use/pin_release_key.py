"""`flower-client pin-release-key`: trust in the releases of a chain."""

from typing import Annotated

import typer


def pin_release_key(
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="The chain's public release key, ed25519:..., or a file that holds it.",
        ),
    ],
) -> None:
    """Use releases that are signed with this key, from now on.

    Compare the key with the one that the chain tells, by another way than the release came.
    """
    from fedshelf.common.release.keys import key_id, pin, read_public_keys

    for public in read_public_keys(key, "KEY"):
        file = pin(public)
        typer.echo(f"Pinned {key_id(public)} in {file}.")
