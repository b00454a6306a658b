"""`roambridge station`: what an operator must be able to do with a charger without a browser."""

import re
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, select

from csms import configuration as settings
from csms import resets, station_security, stations
from csms.bus import Admission
from csms.models import Evse, Station
from csms.passwords import new_key
from csms.sealing import SealBroken, Vault
from ocpi_bridge.commands.asking import Asked, ask, asked, login_name, read_command, requester, tell
from ocpi_bridge.commands.quirks import known, of_station
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show, written
from ocpi_bridge.settings import load

app = typer.Typer(help="Stations: adopt, rebind, passwords, commands.", no_args_is_help=True)

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
    adopted = written(lambda connection: stations.adopt(connection, station_id, now()))
    say(f"{station_id} adopted" if adopted else f"{station_id} was in already")


@app.command()
def refuse(station_id: Id) -> None:
    """Keep a station out: it is sent away if it is connected, and its next connection is answered 403."""
    written(lambda connection: stations.refuse(connection, station_id))
    say(f"{station_id} refused")


@app.command()
def rebind(station_id: Id) -> None:
    """Forget which box the identity belongs to, after an exchange of hardware: the next accepted Boot binds it anew."""
    written(lambda connection: stations.rebind(connection, station_id))
    say(f"{station_id} will be bound by its next Boot")


@app.command()
def binding(
    station_id: Id,
    policy: Annotated[stations.BindingPolicy, typer.Argument(help="What to do when another box comes.")],
) -> None:
    """What happens when another box boots under the identity: strict rejects it, warn alerts, off binds to whoever comes."""
    written(lambda connection: stations.set_binding(connection, station_id, policy))
    say(f"{station_id} is bound: {policy.value}")


@app.command()
def quirks(station_id: Id, as_json: AsJson = False) -> None:
    """What is known of its vendor, model and firmware, and what is done about it."""
    of_station(station_id, as_json=as_json)


@app.command()
def password(
    station_id: Id,
    ask_for_it: Annotated[bool, typer.Option("--ask", help="Type one instead of having it made.")] = False,
    none: Annotated[bool, typer.Option("--none", help="Take the password away.")] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="Have the station itself take a new one.")] = False,
    timeout: Timeout = 30,
) -> None:
    """Set the password of HTTP Basic, from the next connection on. A new one is made and printed, this once.

    With --rotate the station is told the new one: the old one is good until the new one is used, and nobody sees it.
    """
    if none + ask_for_it + rotate > 1:
        raise typer.BadParameter("--ask, --none and --rotate exclude each other")
    if rotate:
        vault = Vault(load().needed_secret_key())
        _secured(
            station_id,
            lambda connection: station_security.rotate_password(
                connection, station_id, vault=vault, requested_by=requester(), now=now()
            ),
            timeout,
        )
        say("its old password is good until it has connected with the new one")
        return
    chosen = None if none else new_key()
    if ask_for_it:
        chosen = str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    written(lambda connection: stations.set_password(connection, station_id, chosen))
    if none:
        say(f"{station_id} has no password any more")
    elif ask_for_it:
        say(f"{station_id} has its new password")
    else:
        say(str(chosen))


@app.command()
def security(
    station_id: Id,
    profile: Annotated[int, typer.Argument(min=0, max=3, help="The security profile: 0, 1, 2 or 3.")],
    demand: Annotated[bool, typer.Option("--demand", help="Tell it nothing: refuse less from now on.")] = False,
    timeout: Timeout = 30,
) -> None:
    """Have a station come with a higher security profile; less is refused once it has come with it.

    1 is a password, 2 wss and a password, 3 wss and a client certificate.
    """
    if demand:
        try:
            written(lambda connection: station_security.require_profile(connection, station_id, profile))
        except station_security.NotNow as error:
            raise Failed(f"{station_id}: {error}") from None
        say(f"profile {profile} is demanded of {station_id} from its next connection on")
        return
    tls = load().wss_offered
    _secured(
        station_id,
        lambda connection: station_security.upgrade_profile(
            connection, station_id, profile, tls=tls, requested_by=requester(), now=now()
        ),
        timeout,
    )
    say(f"less than profile {profile} is refused once it has connected with it; most need a restart first")


def _secured(station_id: str, verb: Callable[[Connection], str], timeout_s: float) -> None:
    try:
        tell(asked(verb, timeout_s))
    except (station_security.NotNow, SealBroken) as error:
        raise Failed(f"{station_id}: {error}") from None


@app.command()
def reset(
    station_id: Id,
    hard: Annotated[
        bool, typer.Option("--hard", help="The hard way: a person's decision, typed at a terminal.")
    ] = False,
    reason: Annotated[str | None, typer.Option(help="Why, for a hard reset.")] = None,
    without_soft: Annotated[bool, typer.Option("--without-soft", help="Hard, though no soft one failed.")] = False,
    even_charging: Annotated[bool, typer.Option("--even-charging", help="Hard, though somebody charges.")] = False,
    timeout: Timeout = 30,
) -> None:
    """Restart a station softly: it ends its transactions first. The hard way is for when that has failed."""
    if hard:
        if not (reason or "").strip():
            raise typer.BadParameter("a hard reset needs a --reason")
        _at_a_terminal(station_id)
    elif reason is not None or without_soft or even_charging:
        raise typer.BadParameter("--reason, --without-soft and --even-charging belong to --hard")

    def order(connection: Connection) -> str:
        if not hard:
            return resets.soft(connection, station_id, requested_by=requester(), now=now(), timeout_s=timeout)
        return resets.hard(
            connection,
            station_id,
            person=login_name(),
            reason=reason or "",
            now=now(),
            override=without_soft,
            even_charging=even_charging,
            timeout_s=timeout,
        )

    try:
        tell(asked(order, timeout))
    except resets.NotAllowed as error:
        raise Failed(f"{error}; an admin adds people with: roambridge user add") from None
    except (resets.TooEarly, resets.Charging) as error:
        option = "--without-soft" if isinstance(error, resets.TooEarly) else "--even-charging"
        raise Failed(f"{error} ({option} overrules this)") from None


