"""`roambridge serve`, `gateway`, `worker`, `api`, `migrate` and `import`: what runs, its schema, and the network file."""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show
from ocpi_bridge.settings import Settings, load

app = typer.Typer(no_args_is_help=True)


@app.command()
def serve() -> None:
    """Run everything in one process, until interrupted: the gateway for chargers, the core, OCPI and the pages. The
    database is brought to the newest schema first."""
    settings = load()
    settings.needed_secret_key()
    _run("serve", "Service", settings, ignored=settings.not_acted_on)


@app.command()
def gateway() -> None:
    """Hold the chargers' connections, and nothing else: workers answer through Redis. Restart it rarely."""
    _run("gateway", "GatewayRole", _of_a_role(load()))


@app.command()
def worker() -> None:
    """The core, bills, and what partners are told. Several may run; restart one whenever you like."""
    settings = _of_a_role(load())
    settings.needed_secret_key()
    _run("worker", "Worker", settings)


@app.command()
def api() -> None:
    """OCPI, the operator API, and files to and from chargers, over HTTP. Several may run."""
    settings = _of_a_role(load())
    settings.needed_secret_key()
    _run("api", "Api", settings)


def _of_a_role(settings: Settings) -> Settings:
    settings.needed_for_roles()
    return settings


def _run(module: str, role: str, settings: Settings, *, ignored: Sequence[str] = ()) -> None:
    gc.disable()  # what is loaded stays: to look through it while it loads is a fifth of the work of starting
    from csms.schema import SchemaError
    from ocpi_bridge import main

    make = getattr(import_module(f"ocpi_bridge.roles.{module}"), role)
    gc.freeze()
    gc.enable()
    try:
        main.run(make, settings, ignored=ignored)
    except SchemaError as error:
        raise Failed(error) from error


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe while another process does the same."""
    from csms import schema

    settings = load()
    try:
        applied = schema.migrate(settings.database_url, message_log=settings.message_log)
    except schema.SchemaError as error:
        raise Failed(error) from error
    say(f"applied {', '.join(applied)}" if applied else "the schema is the newest already")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The network file (YAML); - reads standard input.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would change, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take in sites, stations, tariffs and own cards. Importing twice changes nothing; an EVSE that the file no longer has
    becomes removed."""
    from csms.import_network import import_network
    from csms.network_file import BadNetwork, read

    settings = load()
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        document = read(text)
        with opened(settings) as database, database.write() as connection:
            changes = import_network(
                connection,
                document,
                default_party=settings.our_party,
                operator_name=settings.operator_name,
                now=now(),
            )
            if dry_run:
                connection.rollback()
    except UnicodeDecodeError:
        raise Failed(f"{file}: not UTF-8 text") from None
    except BadNetwork as error:
        raise Failed(*(f"{file}: {problem}" for problem in error.problems)) from None
    rows = [{"kind": change.kind, "id": change.id, "what": change.what, "detail": change.detail} for change in changes]
    columns = {"kind": "kind", "id": "id", "what": "is", "detail": ""}
    title = "would change" if dry_run else "changed"
    show(title, columns, rows, as_json=as_json, empty="nothing")
