"""`roambridge profile`: how much stations may draw, what they hold of it, and what we and they make of it together."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from sqlalchemy import select

from csms.models import InstalledProfile
from csms.smart_charging import profiles
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    SchedulePeriod,
)
from ocpi_bridge.commands.asking import requester, tell, waited
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

app = typer.Typer(help="Charging profiles: set, clear, and what follows from them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")]
AnEvse = Annotated[int, typer.Argument(metavar="EVSE", min=0, help="0 is the whole station.")]
Timeout = Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for the station.")]


@app.command("set")
def set_(
    station_id: Id,
    evse: AnEvse,
    limit: Annotated[str | None, typer.Option(help="One constant limit, as 16A or 11000W.")] = None,
    file: Annotated[
        Path | None, typer.Option("--file", help="A profile as JSON, in the words of `profile list`.")
    ] = None,
    purpose: Annotated[ProfilePurpose, typer.Option(help="What it limits.")] = ProfilePurpose.TX_DEFAULT,
    level: Annotated[int, typer.Option(min=0, help="Of two the higher wins.")] = 0,
    hours: Annotated[float | None, typer.Option(help="For so long; without it, until it is cleared.")] = None,
    timeout: Timeout = 30,
) -> None:
    """Limit a station, one of its EVSEs, or the transaction that runs there."""
    if (limit is None) is (file is None):
        raise typer.BadParameter("give either --limit or --file")
    profile = _constant(limit, purpose, level, hours) if limit is not None else _read(file)
    with opened() as database:
        with database.write() as connection:
            number = _or_fail(
                lambda: profiles.install(
                    connection,
                    station_id=station_id,
                    evse=evse,
                    profile=profile,
                    requested_by=requester(),
                    now=now(),
                    timeout_s=timeout,
                )
            )
            row = InstalledProfile
            asked = select(row.remote_request_id).where(row.number == number)
            request_id = str(connection.execute(asked).scalar_one())
        tell(waited(database, request_id, timeout))
    say(f"profile {number}")


@app.command("clear")
def clear(
    station_id: Id,
    number: Annotated[int | None, typer.Option(help="The profile of this number.")] = None,
    evse: Annotated[int | None, typer.Option(min=0, help="Those of this EVSE; 0 of the station.")] = None,
    purpose: Annotated[ProfilePurpose | None, typer.Option(help="Those of this purpose.")] = None,
    level: Annotated[int | None, typer.Option(min=0, help="Those of this stack level.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every profile of the station.")] = False,
    timeout: Timeout = 30,
) -> None:
    """Take profiles away: those that fit all that is said."""
    if every == any(said is not None for said in (number, evse, purpose, level)):
        raise typer.BadParameter("say which profiles, or --all")
    with opened() as database:
        with database.write() as connection:
            request_id = _or_fail(
                lambda: profiles.clear(
                    connection,
                    station_id=station_id,
                    number=number,
                    evse=evse,
                    purpose=purpose,
                    stack_level=level,
                    requested_by=requester(),
                    now=now(),
                    timeout_s=timeout,
                )
            )
        tell(waited(database, request_id, timeout))


@app.command("list")
def list_(
    station_id: Annotated[str | None, typer.Argument(metavar="[ID]")] = None,
    every: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """What stations hold, as far as we know."""
    table = InstalledProfile.__table__
    query = select(table).order_by(table.c.number)
    if station_id is not None:
        query = query.where(table.c.station_id == station_id)
    if not every:
        query = query.where(table.c.state.in_(("requested", "unknown", profiles.HOLDS)))
    with opened() as database, database.read() as connection:
        rows: list[dict[str, Any]] = [dict(row._mapping) for row in connection.execute(query)]
    for row in rows:
        schedule = msgspec.convert(row["profile"], ChargingProfile).schedule
        row["limits"] = [f"{period.limit} {schedule.unit} from {period.start_s} s" for period in schedule.periods]
    columns = {
        "number": "number",
        "station_id": "station",
        "evse": "EVSE",
        "purpose": "purpose",
        "stack_level": "level",
        "limits": "limits",
        "state": "state",
    }
    show("Charging profiles", columns, rows, as_json=as_json)


@app.command("schedule")
def schedule(
    station_id: Id,
    evse: AnEvse,
    hours: Annotated[float, typer.Option(min=0.01, max=168, help="How far to look.")] = 24,
    unit: Annotated[RateUnit, typer.Option(help="Amperes per phase, or watts.")] = RateUnit.AMPERE,
    ask: Annotated[bool, typer.Option("--ask", help="Ask the station for its own, and compare.")] = False,
    timeout: Timeout = 30,
    as_json: AsJson = False,
) -> None:
    """What all profiles together allow, by our own reckoning, from now on."""
    duration_s = int(hours * 3600)
    with opened() as database:
        with database.read() as connection:
            whole = _or_fail(
                lambda: profiles.expected(
                    connection, station_id=station_id, evse=evse, starts_at=now(), duration_s=duration_s, unit=unit
                )
            )
        rows = [
            {
                "from": whole.starts_at + timedelta(seconds=limit.start_s),
                "limit": None if limit.limit is None else f"{limit.limit} {unit}",
            }
            for limit in whole.limits
        ]
        show(f"{station_id} EVSE {evse}", {"from": "from", "limit": "limit"}, rows, as_json=as_json)
        if not ask:
            return
        with database.write() as connection:
            request_id = profiles.ask_schedule(
                connection,
                station_id=station_id,
                evse=evse,
                duration_s=duration_s,
                unit=unit,
                requested_by=requester(),
                now=now(),
                timeout_s=timeout,
            )
        tell(waited(database, request_id, timeout))
        with database.read() as connection:
            differences = profiles.compared(connection, request_id)
    if differences:
        raise Failed(f"{station_id} reckons otherwise:", *differences)
    say(f"{station_id} reckons the same")


def _constant(limit: str, purpose: ProfilePurpose, level: int, hours: float | None) -> ChargingProfile:
    number, unit = limit[:-1], limit[-1:].upper()
    if unit not in list(RateUnit) or not number.replace(".", "", 1).isdecimal():
        raise typer.BadParameter(f"{limit} is no limit such as 16A or 11000W")
    return ChargingProfile(
        profile_id=0,
        stack_level=level,
        purpose=purpose,
        kind=ProfileKind.ABSOLUTE,
        schedule=ChargingSchedule(
            unit=RateUnit(unit),
            starts_at=now(),
            duration_s=None if hours is None else int(hours * 3600),
            periods=(SchedulePeriod(start_s=0, limit=Decimal(number)),),
        ),
    )


def _read(file: Path | None) -> ChargingProfile:
    assert file is not None
    try:
        told = {"profile_id": 0, **json.loads(file.read_text())}
        profile = msgspec.convert(told, ChargingProfile)
    except (ValueError, TypeError) as error:
        raise typer.BadParameter(f"{file} is no profile: {error}") from None
    moments = (profile.valid_from, profile.valid_to, profile.schedule.starts_at)
    if any(isinstance(moment, datetime) and moment.tzinfo is None for moment in moments):
        raise typer.BadParameter(f"{file} names a time without its zone")
    return profile


def _or_fail(verb: Any) -> Any:
    try:
        return verb()
    except profiles.ProfileRefused as refused:
        raise Failed(str(refused)) from None
