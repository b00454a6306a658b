"""`roambridge`: a table of commands, each loaded when it is called; what fails as expected fails in one line."""

import logging
import sys
from importlib import import_module
from typing import Any, NamedTuple

import structlog
import typer
import typer.main
from typer.core import TyperGroup

from ocpi_bridge.commands import terminal


class Command(NamedTuple):
    """`app` is the Typer object in `module`; `name` the command in it, None for all of them as a group."""

    help: str
    module: str
    app: str = "app"
    name: str | None = None


COMMANDS = {
    "serve": Command(
        "Run everything in one process: chargers, partners, bills.", "ocpi_bridge.commands.service", name="serve"
    ),
    "gateway": Command("Hold chargers' connections, at scale.", "ocpi_bridge.commands.service", name="gateway"),
    "worker": Command("The core and what follows from it, at scale.", "ocpi_bridge.commands.service", name="worker"),
    "api": Command("OCPI and the operator API, at scale.", "ocpi_bridge.commands.service", name="api"),
    "migrate": Command("Bring the database to the newest schema.", "ocpi_bridge.commands.service", name="migrate"),
    "import": Command("Take in sites, stations, tariffs and own cards.", "ocpi_bridge.commands.service", name="import"),
    "station": Command("Stations: adopt, rebind, passwords, commands.", "ocpi_bridge.commands.station"),
    "profile": Command("Charging profiles: set, clear, and what follows.", "ocpi_bridge.commands.profile"),
    "token": Command("Cards: the operator's own, and those of partners.", "ocpi_bridge.commands.token"),
    "locallist": Command("Lists of cards that stations keep for when alone.", "ocpi_bridge.commands.local_list"),
    "reservation": Command("Reservations: keep an EVSE free for a card.", "ocpi_bridge.commands.reservation"),
    "tariff": Command("Tariffs and their versions.", "ocpi_bridge.commands.tariff"),
    "review": Command("Bills that are held: release, adjust, write off.", "ocpi_bridge.commands.review"),
    "explain": Command("A bill, line by line: from what, and why.", "ocpi_bridge.commands.explain", name="explain"),
    "rebill": Command("Bills priced again: does one differ?", "ocpi_bridge.commands.rebill", name="rebill"),
    "refund": Command("Charges that failed: grant or decline.", "ocpi_bridge.commands.review", "refund_app"),
    "clock": Command("Clocks: which stations take our time.", "ocpi_bridge.commands.clock"),
    "certificate": Command("Certificates: our authority, what it signed, roots.", "ocpi_bridge.commands.certificate"),
    "partner": Command("OCPI partners: invite, register, leave.", "ocpi_bridge.commands.partner"),
    "user": Command("People: who they are, and what they may do.", "ocpi_bridge.commands.user"),
    "apikey": Command("Keys for programs that use the operator API.", "ocpi_bridge.commands.apikey"),
    "bus": Command("The bus: messages that no worker could handle.", "ocpi_bridge.commands.bus"),
    "alert": Command("Alerts: what must be looked at, and what was.", "ocpi_bridge.commands.alert"),
    "firmware": Command("Firmware: images, updates, campaigns.", "ocpi_bridge.commands.firmware"),
    "diagnostics": Command("Diagnostics and logs that stations bring.", "ocpi_bridge.commands.diagnostics"),
    "quirks": Command("Vendors' deviations that are known.", "ocpi_bridge.commands.quirks", name="quirks"),
    "retention": Command(
        "What is past its days: delete it, or only look.", "ocpi_bridge.commands.retention", name="retention"
    ),
    "messages": Command(
        "The message log, requests beside their answers.", "ocpi_bridge.commands.messages", name="messages"
    ),
    "simulate": Command("Simulated chargers: one, or ten thousand.", "ocpi_bridge.commands.simulate"),
    "ocpi": Command("OCPI: does a partner's platform keep its rules?", "ocpi_bridge.commands.ocpi"),
    "emsp": Command("The recording, faulty OCPI partner.", "ocpi_bridge.emsp_simulator.cli"),
}


class Commands(TyperGroup):
    """Knows every command by its line in the table, and loads the one that is run."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """What help and completion need to know of it."""
        command = COMMANDS.get(cmd_name)
        return None if command is None else TyperGroup(name=cmd_name, help=command.help)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, found, rest = super().resolve_command(ctx, args)
        return name, found if name is None else load(COMMANDS[name]), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            lines = terminal.explained(error)
            if lines is None:
                raise
            terminal.fail(lines)
            raise typer.Exit(1) from None


def load(command: Command) -> Any:
    group = typer.main.get_group(getattr(import_module(command.module), command.app))
    return group if command.name is None else group.commands[command.name]


app = typer.Typer(
    cls=Commands,
    name="roambridge",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def roambridge() -> None:
    """An OCPP-to-OCPI bridge for charge point operators. Settings are read from ROAMBRIDGE_... variables and .env."""
    # What a command says is on stdout; of what happens inside it only faults, and on stderr. `serve` says more.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