@app.command()
def configuration(
    station_id: Id,
    read: Annotated[bool, typer.Option("--read", help="Ask the station first.")] = False,
    drift: Annotated[bool, typer.Option("--drift", help="Only what is not as it should be.")] = False,
    as_json: AsJson = False,
    timeout: Timeout = 30,
) -> None:
    """A station's settings as it last told them, and what they should be."""
    if read:

        def ask_all(connection: Connection) -> str:
            [request_id] = settings.read(connection, station_id, requested_by=requester(), now=now(), timeout_s=timeout)
            return request_id

        answered = asked(ask_all, timeout)
        if answered.state != "accepted":
            tell(answered)

    def look(connection: Connection) -> tuple[Any, Any]:
        return settings.settings(connection, station_id), settings.drift(connection, station_id)

    told, drifted = written(look)
    if drift:
        rows = [
            {
                "key": row.key,
                "desired": row.desired,
                "actual": row.actual,
                "state": row.state,
                "since": row.since,
                "detail": row.detail,
            }
            for row in drifted
        ]
        columns = {name: name for name in ("key", "desired", "actual", "state", "since", "detail")}
        show(f"{station_id}: not as it should be", columns, rows, as_json=as_json, empty="all is as it should be")
        return
    wanted = {row.key.casefold(): row for row in drifted}
    rows = [
        {
            "key": row.key,
            "value": row.value,
            "readonly": row.readonly,
            "read_at": row.read_at,
            "desired": wanted[row.key.casefold()].desired if row.key.casefold() in wanted else None,
        }
        for row in told
    ]
    columns = {"key": "key", "value": "value", "readonly": "read only", "desired": "should be", "read_at": "read"}
    show(station_id, columns, rows, as_json=as_json, empty="never read; ask it with --read")


@app.command("set")
def set_(
    station_id: Id,
    key: Annotated[str, typer.Argument(metavar="KEY")],
    value: Annotated[str, typer.Argument(metavar="VALUE")],
    sure: Annotated[bool, typer.Option("--sure", help="Also where it does harm, as samples every second.")] = False,
    timeout: Timeout = 30,
) -> None:
    """What a setting should be from now on: it is set, read back, and set again after a Boot that lost it."""

    def wish(connection: Connection) -> str:
        return settings.wish(
            connection, station_id, key, value, wished_by=requester(), now=now(), sure=sure, timeout_s=timeout
        )

    try:
        tell(asked(wish, timeout))
    except settings.Unwise as error:
        raise Failed(f"{error} (--sure overrules this)") from None
    except settings.NotWritable as error:
        raise Failed(error) from None


@app.command()
def throttle(
    station_id: Id,
    amperes: Annotated[str, typer.Argument(metavar="AMPERES", help="Of the whole station, per phase.")],
    timeout: Timeout = 30,
) -> None:
    """Limit a station that knows no charging profiles, by the setting that its vendor has for it."""
    if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,3})?", amperes) is None:
        raise typer.BadParameter(f"{amperes} is no current, such as 16 or 10.5")
    key_of = known(load()).throttle_key

    def limit(connection: Connection) -> str:
        return settings.throttle(
            connection,
            station_id,
            Decimal(amperes),
            key_of=key_of,
            requested_by=requester(),
            now=now(),
            timeout_s=timeout,
        )

    try:
        tell(asked(limit, timeout))
    except settings.NotWritable as error:
        raise Failed(error) from None


@app.command(context_settings={"ignore_unknown_options": True})
def command(
    station_id: Id,
    name: Annotated[str, typer.Argument(metavar="NAME", help="As get-configuration or GetConfiguration.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="[ARGS]...")] = None,
    timeout: Timeout = 30,
) -> None:
    """Ask a station, and wait for what it says.

    get-configuration [KEY...], change-configuration KEY VALUE, change-availability EVSE operative|inoperative,
    trigger-message KIND [EVSE], extended-trigger KIND [EVSE], unlock-connector EVSE, remote-start CARD [EVSE],
    remote-stop TRANSACTION, clear-cache, send-data VENDOR MESSAGE [DATA], reset
    """
    with opened() as database, database.read() as connection:
        asked: Asked = read_command(connection, station_id, name, arguments or [])
    tell(ask(asked.command, timeout_s=timeout, token_id=asked.token_id))


def _at_a_terminal(station_id: str) -> None:
    """A job has no terminal, and does not type what it is asked for (R05)."""
    if not sys.stdin.isatty():
        raise Failed("a hard reset is a person's decision: it needs a terminal")
    typed = typer.prompt(f"This cuts {station_id} off. Its id, to go on", default="", show_default=False)
    if typed.strip() != station_id:
        raise Failed("that is another id; nothing was sent")
