"""Rows written at a stretch are the rows that SQLAlchemy's own way writes, on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import bindparam, insert, select, update

from csms.database import Database
from csms.many_rows import NEW, ManyRows
from csms.models import JournalEntry, Transaction

AT = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
ROW = {
    "type": "evse_status",
    "schema_version": 1,
    "ocpp_version": "1.6",
    "station_id": None,
    "subject": "\x00nul",
    "recorded_at": AT,
    "data": {"status": "available", "at": None, "text": "\x00"},
}
JOURNAL = JournalEntry.__table__
READ = select(*(JOURNAL.c[name] for name in ROW)).order_by(JOURNAL.c.id)


def test_rows_are_bound_as_their_types_say(database: Database) -> None:
    rows = [ROW | {"event_id": "1", "station_id": "CP1"}, ROW | {"event_id": "2", "data": [1.5, "é"]}]
    with database.write() as connection:
        ManyRows(insert(JOURNAL), list(rows[0])).execute(connection, rows)
        connection.execute(insert(JOURNAL), rows)
    with database.read() as connection:
        found = connection.execute(READ).all()
    assert len(found) == 4
    assert found[:2] == found[2:]
    assert found[0].recorded_at == AT
    assert found[0].recorded_at.tzinfo is UTC
    assert (found[0].subject, found[1].data) == ("nul", [1.5, "é"])


def test_each_row_is_changed_by_its_own_key(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(JOURNAL), [ROW | {"event_id": number, "subject": number} for number in "123"])
        changed = update(JOURNAL).where(JOURNAL.c.event_id == bindparam("the_key"))
        statement = ManyRows(changed.values(data=bindparam(f"{NEW}data")), ["data"])
        statement.execute(connection, [{"the_key": "1", "data": {"a": 1}}, {"the_key": "3", "data": [0]}])
        found = connection.execute(select(JOURNAL.c.data).order_by(JOURNAL.c.id)).scalars()
        assert list(found) == [{"a": 1}, ROW["data"], [0]]


def test_columns_that_python_would_fill_are_not_left_out(database: Database) -> None:
    statement = ManyRows(insert(Transaction.__table__), ["id", "number"])
    with database.write() as connection, pytest.raises(ValueError, match="flags"):
        statement.execute(connection, [{"id": "1", "number": 1}])
