"""What a search of the message log reads is what an index gives, however long the log is (P12)."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Connection, event, insert

from csms.database import Database
from csms.message_store import Found, Wanted, page
from csms.models import Message
from tests.csms.month_rows import message

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)
ROWS, A_PAGE = 1_000, 4096
IO = Path("/proc/self/io")
A_MESSAGE_ID = "SEARCH messages USING INDEX ix_messages_named (<expr>=?)"
OF_A_STATION = "SEARCH messages USING INDEX ix_messages_of_station (station_id=?)"

pytestmark = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)


def logged(database: Database, count: int, days_ago: int = 1, **more: Any) -> None:
    """Calls of that day, one a second, the last first."""
    end = NOW - timedelta(days=days_ago)
    with database.write_log() as connection:
        rows = [message(end - timedelta(seconds=n), **more) for n in range(count)]
        connection.execute(insert(Message.__table__), rows)  # type: ignore[arg-type]


def plans(connection: Connection, wanted: Wanted) -> Sequence[str]:
    said: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        said.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    page(connection, wanted)
    event.remove(connection, "before_cursor_execute", note)
    return [
        row[-1]
        for statement, parameters in said
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]


def bytes_read() -> int:
    """By this process, whether the disk had to be asked or not."""
    return int(next(line for line in IO.read_text().splitlines() if line.startswith("rchar")).split()[1])


def counted(connection: Connection, wanted: Wanted) -> tuple[Found, int]:
    """What is found, and in how many steps of SQLite's machine."""
    taken = [0]

    def step() -> None:
        taken[0] += 1

    raw = cast(Any, connection.connection.driver_connection)
    raw.set_progress_handler(step, 1)
    found = page(connection, wanted)
    raw.set_progress_handler(None, 1)
    return found, taken[0]


@pytest.mark.parametrize(
    ("wanted", "plan"),
    [
        (Wanted(message_id="12"), A_MESSAGE_ID),
        (Wanted(message_id="12", station="CP1"), A_MESSAGE_ID),
        (Wanted(message_id="12", since=NOW - 48 * HOUR, until=NOW), f"{A_MESSAGE_ID[:-1]} AND id>? AND id<?)"),
        (Wanted(station="CP1", action="Heartbeat"), OF_A_STATION),
        (Wanted(station="CP1", action="heartbeat"), OF_A_STATION),
    ],
)
def test_a_search_goes_by_its_index(database: Database, wanted: Wanted, plan: str) -> None:
    logged(database, 3, message_id="12")
    with database.log_engine.connect() as connection:
        assert len(page(connection, wanted).exchanges) == 3
        found = plans(connection, wanted)
    assert plan in found
    assert not [line for line in found if line.startswith("SCAN messages")]


@pytest.mark.skipif(not IO.exists(), reason="nobody says what is read")
@pytest.mark.parametrize(
    "wanted",
    [
        Wanted(station="CP1", action="Reset"),
        Wanted(station="CP1", direction="out"),
        Wanted(station="CP2", message_id="12"),
    ],
)
def test_what_does_not_fit_is_passed_in_the_index(database: Database, wanted: Wanted) -> None:
    """Each row lies on another page, and to look at thousands of them takes a disk seconds."""
    logged(database, ROWS, message_id="12", frame="x" * A_PAGE)
    logged(database, ROWS, station_id="CP2", direction="out", message_id="1", days_ago=2, frame="x" * A_PAGE)
    with database.log_engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA cache_size=10")
        before = bytes_read()
        assert page(connection, wanted).exchanges == []
        assert bytes_read() - before < ROWS * A_PAGE / 4


def test_a_search_takes_no_more_for_what_lies_before_its_span(database: Database) -> None:
    """The action that is asked for is not the only one that there was."""
    wanted = Wanted(action="Reset", since=NOW - HOUR)
    with database.write_log() as connection:
        connection.execute(insert(Message.__table__), [message(NOW, action="Reset", message_id="1")])  # type: ignore[arg-type]
    taken = []
    for days_ago in (1, 2):
        logged(database, ROWS, days_ago)
        with database.log_engine.connect() as connection:
            found, steps = counted(connection, wanted)
        assert [exchange.first.message_id for exchange in found.exchanges] == ["1"]
        taken.append(steps)
    assert taken[1] < 1.5 * taken[0]
