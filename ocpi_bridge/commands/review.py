"""`roambridge review` and `roambridge refund`: what waits for a person, and what that person decides."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, TypedDict

import typer
from sqlalchemy import Connection

from csms import clock, credits, metering, refunds, reviews
from ocpi_bridge.commands.asking import requester
from ocpi_bridge.commands.terminal import AsJson, Failed, now, opened, say, show

app = typer.Typer(help="Bills that are held: release, adjust, write off.", no_args_is_help=True)
refund_app = typer.Typer(help="Charges that failed: grant or decline a refund.", no_args_is_help=True)

Id = Annotated[int, typer.Argument(metavar="ID", help="As the list shows it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]
Record = Annotated[str, typer.Argument(metavar="RECORD", help="The id of the bill, which is that of its CDR.")]
EnergyKwh = Annotated[str | None, typer.Option(metavar="KWH", help="What was delivered, as 12.345.")]
Start = Annotated[str | None, typer.Option(metavar="TIME", help="When it began, as 2026-06-01T12:00Z.")]
End = Annotated[str | None, typer.Option(metavar="TIME", help="When it ended.")]
TariffId = Annotated[
    str | None, typer.Option("--tariff", metavar="ID", help="The tariff by whose version in force it should be priced.")
]
Every = Annotated[bool, typer.Option("--all", help="Also what is decided.")]
Owner = Annotated[str | None, typer.Option(help="Only what this person looks after, as cli:ann.")]
Limit = Annotated[int, typer.Option(min=1, max=1000)]
After = Annotated[str | None, typer.Option(metavar="KEY", help="Go on behind the entry with this key.")]


@app.command("list")
def list_(
    every: Every = False, owner: Owner = None, limit: Limit = 100, after: After = None, as_json: AsJson = False
) -> None:
    """The bills that wait, the oldest first, with the reasons."""
    _list("Held bills", reviews.BILL, every=every, owner=owner, limit=limit, after=after, as_json=as_json)


@app.command()
def take(review_id: Id) -> None:
    """Look after it yourself, whoever did before."""
    with _deciding() as connection:
        reviews.take(connection, review_id, requester(), now())
    say(f"review {review_id} is yours")


@app.command()
def release(review_id: Id, reason: Reason) -> None:
    """Bill the session as it stands."""
    with _deciding() as connection:
        record_id = reviews.release(connection, review_id, requester(), _said(reason), now())
    say(f"billed: {record_id}")


@app.command()
def adjust(
    review_id: Id,
    reason: Reason,
    energy_kwh: EnergyKwh = None,
    start: Start = None,
    end: End = None,
    tariff: TariffId = None,
) -> None:
    """Bill the session with what you know better; what the charger said is kept beside it."""
    better = _better(energy_kwh, start, end, tariff)
    with _deciding() as connection:
        record_id = reviews.adjust(connection, review_id, requester(), _said(reason), now(), **better)
    say(f"billed: {record_id}")


@app.command("write-off")
def write_off(review_id: Id, reason: Reason) -> None:
    """Never bill the session."""
    with _deciding() as connection:
        reviews.write_off(connection, review_id, requester(), _said(reason), now())
    say(f"review {review_id} is written off")


@app.command("credit")
def take_back(record_id: Record, reason: Reason) -> None:
    """Take a bill back, all of it: its partner gets a credit CDR."""
    with _deciding() as connection:
        credit_id = credits.credit(connection, record_id, requester(), _said(reason), now())
    say(f"credited: {credit_id}")


@app.command()
def correct(
    record_id: Record,
    reason: Reason,
    energy_kwh: EnergyKwh = None,
    start: Start = None,
    end: End = None,
    tariff: TariffId = None,
) -> None:
    """Take a bill back, and bill the session with what you know better; what is not given stays as it was billed."""
    better = _better(energy_kwh, start, end, tariff)
    with _deciding() as connection:
        credit_id, corrected_id = credits.correct(connection, record_id, requester(), _said(reason), now(), **better)
    say(f"credited: {credit_id}")
    say(f"billed: {corrected_id}")


BALANCE = {
    "day": "day",
    "closed": "closed",
    "billed": "billed",
    "corrected": "corrected",
    "credited": "credited",
    "in_review": "in review",
    "held": "held because of",
    "written_off": "written off",
    "exempt": "exempt",
    "unexplained": "unexplained",
}


@app.command()
def balance(
    day: Annotated[
        str | None, typer.Option(metavar="DAY", help="As 2026-06-01 (UTC); yesterday when not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Sessions that were closed on a day, held against their bills. Fails when one is unexplained."""
    which = _day(day)
    with opened() as database, database.read() as connection:
        found = reviews.daily_balance(connection, which)
    row: dict[str, Any] = {"day": str(which), **asdict(found)}
    if not as_json:
        row["held"] = [f"{number} {reason}" for reason, number in found.held.items()]
    show("Closed against billed", BALANCE, [row], as_json=as_json)
    if found.unexplained:
        raise Failed(f"{found.unexplained} of {which} are neither billed nor accounted for; see the alerts")


# ---- refunds --------------------------------------------------------------------------------------------------------


@refund_app.command("list")
def list_refunds(
    every: Every = False, owner: Owner = None, limit: Limit = 100, after: After = None, as_json: AsJson = False
) -> None:
    """The charges that ended in a failure, the oldest first, with what is suggested."""
    _list("Refunds to judge", reviews.REFUND, every=every, owner=owner, limit=limit, after=after, as_json=as_json)


