"""`roambridge messages`: what crossed the wire, each request beside its answer, with no card's number shown whole."""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import or_, select

from csms.database import Database
from csms.message_store import Entry, Exchange, Wanted, following, of_transaction, page
from csms.models import Transaction
from ocpi_bridge.commands.terminal import AsJson, Failed, cell, console, cut, now, opened, printable, show
from ocpi_bridge.masking import without_cards

app = typer.Typer(no_args_is_help=True)

POLL_S = 0.3
PATIENCE = timedelta(seconds=35)  # an answer that has not come by then will not come
AT_ONCE = 500
PAYLOAD_WIDTH = 60
ARROWS = {"in": "<-", "out": "->"}  # from the charger, to it
COLOURS = {"ok": "green", "waiting": "yellow"}
AGES = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

COLUMNS = {
    "at": "time",
    "station_id": "station",
    "direction": "",
    "action": "action",
    "result": "result",
    "latency_ms": "ms",
    "request": "request",
    "answer": "answer",
}


def moment(text: str) -> datetime:
    """A time, UTC where it names no zone, or how long ago."""
    age = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if age is not None:
        return now() - timedelta(**{AGES[age[2]]: int(age[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is neither a time (2026-05-01T12:00Z) nor an age (30s, 10m, 2h, 1d)"
        ) from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


class Direction(StrEnum):
    """Who asked."""

    IN = "in"
    OUT = "out"


@app.command()
def messages(
    station: Annotated[str | None, typer.Option(metavar="ID", help="Of this station only.")] = None,
    action: Annotated[str | None, typer.Option(metavar="NAME", help="Of this action only, as Heartbeat.")] = None,
    message: Annotated[str | None, typer.Option(metavar="ID", help="With this message id only.")] = None,
    transaction: Annotated[
        str | None, typer.Option(metavar="ID", help="That name this transaction: its id, or its number.")
    ] = None,
    direction: Annotated[Direction | None, typer.Option(help="Asked by the station (in), or by us (out).")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="Those that did not go well only.")] = False,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Whose frames hold this.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="T", help="From this time on (UTC), or as old as 30s, 10m, 2h, 1d.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="T", help="Up to this time, in the same words.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Then tell what comes, until interrupted.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The last so many.")] = 50,
    whole: Annotated[bool, typer.Option("--whole", help="Whole frames instead of their beginnings.")] = False,
    as_json: AsJson = False,
) -> None:
    """The message log: requests beside their answers, with the time between them. <- is from the charger, -> to it."""
    wanted = Wanted(
        station=station,
        action=action,
        message_id=message,
        direction=None if direction is None else direction.value,
        errors=errors,
        text=text,
        since=None if since is None else moment(since),
        until=None if until is None else moment(until),
    )
    with opened() as database:
        if transaction is not None:
            wanted = _of_transaction(database, transaction, wanted)
        found = _last(database, wanted, limit)
        if not follow:
            rows = [_row(exchange, whole=True) if as_json else _line(exchange, whole=whole) for exchange in found]
            show("Messages", COLUMNS, rows, as_json=as_json)
            return
        tell = _tell_json if as_json else _teller(whole=whole)
        try:
            for exchange in _following(database, wanted, found):
                tell(exchange)
        except KeyboardInterrupt:
            return


def _of_transaction(database: Database, named: str, wanted: Wanted) -> Wanted:
    number = int(named) if named.isdecimal() and len(named) < 10 else -1
    with database.read() as connection:
        query = select(Transaction.id).where(or_(Transaction.id == named, Transaction.number == number))
        id_ = connection.execute(query).scalar()
        found = None if id_ is None else of_transaction(connection, id_)
    if found is None:
        raise Failed(f"there is no transaction {named}")
    if wanted.station not in (None, found.station):
        raise Failed(f"transaction {named} is one of {found.station}")
    since = max(at for at in (wanted.since, found.since) if at is not None)
    until = min((at for at in (wanted.until, found.until) if at is not None), default=None)
    return replace(wanted, station=found.station, since=since, until=until, naming=found.naming)


def _last(database: Database, wanted: Wanted, limit: int) -> list[Exchange]:
    found: list[Exchange] = []
    before: int | None = None
    with database.log_engine.connect() as connection:
        while len(found) < limit:
            more = page(connection, wanted, before=before, limit=min(limit - len(found), AT_ONCE))
            found = [*more.exchanges, *found]
            before = more.more_before
            if before is None:
                break
    return found


def _following(database: Database, wanted: Wanted, first: list[Exchange]) -> Iterator[Exchange]:
    """Each exchange once: when it is complete, or when no answer is to be expected any more."""
    told: set[int] = set()
    seen = 0
    found = first
    while True:
        for exchange in found:
            if exchange.first.id not in told and (exchange.complete or now() - exchange.first.at > PATIENCE):
                told.add(exchange.first.id)
                if wanted.fits(exchange):
                    yield exchange
        open_ids = [exchange.first.id for exchange in found if exchange.first.id not in told]
        seen = min(open_ids) - 1 if open_ids else max([seen, *(exchange.first.id for exchange in found)])
        told = {id_ for id_ in told if id_ > seen}
        if len(found) < AT_ONCE:
            time.sleep(POLL_S)
        with database.log_engine.connect() as connection:
            found = following(connection, wanted, after=seen, limit=max(AT_ONCE, 2 * len(told)))


# ---- how an exchange looks ------------------------------------------------------------------------------------------


def _row(exchange: Exchange, *, whole: bool) -> dict[str, Any]:
    first, answer, latency = exchange.first, exchange.answer, exchange.latency_ms
    return {
        "at": first.at,
        "station_id": first.station_id,
        "direction": ARROWS.get(first.direction, first.direction),
        "action": first.action or first.message_type,
        "message_id": first.message_id,
        "ocpp_version": first.ocpp_version,
        "result": exchange.result,
        "latency_ms": None if latency is None else round(latency, 1),
        "request": _frame(first, whole=whole),
        "answer": None if answer is None else _frame(answer, whole=whole),
    }


def _line(exchange: Exchange, *, whole: bool) -> dict[str, Any]:
    at = exchange.first.at.astimezone(UTC)
    return _row(exchange, whole=whole) | {"at": f"{at:%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z"}


def _frame(entry: Entry, *, whole: bool) -> str:
    text = without_cards(entry.text)
    return text if whole else cut(_payload(text), PAYLOAD_WIDTH)


def _payload(text: str) -> str:
    """What follows the envelope, where there is one."""
    match = re.match(
        r'\[\s*[234]\s*,\s*"(?:[^"\\]|\\.)*"\s*,\s*(?:"(?:[^"\\]|\\.)*"\s*,\s*)?(.*)\]\s*$', text, re.DOTALL
    )
    return match[1] if match is not None else text


def _tell_json(exchange: Exchange) -> None:
    row = _row(exchange, whole=True) | {"at": exchange.first.at.isoformat().replace("+00:00", "Z")}
    typer.echo(json.dumps(row, ensure_ascii=False))


def _teller(*, whole: bool) -> Callable[[Exchange], None]:
    screen = console()

    def tell(exchange: Exchange) -> None:
        row = _line(exchange, whole=whole)
        line = Table.grid(padding=(0, 1))
        widths = {"at": 24, "station_id": 14, "direction": 2, "action": 22, "result": 9, "latency_ms": 7}
        for name in COLUMNS:
            line.add_column(width=widths.get(name), overflow="fold")
        cells = {name: cell(row[name]) for name in COLUMNS}
        cells["result"] = Text(printable(row["result"]), style=COLOURS.get(row["result"], "red"))
        line.add_row(*cells.values())
        screen.print(line)

    return tell
