"""How long the message log takes to be searched when it is full, and what its indexes cost each frame that is written."""

import argparse
import os
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, event, text

from csms import message_store, schema
from csms.bulk import copy
from csms.bus import LoggedFrame
from csms.database import Database
from csms.message_store import Wanted, id_at
from csms.models import LogBase

STATIONS = 1_000
SPAN = timedelta(days=30)
PORTION = 50_000
RUNS = 5
ACTIONS = {"Heartbeat": 40, "MeterValues": 40, "StatusNotification": 14, "Authorize": 3, "StartTransaction": 2}
SEED = 20_250_601

Row = tuple[Any, ...]


def exchanges(count: int, now: datetime) -> Iterator[tuple[LoggedFrame, LoggedFrame]]:
    """`count` frames, two an exchange, evenly over SPAN. Half of the stations count their messages, half make UUIDs; a call in
    500 is one of ours, one in 300 goes wrong."""
    chance = random.Random(SEED)
    names, weights = list(ACTIONS), list(ACTIONS.values())
    counters = [0] * STATIONS
    began, step = now - SPAN, SPAN / (count // 2)
    for number in range(count // 2):
        at = began + number * step
        station = chance.randrange(STATIONS)
        counters[station] += 1
        message = str(counters[station]) if station % 2 else str(uuid.UUID(int=chance.getrandbits(128)))
        ours = number % 500 == 0
        action = "GetConfiguration" if ours else chance.choices(names, weights)[0]
        bad = number % 300 == 7
        there, back = ("out", "in") if ours else ("in", "out")
        transaction = number // 20_000
        body = f'{{"connectorId":1,"transactionId":{transaction},"meterValue":[{{"sampledValue":[{"x" * 200}]}}]}}'
        both = {
            "station_id": f"CP{station:05d}",
            "ocpp_version": "1.6",
            "message_id": message,
            "action": action,
        }
        request = f'[2,"{message}","{action}",{body}]'
        yield (
            LoggedFrame(at=at, direction=there, message_type="call", text=request, **both),
            LoggedFrame(
                at=at + timedelta(milliseconds=20),
                direction=back,
                message_type="error" if bad else "result",
                result="rejected" if bad else "ok",
                latency_ms=20.0,
                text=f'[3,"{message}",{{}}]',
                **both,
            ),
        )


def rows(count: int, now: datetime, *, sqlite: bool) -> Iterator[Row]:
    """Half of the exchanges were written at once, and the rest in two batches: more than there will be."""
    moment = message_store.sqlite_moment if sqlite else lambda at: at
    for number, (call, answer) in enumerate(exchanges(count, now)):
        if number % 2:
            yield from message_store.rows_of((call, answer), id_at(call.at), moment)
        else:
            yield from message_store.rows_of((call,), id_at(call.at), moment)
            yield from message_store.rows_of((answer,), id_at(answer.at), moment)


def fill(database: Database, count: int, now: datetime) -> float:
    """The indexes are made afterwards, as one would restore a dump."""
    began = time.perf_counter()
    indexes = list(LogBase.metadata.tables["messages"].indexes)
    with database.write_log() as connection:
        for index in indexes:
            index.drop(connection)
    portion: list[Row] = []
    for row in rows(count, now, sqlite=database.sqlite):
        portion.append(row)
        if len(portion) == PORTION:
            _store(database, portion)
            portion = []
    _store(database, portion)
    with database.write_log() as connection:
        for index in indexes:
            index.create(connection)
        if not database.sqlite:
            connection.execute(text("ANALYZE messages"))
    return time.perf_counter() - began


def _store(database: Database, portion: list[Row]) -> None:
    if not portion:
        return
    with database.write_log() as connection:
        if database.sqlite:
            connection.exec_driver_sql(message_store.ON_SQLITE, portion)
        else:
            copy(connection, LogBase.metadata.tables["messages"], message_store.COLUMNS, portion)


def searches(now: datetime) -> dict[str, Wanted]:
    middle = now - SPAN / 2
    name = '"transactionId":{}'
    return {
        "the last 100": Wanted(),
        "a station": Wanted(station="CP00500"),
        "a station nobody has": Wanted(station="CP99999"),
        "a common action": Wanted(action="heartbeat"),
        "a rare action": Wanted(action="GetConfiguration"),
        "an action nobody has": Wanted(action="Nothing"),
        "a station and an action": Wanted(station="CP00500", action="StartTransaction"),
        "a station and a rare action": Wanted(station="CP00500", action="GetConfiguration"),
        "a message id, counted by 500 stations": Wanted(message_id="1000"),
        "a message id of a station": Wanted(message_id="1000", station="CP00501"),
        "a message id nobody has": Wanted(message_id="nobody0"),
        "a message id in an hour": Wanted(message_id="1000", since=middle, until=middle + timedelta(hours=1)),
        "an hour, two weeks ago": Wanted(since=middle, until=middle + timedelta(hours=1)),
        "a station in that hour": Wanted(station="CP00500", since=middle, until=middle + timedelta(hours=1)),
        "an action until then": Wanted(action="StartTransaction", until=middle),
        "an action in the last hour": Wanted(action="StartTransaction", since=now - timedelta(hours=1)),
        "errors": Wanted(errors=True),
        "errors of a station": Wanted(errors=True, station="CP00500"),
        "errors until then": Wanted(errors=True, until=middle),
        "what we asked": Wanted(direction="out"),
        "what a station was asked": Wanted(direction="out", station="CP00500"),
        "a transaction of a day": Wanted(
            station="CP00500",
            since=middle,
            until=middle + timedelta(days=1),
            naming=tuple(name.format(n) + "," for n in (125, 126)),
        ),
        "a text that nobody wrote": Wanted(text="nobody wrote this"),
        "a text at a station": Wanted(text="Authorize", station="CP00500"),
    }


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def plans(connection: Connection, wanted: Wanted) -> list[str]:
    """How the database goes about the statements of one search."""
    said: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        said.append((statement, parameters))

    event.listen(connection.engine, "before_cursor_execute", note)
    message_store.page(connection, wanted)
    event.remove(connection.engine, "before_cursor_execute", note)
    found: list[str] = []
    for statement, parameters in said:
        explain = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN (COSTS OFF) "
        lines = connection.exec_driver_sql(explain + statement, parameters).all()
        whole = "; ".join(str(line[-1]).strip() for line in lines)
        if whole not in found:
            found.append(whole)
    return found


def forget(database: Database) -> None:
    """What the operating system keeps of a SQLite file, so that the first look asks the disk."""
    if database.sqlite and hasattr(os, "posix_fadvise"):
        file = os.open(str(database.log_engine.url.database), os.O_RDONLY)
        try:
            os.fsync(file)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(file)


def search(database: Database, now: datetime, console: Console, *, explain: bool) -> None:
    table = Table(
        "search", "found", "first ms", "median ms", title=f"A page of 100 ({database.log_engine.dialect.name})"
    )
    with database.log_engine.connect() as connection:
        for name, wanted in searches(now).items():
            forget(database)
            first = timed(lambda wanted=wanted: message_store.page(connection, wanted))  # type: ignore[misc]
            times = [timed(lambda wanted=wanted: message_store.page(connection, wanted)) for _ in range(RUNS)]  # type: ignore[misc]
            count = len(message_store.page(connection, wanted).exchanges)
            table.add_row(name, str(count), f"{first:.1f}", f"{statistics.median(times):.1f}")
            if explain:
                console.print(f"[bold]{name}[/]")
                for plan in plans(connection, wanted):
                    console.print("  " + plan, soft_wrap=True, highlight=False)
    console.print(table)


def write_cost(url: Callable[[], str], count: int, console: Console) -> None:
    """Batches of 4,000 frames, as the service writes them when it has much to do."""
    table = Table("us of CPU a frame", "us until it is there", title="What a frame costs to write")
    frames = (frame for exchange in exchanges(count, datetime.now(UTC)) for frame in exchange)
    batches = list(_portions(frames, 4_000))
    for _ in range(RUNS):
        database = Database(url())
        with database.write_log() as connection:
            connection.execute(text("DELETE FROM messages"))
        began, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            with database.write_log() as connection:
                message_store.write(connection, batch)
        spent = (time.process_time() - cpu, time.perf_counter() - began)
        table.add_row(*(f"{one / count * 1e6:.1f}" for one in spent))
        database.dispose()
    console.print(table)


def _portions(source: Iterator[LoggedFrame], size: int) -> Iterator[list[LoggedFrame]]:
    portion: list[LoggedFrame] = []
    for frame in source:
        portion.append(frame)
        if len(portion) == size:
            yield portion
            portion = []
    if portion:
        yield portion


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.message_log", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--write-rows", type=int, default=200_000, help="for what a frame costs; 0: leave it out")
    parser.add_argument("--database-url", help="an empty PostgreSQL database instead of a SQLite file")
    parser.add_argument("--folder", help="where the SQLite file is made; some 4 GB for 10 million rows")
    parser.add_argument("--plans", action="store_true", help="how the database goes about each search")
    options = parser.parse_args()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        number = iter(range(1_000))

        def url() -> str:
            made = options.database_url or f"sqlite:///{Path(folder, f'bench{next(number)}.db')}"
            schema.migrate(made)
            return made

        if options.write_rows:
            write_cost(url, options.write_rows, console)
        now = datetime.now(UTC)
        database = Database(url())
        with database.write_log() as connection:
            connection.execute(text("DELETE FROM messages"))
        console.print(f"{options.rows:,} rows stored in {fill(database, options.rows, now):.0f} s")
        search(database, now, console, explain=options.plans)
        database.dispose()


if __name__ == "__main__":
    main()
