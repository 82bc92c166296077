"""The command line `flower-client`, used on a store's machine."""

from pathlib import Path
from typing import Annotated

import typer

from fedshelf.client.connection.credentials import Credentials
from fedshelf.client.use.annotate import annotate, corrections, undo
from fedshelf.client.use.classify import classify
from fedshelf.client.use.count import count
from fedshelf.client.use.explain import explain
from fedshelf.client.use.export_onnx import export_onnx
from fedshelf.client.use.index import index
from fedshelf.client.use.inspect import inspect
from fedshelf.client.use.page import page
from fedshelf.client.use.pin_release_key import pin_release_key
from fedshelf.client.use.scenes.locate import locate
from fedshelf.client.use.scenes.planogram import planogram
from fedshelf.client.use.scenes.segment import segment
from fedshelf.client.use.scenes.track import track
from fedshelf.client.use.serve import serve
from fedshelf.client.use.similar import similar
from fedshelf.client.use.watch import watch
from fedshelf.common.command_line import command_line
from fedshelf.common.command_line import run as run_command_line
from fedshelf.common.errors import ConfigError
from fedshelf.common.names import check_store_name
from fedshelf.common.protocol.endpoint import Endpoint

app = command_line(
    "Take part in a federation as a store: train on the store's own photos when the server"
    " asks. The photos stay on this machine. And use finished models."
)

Photos = Annotated[
    Path,
    typer.Option(
        readable=False,
        help="Folder with one sub-folder of photos per product class, or a CSV file.",
    ),
]  # a photo folder that cannot be read is a fault of the data, and ends with its exit code

# addresses on which `flower-server start --insecure` listens
LOOPBACK_NAMES = {"127.0.0.1", "localhost"}


@app.command()
def join(
    data: Photos,
    kit: Annotated[
        Path | None, typer.Option(help="The file NAME.kit that the chain made for this store.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            help=(
                "Address of the server, HOST:PORT. It is needed with --insecure; with --kit it"
                " replaces the kit's address."
            )
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --insecure: name of this store.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, mps, cuda or cuda:N.")] = "auto",
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure",
            help="Use plain HTTP instead of a kit; for a server on this machine only.",
        ),
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the server to appear.")
    ] = 600.0,
) -> None:
    """Join a server and train when asked, until Ctrl-C."""
    if (
        (kit is None) != insecure
        or (kit is None) != (name is not None)
        or (insecure and server is None)
    ):
        raise ConfigError(
            "Join with the kit that the chain made for this store: --kit NAME.kit. "
            "To try it out on one machine instead: --insecure --server 127.0.0.1:PORT --name NAME."
        )
    if server is not None:
        Endpoint.parse(server, "--server")
    if kit is not None:
        _join_with_kit(kit, data, device, wait, server or "")
    else:
        assert name is not None
        assert server is not None
        check_store_name(name)
        _check_insecure(server)
        _summarize_and_join(Credentials(server), name, data, device, wait)


def _join_with_kit(path: Path, data: Path, device: str, wait: float, server: str) -> None:
    from fedshelf.client.identity.enrolment import SingleInstanceLock, load_or_enrol
    from fedshelf.common.protocol.kit import Kit

    kit = Kit.read(path)
    with SingleInstanceLock(kit.store):
        _summarize_and_join(load_or_enrol(kit, wait, server), kit.store, data, device, wait)


def _summarize_and_join(
    credentials: Credentials, name: str, data: Path, device: str, wait: float
) -> None:
    from fedshelf.client.health.folder_summary import summarize_folder
    from fedshelf.client.identity.home import store_home
    from fedshelf.client.policy.policy import policy_of

    print(
        f"Store {name}: {summarize_folder(data, policy_of(store_home(name)).classes)}", flush=True
    )
    # these load flwr
    from fedshelf.client.process.worker_process import WorkerSettings
    from fedshelf.client.session.join import join_as_store

    join_as_store(credentials, WorkerSettings(name, data.resolve(), device), wait)


