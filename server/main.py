"""`flower-server`: starts a training for real stores and sees it through."""

import time
from pathlib import Path
from typing import Annotated, Any

import click
import typer

from fedshelf.common.command_line import command_line, merge_settings
from fedshelf.common.command_line import run as run_command_line
from fedshelf.common.setting_flags import setting_flags
from fedshelf.server.operations.export import export
from fedshelf.server.operations.push import push
from fedshelf.server.operations.release import release, release_key
from fedshelf.server.operations.store_access import Host, Insecure, Port, resolve_store_access
from fedshelf.server.operator_commands import check, deliver, runs, status, stop, try_out, watch

STARTED_AT = time.time()

app = command_line(
    "Run the server of a federated training: it combines the stores' updates into one model."
)


@app.command()
@setting_flags(
    stores="cohort.min_stores",
    recipe="run.recipe",
    rounds="run.rounds",
    model="model.name",
    weights="model.weights",
    resume_from="model.resume_from",
    strategy="strategy.name",
    classes="data.classes",
    merge_spellings="data.merge_spellings",
    epochs="train.epochs",
    batch_size="train.batch_size",
    lr="train.lr",
    wait="cohort.wait",
    seed="run.seed",
    device="run.device",
)
def start(
    given: dict[str, Any],
    confirm_classes: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help=(
                "Classes that may join although only one store has them: comma-separated, or a"
                " .txt file with one per line."
            ),
        ),
    ] = None,
    class_names: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=(
                "CSV file of folder,name: the names of the classes in reports; the classes"
                " stay the same."
            ),
        ),
    ] = None,
    test_data: Annotated[
        Path | None, typer.Option(help="Folder of test photos that the server keeps.")
    ] = None,
    credentials: Annotated[
        Path | None,
        typer.Option(
            help=(
                "The folder DIR/server that `provision` made: TLS is on, and only this chain's"
                " stores can join."
            )
        ),
    ] = None,
    release_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=(
                "Private key made by `release-key`: at its end the run makes a signed release of"
                " its model, and the stores get that."
            ),
        ),
    ] = None,
    host: Host = None,
    port: Port = None,
    insecure: Insecure = False,
    live_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help=(
                "Port of the live page; by default the first free one from 8444 on, which the"
                " run keeps. 0: no page."
            ),
        ),
    ] = None,
    log: Annotated[
        str,
        typer.Option(
            click_type=click.Choice(["table", "json"]),
            help="Form of the output: table is for people, json is JSON lines.",
        ),
    ] = "table",
    out: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Run directory; if it holds a run, that run continues. By default a new one"
                " below runs/."
            )
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Only continue the run in --out; never begin a new one."),
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of settings; flags and --set override it.")
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting; may be given several times."),
    ] = None,
) -> None:
    """Start a training: wait for stores, run the rounds, and write a model to the run directory."""
    from fedshelf.server.training import class_confirmation

    if confirm_classes:
        given["data.confirmed_classes"] = class_confirmation.given(confirm_classes)
    if test_data:
        given["evaluation.test_data"] = str(test_data.resolve())
    if out:
        given["run.out"] = str(out)
    settings = merge_settings(config, given, assignments or [])
    address, chain = resolve_store_access(credentials, host, port, insecure=insecure)
    from fedshelf.common.classes import display_names
    from fedshelf.server.launcher.launcher import LaunchRequest, launch

    names = display_names.read(class_names) if class_names else None
    raise typer.Exit(
        launch(
            LaunchRequest(
                settings,
                address,
                chain,
                resume,
                STARTED_AT,
                log == "json",
                live_port,
                names,
                release_key,
            )
        )
    )


app.command()(status)
app.command()(watch)
app.command()(check)
app.command()(runs)
app.command()(stop)
app.command(name="try")(try_out)
app.command()(deliver)
app.command()(export)
app.command()(release)
app.command()(release_key)
app.command()(push)


Office = Annotated[
    Path | None,
    typer.Option(help="The folder to which DIR/office, with the chain's office key, was moved."),
]


