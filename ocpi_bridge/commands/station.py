"""`roambridge station`: what an operator must be able to do with a charger without a browser."""

import secrets
from collections.abc import Callable
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, select

from csms import commands, stations
from csms.bus import Admission
from csms.models import Evse, Station
from ocpi_bridge.commands.asking import Asked, ask, read_command, tell
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

app = typer.Typer(help="Stations: adopt, rebind, passwords, commands.", no_args_is_help=True)

PASSWORD_BYTES = 16  # 32 hex digits, within the 16 to 40 that OCPP 1.6 allows for an AuthorizationKey

CLOCK = {True: "ours", False: "its own", None: "unknown"}  # F02

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")]
Timeout = Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for the station.")]


@app.command("list")
def list_(
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that wait for adoption.")] = False,
    as_json: AsJson = False,
) -> None:
    """All stations, and what each last said of itself."""
    query = select(Station.__table__).order_by(Station.station_id)
    if waiting:
        query = query.where(Station.admission == Admission.PENDING)
    with opened() as database, database.read() as connection:
        found = connection.execute(query).all()
        evses = connection.execute(
            select(Evse.station_id, Evse.evse, Evse.status).where(Evse.removed.is_(False)).order_by(Evse.evse)
        ).all()
    statuses: dict[str, list[str]] = {}
    for evse in evses:
        statuses.setdefault(evse.station_id, []).append(f"{evse.evse} {evse.status or 'unknown'}")
    rows = [
        {
            "station_id": row.station_id,
            "admission": row.admission,
            "online": row.connection_id is not None,
            "last_seen_at": row.last_seen_at,
            "vendor": row.vendor,
            "model": row.model,
            "serial_number": row.serial_number,
            "firmware_version": row.firmware_version,
            "ocpp_version": row.ocpp_version,
            "password": row.password_hash is not None,
            "bound": row.fingerprint is not None,
            "clock": CLOCK[row.keeps_our_time],
            "clock_skew_s": row.clock_skew_s,
            "evses": statuses.get(row.station_id, []),
        }
        for row in found
    ]
    columns = {
        "station_id": "id",
        "admission": "admission",
        "online": "online",
        "last_seen_at": "last seen",
        "vendor": "vendor",
        "model": "model",
        "firmware_version": "firmware",
        "ocpp_version": "OCPP",
        "password": "password",
        "clock": "clock",
        "evses": "EVSEs",
    }
    show("Stations", columns, rows, as_json=as_json)


@app.command()
def adopt(station_id: Id) -> None:
    """Let a waiting (or refused) station in. Its next Boot is accepted and binds it."""
    adopted = _verb(station_id, lambda connection: stations.adopt(connection, station_id, now()))
    say(f"{station_id} adopted" if adopted else f"{station_id} was in already")


@app.command()
def refuse(station_id: Id) -> None:
    """Keep a station out: it is sent away if it is connected, and its next connection is answered 403."""
    _verb(station_id, lambda connection: stations.refuse(connection, station_id))
    say(f"{station_id} refused")


@app.command()
def rebind(station_id: Id) -> None:
    """Forget which box the identity belongs to, after an exchange of hardware: the next accepted Boot binds it anew."""
    _verb(station_id, lambda connection: stations.rebind(connection, station_id))
    say(f"{station_id} will be bound by its next Boot")


@app.command()
def binding(
    station_id: Id,
    policy: Annotated[stations.BindingPolicy, typer.Argument(help="What to do when another box comes.")],
) -> None:
    """What happens when another box boots under the identity: strict rejects it, warn alerts, off binds to whoever comes."""
    _verb(station_id, lambda connection: stations.set_binding(connection, station_id, policy))
    say(f"{station_id} is bound: {policy.value}")


@app.command()
def password(
    station_id: Id,
    ask_for_it: Annotated[bool, typer.Option("--ask", help="Type one instead of having it made.")] = False,
    none: Annotated[bool, typer.Option("--none", help="Take the password away.")] = False,
) -> None:
    """Set the password of HTTP Basic, from the next connection on. A new one is made and printed, this once."""
    if none and ask_for_it:
        raise typer.BadParameter("--ask and --none exclude each other")
    chosen = None if none else secrets.token_hex(PASSWORD_BYTES)
    if ask_for_it:
        chosen = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    _verb(station_id, lambda connection: stations.set_password(connection, station_id, chosen))
    if none:
        say(f"{station_id} has no password any more")
    elif ask_for_it:
        say(f"{station_id} has its new password")
    else:
        say(str(chosen))


@app.command()
def reset(
    station_id: Id,
    hard: Annotated[bool, typer.Option("--hard", help="Cut the power of its controller (not offered yet).")] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for a hard reset.")] = None,
    timeout: Timeout = 30,
) -> None:
    """Restart a station softly: it ends its transactions first."""
    if hard:
        raise Failed("hard resets are not offered yet; without --hard the station restarts softly")
    if reason is not None:
        raise typer.BadParameter("--reason belongs to --hard")
    tell(ask(commands.ResetStation(station_id=station_id), timeout_s=timeout))


@app.command(context_settings={"ignore_unknown_options": True})
def command(
    station_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As get-configuration or GetConfiguration.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGS]...")] = None,
    timeout: Timeout = 30,
) -> None:
    """Ask a station, and wait for what it says.

    get-configuration [KEY...], change-configuration KEY VALUE, change-availability EVSE operative|inoperative,
    trigger-message KIND [EVSE], unlock-connector EVSE, remote-start CARD [EVSE], remote-stop TRANSACTION, reset
    """
    with opened() as database, database.read() as connection:
        asked: Asked = read_command(connection, station_id, name, arguments or [])
    tell(ask(asked.command, timeout_s=timeout, token_id=asked.token_id))


def _verb(station_id: str, change: Callable[[Connection], Any]) -> Any:
    try:
        with opened() as database, database.write() as connection:
            return change(connection)
    except stations.UnknownStation:
        raise Failed(f"there is no station {station_id}") from None