@refund_app.command("take")
def take_refund(refund_id: Id) -> None:
    """Look after it yourself, whoever did before."""
    with _deciding() as connection:
        refunds.take(connection, refund_id, requester(), now())
    say(f"refund {refund_id} is yours")


@refund_app.command()
def grant(
    refund_id: Id,
    reason: Reason,
    credit: Annotated[bool, typer.Option("--credit", help="Take the whole bill back.")] = False,
    amount: Annotated[
        str | None, typer.Option(metavar="AMOUNT", help="Lower the bill by so much, VAT included, as 1.50.")
    ] = None,
) -> None:
    """Decide for the driver: it is noted who decided, and why. The bill stays as it is, unless you say how it changes."""
    paid = _amount(amount)
    if credit and paid is not None:
        raise typer.BadParameter("either --credit or --amount")
    made: tuple[str | None, str | None] = (None, None)
    with _deciding() as connection:
        if credit or paid is not None:
            made = credits.pay_back(connection, refund_id, requester(), _said(reason), now(), amount=paid)
        else:
            refunds.grant(connection, refund_id, requester(), _said(reason), now())
    say(f"refund {refund_id} is granted")
    for word, record_id in zip(("credited", "billed"), made, strict=True):
        if record_id is not None:
            say(f"{word}: {record_id}")


@refund_app.command()
def decline(refund_id: Id, reason: Reason) -> None:
    """Decide that nothing is paid back."""
    with _deciding() as connection:
        refunds.decline(connection, refund_id, requester(), _said(reason), now())
    say(f"refund {refund_id} is declined")


# ---- what both lean on ----------------------------------------------------------------------------------------------


def _list(title: str, kind: str, *, every: bool, as_json: bool, **which: Any) -> None:
    at = now()
    try:
        with opened() as database, database.read() as connection:
            found = reviews.queue(connection, state=None if every else reviews.OPEN, kind=kind, **which)
    except reviews.UnknownReview as error:
        raise Failed(f"there is no entry {error}") from None
    rows = [_row(item, at) for item in found]
    columns = {
        "id": "id",
        "station_id": "station",
        "number": "transaction",
        "started_at": "began",
        "energy_kwh": "kWh",
        "reasons": "reasons",
        "state": "state",
        "owner": "owner",
        "age": "age",
    }
    show(title, columns, rows, as_json=as_json)


def _row(item: reviews.Item, at: datetime) -> dict[str, Any]:
    return {
        "key": item.key,
        "id": item.id,
        "station_id": item.station_id,
        "number": item.number,
        "transaction_id": item.transaction_id,
        "started_at": item.started_at,
        "ended_at": item.ended_at,
        "energy_kwh": Decimal(item.energy_mwh).scaleb(-6),
        "reasons": list(item.reasons),
        "detail": item.detail,
        "state": item.state,
        "owner": item.owner,
        "age": _age(item.age(at)),
        "opened_at": item.opened_at,
        "closed_at": item.closed_at,
        "decided_by": item.decided_by,
        "decision": item.decision,
    }


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds())) // 60
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 2 * 24 * 60 else f"{minutes // 60 // 24} days"


@contextmanager
def _deciding() -> Iterator[Connection]:
    """One transaction; what the domain refuses is told in one line."""
    try:
        with opened() as database, database.write() as connection:
            yield connection
    except (reviews.UnknownReview, refunds.UnknownRefund) as error:
        raise Failed(f"there is no entry {error}") from None
    except (reviews.AlreadyDecided, refunds.RefundDecided) as error:
        raise Failed(f"it was decided before: {error}") from None
    except reviews.NotBillable as error:
        raise Failed(f"it cannot be billed: {', '.join(map(str, error.args))}") from None
    except (reviews.InvalidAdjustment, credits.InvalidCorrection) as error:
        raise Failed(str(error)) from None
    except credits.UnknownRecord as error:
        raise Failed(f"there is no bill {error}") from None
    except credits.NotCreditable as error:
        raise Failed(f"nothing to take back: {error}") from None


def _said(reason: str) -> str:
    if not reason.strip():
        raise typer.BadParameter("--reason must say something")
    return reason.strip()


class Better(TypedDict):
    """What somebody knows better of a session; None: as it is."""

    energy_mwh: int | None
    started_at: datetime | None
    ended_at: datetime | None
    tariff: str | None


def _better(energy_kwh: str | None, start: str | None, end: str | None, tariff: str | None) -> Better:
    return Better(energy_mwh=_energy(energy_kwh), started_at=_time(start), ended_at=_time(end), tariff=tariff)


def _energy(text: str | None) -> int | None:
    energy_mwh = None if text is None else metering.to_mwh(text, "kWh")
    if text is not None and energy_mwh is None:
        raise typer.BadParameter(f"{text} is no amount of kWh")
    return energy_mwh


def _amount(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise typer.BadParameter(f"{text} is no amount of money; write it as 1.50")
    return amount


def _time(text: str | None) -> datetime | None:
    at = None if text is None else clock.read(text)
    if text is not None and at is None:
        raise typer.BadParameter(f"{text} is no time; write it as 2026-06-01T12:00Z")
    return at


def _day(text: str | None) -> date:
    try:
        return date.fromisoformat(text) if text is not None else now().date() - timedelta(days=1)
    except ValueError:
        raise typer.BadParameter(f"{text} is no day; write it as 2026-06-01") from None
