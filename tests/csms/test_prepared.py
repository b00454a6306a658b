"""What a batch asks again and again is found by an index, and is read as SQLAlchemy's own way reads it, on both databases."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from csms import locations, samples
from csms.database import Database
from csms.models import JournalEntry
from csms.prepared import Look, among, driver

AT = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
JOURNAL = JournalEntry.__table__
COLUMNS = (JOURNAL.c.subject, JOURNAL.c.recorded_at, JOURNAL.c.data, JOURNAL.c.station_id)
LOOK = Look(select(*COLUMNS).where(among(JOURNAL.c.subject, "subjects"), JOURNAL.c.type == "a").order_by(JOURNAL.c.id))


def journal(*subjects: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "a",
            "schema_version": 1,
            "ocpp_version": "1.6",
            "event_id": "e",
            "subject": subject,
            "recorded_at": AT + timedelta(microseconds=n),
            "data": {"n": [n, None, "ü"]},
        }
        for n, subject in enumerate(subjects)
    ]


def test_rows_are_read_as_their_types_say(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(JOURNAL), journal("x", 'y"', "z\\", "w"))
        found = LOOK.rows(connection, subjects=['y"', "z\\", "x", "never told"])
        own = connection.execute(select(*COLUMNS).where(JOURNAL.c.subject != "w").order_by(JOURNAL.c.id)).all()
    assert [tuple(row) for row in found] == [tuple(row) for row in own]
    assert [row[1].tzinfo for row in found] == [UTC] * 3


def test_nothing_asked_for_is_nothing_found(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(JOURNAL), journal("x"))
        assert list(LOOK.rows(connection, subjects=[])) == []


@contextmanager
def listening(database: Database, listener: Callable[..., None]) -> Iterator[None]:
    event.listen(database.engine, "before_cursor_execute", listener)
    try:
        yield
    finally:
        event.remove(database.engine, "before_cursor_execute", listener)


def test_who_listens_to_the_engine_hears_it(database: Database) -> None:
    heard: list[str] = []

    def listener(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        heard.append(statement)

    with listening(database, listener), database.read() as connection:
        LOOK.rows(connection, subjects=["x"])
    assert len([statement for statement in heard if "FROM journal" in statement]) == 1


def test_what_the_driver_refuses_is_an_error_of_sqlalchemy(database: Database) -> None:
    with (
        pytest.raises((OperationalError, ProgrammingError)) as raised,
        database.write() as connection,
        driver(connection, "SELECT nothing FROM nowhere") as raw,
    ):
        raw.execute("SELECT nothing FROM nowhere")
    assert raised.value.statement == "SELECT nothing FROM nowhere"
    twice = "INSERT INTO journal_cursors (subscriber, position) VALUES ('x', 0), ('x', 0)"
    with pytest.raises(IntegrityError), database.write() as connection, driver(connection, twice) as raw:
        raw.execute(twice)


@pytest.mark.parametrize(
    ("look", "given"),
    [
        (samples._NAMED, {"numbers": [1, 2]}),
        (samples._RUNNING, {"stations": ["CP1"]}),
        (samples._SEEN, {"digests": ["a"]}),
        (locations._EVSES, {"stations": ["CP1"], "numbers": [1]}),
        (locations._SITES, {"sites": [1]}),
    ],
)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_sqlite_looks_at_no_table_row_by_row(database: Database, look: Look, given: dict[str, Any]) -> None:
    plans: list[str] = []

    def explain(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        raw = connection.connection.driver_connection
        plans.extend(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

    with listening(database, explain), database.read() as connection:
        look.rows(connection, **given)
    steps = [step for step in plans if "json_each" not in step]
    assert any(step.startswith("SEARCH") for step in steps)
    assert not any(step.startswith("SCAN") for step in steps)