@app.command()
def provision(
    stores: Annotated[str, typer.Option(help="Names of the stores, comma-separated.")],
    out: Annotated[
        Path,
        typer.Option(
            help=(
                "The chain's folder: DIR/server for the server, DIR/kits for the stores, DIR/office"
                " for the key that certifies stores to each other."
            )
        ),
    ],
    host: Annotated[
        str | None,
        typer.Option(
            help=(
                "Host names or IP addresses of the server for the stores, comma-separated;"
                " stores try them in this order."
            )
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="The server's port; by default 9092.")
    ] = None,
    keys_in_kits: Annotated[
        bool,
        typer.Option(
            "--keys-in-kits", help="Put the store's private key into its kit instead of a code."
        ),
    ] = False,
    office: Office = None,
) -> None:
    """Make certificates for the server and a kit for each store.

    A later call with more stores adds kits for the new ones.
    """
    from fedshelf.server.credentials import commands

    commands.provision(out, host, port, stores, keys_in_kits=keys_in_kits, office=office)


@app.command()
def move(
    credentials: Annotated[Path, typer.Option(help="The folder DIR/server that `provision` made.")],
    to: Annotated[
        str,
        typer.Option(
            help=(
                "New addresses of the server, HOST:PORT, comma-separated; stores try them in"
                " this order."
            )
        ),
    ],
) -> None:
    """Tell the stores another address of the server.

    They learn of it while the server still answers at the old one.
    """
    from fedshelf.server.credentials import commands

    commands.move(credentials, to)


stores_app = typer.Typer(
    help="Manage the chain's stores: list, revoke, renew, delete, forget.", no_args_is_help=True
)
app.add_typer(stores_app, name="stores")
Credentials = Annotated[Path, typer.Option(help="The folder DIR/server that `provision` made.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print all that is known as JSON, for programs.")
]
Names = Annotated[list[str], typer.Argument(help="Stores.")]


@stores_app.command(name="list")
def list_stores(credentials: Credentials, as_json: AsJson = False) -> None:
    """Show which stores may join, which are there, and their part in the running or last run."""
    from fedshelf.server.operations import listing_output, stores_list

    store_list = stores_list.listing(credentials)
    if as_json:
        print(listing_output.to_json(store_list))
    else:
        stores_list.show(store_list)


@stores_app.command()
def revoke(names: Names, credentials: Credentials, office: Office = None) -> None:
    """Exclude stores for good; a running server disconnects and refuses them at once.

    With the office key, other stores refuse them in secure sums, too.
    """
    from fedshelf.server.credentials import commands

    commands.revoke(credentials, names, office)


@stores_app.command()
def renew(
    names: Names,
    credentials: Credentials,
    keys_in_kits: Annotated[
        bool, typer.Option("--keys-in-kits", help="Put a key into the kit, not a code.")
    ] = False,
    at_once: Annotated[
        bool,
        typer.Option(
            "--now",
            help=(
                "Revoke the store's present key at once; else it works until the new kit is used."
            ),
        ),
    ] = False,
    office: Office = None,
) -> None:
    """Make new kits for stores.

    Use it if a kit expired or was lost, if a store has a new machine, or if it was revoked. The
    key that a store has now works until its new kit is first used.
    """
    from fedshelf.server.credentials import commands

    commands.renew(
        credentials, names, keys_in_kits=keys_in_kits, ends_old_key=at_once, office=office
    )


@stores_app.command()
def delete(names: Names, credentials: Credentials) -> None:
    """Delete stores and their kits.

    Only stores that are revoked, or whose kit was never used (for example with a mistyped name),
    can be deleted.
    """
    from fedshelf.server.credentials import commands

    commands.delete(credentials, names)


@stores_app.command()
def forget(
    name: Annotated[str, typer.Argument(help="Store.")],
    run: Annotated[
        Path, typer.Option(help="Directory or name of a run of a strategy in closed form.")
    ],
) -> None:
    """Take a store's sums out of a run's model, which is then that of the other stores alone.

    The server of the run must be stopped. The store takes no further part in this run.
    """
    from fedshelf.server.monitor.run_finder import find_run

    path = find_run(run)
    from fedshelf.server.operations.forget_store import forget_store  # loads torch

    forget_store(path, name)


def main() -> None:
    """Run `flower-server`."""
    run_command_line(app)