@app.command()
def check(
    data: Photos,
    name: Annotated[
        str,
        typer.Option(
            help="Name of this store; by default that of the kit, else that of the folder."
        ),
    ] = "",
    kit: Annotated[
        Path | None,
        typer.Option(
            help="The store's kit, with its name and its server's address and certificate."
        ),
    ] = None,
    server: Annotated[
        str,
        typer.Option(help="Address of the server to check, HOST:PORT; by default that of the kit."),
    ] = "",
    model: Annotated[
        Path | None,
        typer.Option(
            help=(
                "A run's model.safetensors, or its directory; this model is used to find wrong"
                " labels."
            )
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="The store's policy file; by default policy.toml in the store's home."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the page; by default the store's home.")
    ] = None,
) -> None:
    """Check whether this store can take part, and write health.html: a page that says what to do.

    The page and the photos stay on this machine.
    """
    if server:
        Endpoint.parse(server, "--server")
    from fedshelf.client.health.command import check_store  # loads torch

    raise typer.Exit(check_store(data, name, kit, server, model, policy, out))


@app.command()
def policy(
    name: Annotated[
        str | None, typer.Option(help="Name of a store that is set up on this machine.")
    ] = None,
    kit: Annotated[
        Path | None, typer.Option(help="Kit of a store, which may not have joined yet.")
    ] = None,
) -> None:
    """Check this store's policy.toml and print what it allows.

    If there is none, write one that explains every key.
    """
    from fedshelf.client.identity.home import known_home, store_home
    from fedshelf.client.policy.command import print_policy
    from fedshelf.common.protocol.kit import Kit

    if kit is not None and name is None:
        print_policy(store_home(Kit.read(kit).store))
    elif name is not None and kit is None:
        print_policy(known_home(name))
    else:
        raise ConfigError(
            "Give one of two options: --name NAME of a store that is set up on this machine,"
            " or --kit NAME.kit of a new store."
        )


@app.command()
def export(
    model: Annotated[
        Path,
        typer.Argument(help="The run's model.safetensors, or its directory, as the chain sent it."),
    ],
    name: Annotated[str, typer.Option(help="Name of this store.")],
    out: Annotated[Path, typer.Option(help="Folder for the store's own model.")],
) -> None:
    """Make this store's own model from the chain's model.

    It gets the layers that never left the store (fedbn, fedper). If training took the stores'
    shares of the classes out of the scores (absent_classes weigh, mask), it gets this store's
    shares.
    """
    from fedshelf.client.identity.home import known_home
    from fedshelf.client.policy.own_code import allow_listed
    from fedshelf.client.policy.policy import policy_of
    from fedshelf.client.worker.export import export_own  # loads torch

    allow_listed(policy_of(known_home(name)))
    exported = export_own(model, name, out)
    print(f"The model of store {name}: {exported.path}")
    for sentence in exported.differences:
        print(sentence)


@app.command()
def audit(
    name: Annotated[str, typer.Option(help="Name of this store.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all lines of the log unchanged, as JSON.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify",
            help=(
                "Check that the log has not been changed since it was written; exit code 4 if it"
                " has."
            ),
        ),
    ] = False,
) -> None:
    """Show all that this store received and all that left it."""
    from fedshelf.client.audit import AUDIT_FILE, command
    from fedshelf.client.identity.home import known_home

    path = known_home(name) / AUDIT_FILE
    if verify:
        command.print_verification(path)
    else:
        command.print_log(path, as_json=as_json)


@app.command()
def status(
    name: Annotated[str, typer.Option(help="Name of this store.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the same as JSON, for programs.")
    ] = False,
) -> None:
    """Show the store's server, its last actions, the rest of its budgets and its received models.

    Exit code 0 if a flower-client is at work as this store, else 4.
    """
    from fedshelf.client.commands.status import print_status
    from fedshelf.client.identity.home import known_home

    print_status(known_home(name), as_json=as_json)


@app.command()
def privacy(
    name: Annotated[str, typer.Option(help="Name of this store.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the same as JSON, for programs.")
    ] = False,
    forget: Annotated[
        bool,
        typer.Option(
            "--forget", help="Begin a new ledger, which does not count what was told before."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --forget: do not ask.")] = False,
) -> None:
    """Show what this store's answers have told of one photo, and what its policy still allows."""
    from fedshelf.client.commands.privacy import forget_ledger, print_privacy
    from fedshelf.client.identity.home import known_home

    if forget:
        print(forget_ledger(known_home(name), is_confirmed=yes))
    else:
        print_privacy(known_home(name), as_json=as_json)


@app.command()
def forget(name: Annotated[str, typer.Option(help="Name of this store.")]) -> None:
    """Remove every copy of photos that Fedshelf made on this machine.

    Copies that the store still needs are made again.
    """
    from fedshelf.client.commands.leave import forget as forget_photos
    from fedshelf.client.identity.home import known_home

    print(forget_photos(known_home(name)))


@app.command()
def leave(
    name: Annotated[str, typer.Option(help="Name of this store.")],
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Remove it all; without this option, only print what would be removed.",
        ),
    ] = False,
    everything: Annotated[
        bool,
        typer.Option("--everything", help="Remove the audit log, the policy and the models, too."),
    ] = False,
) -> None:
    """Leave the chain for good.

    Remove the store's key, its states and every copy of photos from this machine.
    """
    from fedshelf.client.commands.leave import leave as leave_for_good
    from fedshelf.client.identity.home import known_home

    print(leave_for_good(known_home(name), is_confirmed=yes, has_log=not everything))


for command in (
    classify,
    annotate,
    undo,
    corrections,
    locate,
    planogram,
    segment,
    track,
    count,
    inspect,
    index,
    similar,
    explain,
    watch,
    serve,
    page,
    export_onnx,
    pin_release_key,
):
    app.command(rich_help_panel="Use a finished model")(command)


def _check_insecure(server: str) -> None:
    """Check that `server` is an address on this machine, and warn of plain HTTP; raise ConfigError
    unless it is.
    """
    host = Endpoint.parse(server, "--server").host
    if host not in LOOPBACK_NAMES:
        raise ConfigError(
            f"--insecure got the host {host!r}; plain HTTP is for a server on this machine"
            " (127.0.0.1) only."
        )
    typer.secho(
        "WARNING: --insecure means no encryption and no proof of who the server is. Use it"
        " only to try Fedshelf out on one machine.",
        err=True,
        bold=True,
    )


def main() -> None:
    """Run `flower-client`."""
    run_command_line(app)
