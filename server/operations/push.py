"""The command `push` of the server: a release to the Hugging Face hub, or its layout to a folder.

Nothing heavy is imported here: --help must be quick.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from fedshelf.common.errors import ConfigError, NetworkError


def push(
    release: Annotated[Path, typer.Argument(help="Folder of a release, made by `release`.")],
    repository: Annotated[
        str, typer.Argument(metavar="hf:OWNER/NAME", help="Repository on the Hugging Face hub.")
    ],
    to: Annotated[
        Path | None,
        typer.Option(help="Write the repository's files to this new folder; nothing is sent."),
    ] = None,
    public: Annotated[
        bool,
        typer.Option("--public", help="Let everybody see a repository that this command makes."),
    ] = False,
) -> None:
    """Push a release to the Hugging Face hub, with its card as README.md.

    The hub's own login is used: `hf auth login`, or HF_TOKEN.
    """
    from fedshelf.common.hub import repository_of
    from fedshelf.common.inference.release.hub_layout import hub_files  # loads torch
    from fedshelf.common.system.files import write_folder

    name = repository_of(repository)
    if to is not None and to.exists():
        raise ConfigError(f"--to got {to}, which is there already; choose a new folder.")
    files = hub_files(release)
    if to is not None:
        write_folder(to, files)
        print(f"Written to {to}; nothing was sent: {', '.join(files)}")
        return
    print(f"Pushed to {_upload(name, files, is_public=public)}: {', '.join(files)}")


def _upload(repository: str, files: Mapping[str, bytes], *, is_public: bool) -> str:
    """Send the files as one commit, and return its address.

    Raises:
        ConfigError: the hub's library is not installed.
        NetworkError: the hub cannot be reached, or does not take them.
    """
    from fedshelf.common.hub import library

    hub = library()
    try:
        api = hub.HfApi()
        api.create_repo(repository, private=not is_public, exist_ok=True)
        done = api.create_commit(
            repository,
            [hub.CommitOperationAdd(path, content) for path, content in files.items()],
            commit_message="A release of Fedshelf",
        )
    except Exception as error:  # its errors have no common base: network, HTTP status, login
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NetworkError(
            f"The hub did not take hf:{repository} ({reason}); check the login (hf auth login) and"
            " the connection, or write the files with --to and send them from elsewhere."
        ) from error
    return str(done.commit_url)
