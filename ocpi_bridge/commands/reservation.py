"""`roambridge reservation`: an EVSE is kept free for a card, and given back."""

from datetime import timedelta
from typing import Annotated

import typer
from sqlalchemy import select

from csms import reservations, tokens
from csms.authorization import choose
from csms.models import Reservation
from ocpi_bridge.commands.asking import requester, waited
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

app = typer.Typer(help="Reservations: keep an EVSE free for a card.", no_args_is_help=True)

Number = Annotated[int, typer.Argument(metavar="NUMBER", help="As `reservation list` shows it.")]
Timeout = Annotated[float, typer.Option(min=1, max=600, help="Seconds to wait for the station.")]


@app.command()
def make(
    station_id: Annotated[str, typer.Argument(metavar="ID", help="The identity in the station's URL.")],
    card: Annotated[str, typer.Argument(metavar="CARD", help="The card's number.")],
    evse: Annotated[int | None, typer.Option(min=1, help="Which EVSE; any when absent.")] = None,
    minutes: Annotated[int, typer.Option(min=1, max=1440, help="For how long.")] = 30,
    timeout: Timeout = 30,
) -> None:
    """Keep an EVSE free for a card, and wait for what the station says."""
    with opened() as database:
        try:
            with database.write() as connection:
                key = tokens.normalize(card)
                known = choose(tokens.by_key(connection, [key]).get(key, ())).token
                number = reservations.reserve(
                    connection,
                    station_id=station_id,
                    evse=evse,
                    token_id=None if known is None else known.id,
                    tag=card if known is None else None,
                    expires_at=now() + timedelta(minutes=minutes),
                    requested_by=requester(),
                    now=now(),
                    timeout_s=timeout,
                )
                asked = select(Reservation.remote_request_id).where(Reservation.number == number)
                request_id = connection.execute(asked).scalar_one()
        except reservations.UnknownEvse:
            raise Failed(f"{station_id} has no EVSE {evse}") from None
        except reservations.NotReservable as error:
            raise Failed(f"not reserved: {error}") from None
        row = waited(database, request_id or "", timeout)
    if row.state != "accepted":
        raise Failed(f"{station_id}: {row.outcome or 'no answer'}" + (f" ({row.detail})" if row.detail else ""))
    say(f"reservation {number}: {station_id} keeps {f'EVSE {evse}' if evse else 'one EVSE'} for {minutes} minutes")


@app.command()
def cancel(number: Number, timeout: Timeout = 30) -> None:
    """Give a kept EVSE back, and wait for what the station says."""
    with opened() as database:
        try:
            with database.write() as connection:
                request_id = reservations.cancel(
                    connection, number, requested_by=requester(), now=now(), timeout_s=timeout
                )
        except reservations.UnknownReservation:
            raise Failed(f"there is no reservation {number}") from None
        except reservations.ReservationOver as error:
            raise Failed(f"reservation {number} is {error} already") from None
        row = waited(database, request_id, timeout)
    if row.outcome == "rejected":
        say(f"reservation {number} cancelled: {row.station_id} did not know of it any more")
        return
    if row.state != "accepted":
        raise Failed(f"{row.station_id}: {row.outcome or 'no answer'}" + (f" ({row.detail})" if row.detail else ""))
    say(f"reservation {number} cancelled")


@app.command("list")
def list_(
    open_: Annotated[bool, typer.Option("--open", help="Only those that are asked for or held.")] = False,
    station: Annotated[str | None, typer.Option(help="Only this station's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Reservations, the newest first."""
    query = select(Reservation.__table__).order_by(Reservation.number.desc()).limit(limit)
    if open_:
        query = query.where(Reservation.state.in_(reservations.OPEN))
    if station is not None:
        query = query.where(Reservation.station_id == station)
    with opened() as database, database.read() as connection:
        found = connection.execute(query).all()
    rows = [
        {
            "number": row.number,
            "station_id": row.station_id,
            "evse": row.evse or "any",
            "card": tokens.masked(row.tag),
            "state": row.state,
            "detail": row.detail,
            "requested_by": row.requested_by,
            "reference": row.reference,
            "expires_at": row.expires_at,
            "transaction_id": row.transaction_id,
        }
        for row in found
    ]
    columns = {
        "number": "number",
        "station_id": "station",
        "evse": "EVSE",
        "card": "card",
        "state": "state",
        "detail": "why",
        "requested_by": "asked by",
        "expires_at": "until",
        "transaction_id": "transaction",
    }
    show("Reservations", columns, rows, as_json=as_json)
