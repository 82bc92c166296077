"""The commands `release` and `release-key` of the server; nothing heavy is imported here."""

from pathlib import Path
from typing import Annotated

import typer

from fedshelf.common.names import ONNX_FILE


def release_key(
    file: Annotated[Path, typer.Argument(help="New file for the private key.")],
) -> None:
    """Make the key with which the chain signs its releases, and print its public half.

    Who uses a release pins the public half once: flower-client pin-release-key.
    """
    from fedshelf.common.release.keys import make_key, public_file

    public = make_key(file)
    print(f"The private key, for this user alone: {file}")
    print(f"The public key, for all who use releases: {public_file(file)}")
    print(public)


def release(
    run: Annotated[Path, typer.Argument(help="Run directory, or the name of a run.")],
    key: Annotated[Path, typer.Option(help="The private key, made by release-key.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help=(
                "New folder for the release; by default releases/ in the run directory, from where"
                " `deliver` gives it to the stores."
            )
        ),
    ] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the model, in words, for its model card.")
    ] = "",
) -> None:
    """Make a signed release of a run's model: weights, ONNX file, model card."""
    from fedshelf.common.release.keys import key_id, public_text, read_private_key
    from fedshelf.server.monitor.run_finder import find_run

    private = read_private_key(key)
    path = find_run(run)
    from fedshelf.server.results.release import has_export, make_release  # loads torch

    folder, names = make_release(path, private, out, licence)
    print(f"Released to {folder}, signed with the key {key_id(public_text(private))}:")
    print(", ".join(names))
    if ONNX_FILE not in names:
        print(
            "There is no ONNX file in it: this kind of network has none."
            if has_export()
            else "There is no ONNX file in it, as its packages are missing:"
            " pip install 'fedshelf[export]'."
        )
