"""`roambridge locallist`: which stations let cards in when they are alone, and whether they know whom."""

import time
from collections.abc import Callable
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, Row, select

from csms.local_list import lists
from csms.models import LocalList, Station
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show, written

app = typer.Typer(help="Lists of cards that stations keep for when they are alone.", no_args_is_help=True)

POLL_S = 0.1
WISHED = {True: "operator", None: "station", False: "nobody"}  # who wants the list

Id = Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")]


@app.command()
def enable(
    station_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The identity in the station's URL.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every station that is known now.")] = False,
) -> None:
    """Switch a station's list on and keep it told: soon, then every night at three o'clock of its site."""
    if (station_id is None) is not every:
        raise typer.BadParameter("name a station, or --all")
    if station_id is not None:
        _verb(station_id, lambda connection: lists.enable(connection, station_id, now()))
        say(f"{station_id} will be told its cards")
        return
    with opened() as database, database.write() as connection:
        count = lists.enable_all(connection, now())
    say(f"{count} stations will be told their cards")


@app.command()
def disable(station_id: Id) -> None:
    """Empty a station's list and tell it no more."""
    _verb(station_id, lambda connection: lists.disable(connection, station_id, now()))
    say(f"{station_id} will be told to forget its cards")


@app.command()
def push(
    station_id: Id,
    timeout: Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for what becomes of it.")] = 60,
) -> None:
    """Tell a station its cards now instead of at night."""
    asked_at = now()
    _verb(station_id, lambda connection: lists.push(connection, station_id, asked_at))
    until = time.monotonic() + timeout
    with opened() as database:
        while True:
            with database.read() as connection:
                row = connection.execute(_ROWS.where(LocalList.station_id == station_id)).one()
            tried = row.tried_at is not None and row.tried_at >= asked_at
            if tried or row.connection_id is None or time.monotonic() > until:
                break
            time.sleep(POLL_S)
    _tell(row, tried=tried)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """Stations that keep a list, and what became of telling them."""
    with opened() as database, database.read() as connection:
        found = connection.execute(_ROWS.order_by(LocalList.station_id)).all()
    rows = [
        {
            "station_id": row.station_id,
            "wanted_by": WISHED[row.wanted],
            "online": row.connection_id is not None,
            "state": row.state,
            "detail": row.detail,
            "version": row.version,
            "cards": len(row.entries),
            "tried_at": row.tried_at,
            "succeeded_at": row.succeeded_at,
            "due_at": row.due_at,
        }
        for row in found
    ]
    columns = {
        "station_id": "id",
        "wanted_by": "wanted by",
        "online": "online",
        "state": "state",
        "detail": "why",
        "version": "version",
        "cards": "cards",
        "succeeded_at": "last success",
        "due_at": "next",
    }
    show("Lists of cards", columns, rows, as_json=as_json)


_ROWS = select(LocalList.__table__, Station.connection_id).join(Station, Station.station_id == LocalList.station_id)


def _tell(row: Row[Any], *, tried: bool) -> None:
    if row.connection_id is None or (tried and row.state == "offline"):
        raise Failed(f"{row.station_id} is offline; it is told when it is back")
    if not tried:
        raise Failed(f"{row.station_id} was not told yet: is `roambridge serve` running on this database?")
    if row.state != "sent":
        raise Failed(f"{row.station_id}: {row.state}" + (f" ({row.detail})" if row.detail else ""))
    say(f"{row.station_id} knows {len(row.entries)} cards (version {row.version})")


def _verb(station_id: str, change: Callable[[Connection], None]) -> None:
    try:
        written(change)
    except lists.NoList:
        raise Failed(f"{station_id} keeps no list; let it with: roambridge locallist enable {station_id}") from None
