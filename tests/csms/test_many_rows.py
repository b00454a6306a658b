"""Rows written at a stretch are the rows that SQLAlchemy's own way writes, on both databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import insert, select

from csms.database import Database
from csms.many_rows import ManyChanges, ManyRows
from csms.models import JournalEntry, Station, Transaction
from csms.prepared import Look, among
from csms.stations import provision

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
JOURNAL, STATIONS = JournalEntry.__table__, Station.__table__
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
    later = AT + timedelta(days=1)
    with database.write() as connection:
        connection.execute(insert(JOURNAL), [ROW | {"event_id": number, "subject": number} for number in "123"])
        changes = [
            {"the_key": "1", "data": {"a": "x,{}"}, "station_id": None, "schema_version": 2, "recorded_at": later},
            {"the_key": "3", "data": [0], "station_id": 'CP "3"', "schema_version": 2**31 - 1, "recorded_at": AT},
        ]
        ManyChanges(JOURNAL, "event_id", list(changes[0])[1:]).execute(connection, changes)
        columns = [JOURNAL.c[name] for name in changes[0] if name != "the_key"]
        found = connection.execute(select(*columns).order_by(JOURNAL.c.id)).all()
    assert [tuple(row) for row in found] == [
        ({"a": "x,{}"}, None, 2, later),
        (ROW["data"], None, 1, AT),
        ([0], 'CP "3"', 2**31 - 1, AT),
    ]


def test_every_type_of_column_can_be_changed(database: Database) -> None:
    values = {
        "clock_skew_s": [0.5, None],
        "clock_skew_at": [AT, None],
        "keeps_our_time": [True, None],
        "boot_epoch": [7, 8],
        "vendor": ["Ac\x00me", "Ü"],
    }
    with database.write() as connection:
        for name in ("CP1", "CP2"):
            provision(connection, name, None, AT)
        rows = [
            {"the_key": name, **{column: told[number] for column, told in values.items()}}
            for number, name in enumerate(("CP1", "CP2"))
        ]
        ManyChanges(STATIONS, "station_id", list(values)).execute(connection, rows)
        found = connection.execute(select(*(STATIONS.c[name] for name in values)).order_by(STATIONS.c.station_id)).all()
    assert [tuple(row) for row in found] == [(0.5, AT, True, 7, "Acme"), (None, None, None, 8, "Ü")]


WORDS = [
    "",
    "NULL",
    "null",
    "{}",
    '"',
    "\\",
    '\\"',
    "a,b",
    " x ",
    "line\nfeed",
    "\t",
    "\x07",
    "'",
    "\u2028",
    "🔌",
    "[1]",
    "%s",
]


def test_every_text_is_found_and_changed_as_it_is(database: Database) -> None:
    with database.write() as connection:
        connection.execute(insert(JOURNAL), [ROW | {"event_id": str(n), "subject": w} for n, w in enumerate(WORDS)])
        looked = Look(select(JOURNAL.c.event_id).where(among(JOURNAL.c.subject, "subjects")).order_by(JOURNAL.c.id))
        found = {word: looked.rows(connection, subjects=[word, "never told"]) for word in WORDS}
        together = looked.rows(connection, subjects=WORDS)
        rows = [{"the_key": str(n), "station_id": word, "data": {"is": word}} for n, word in enumerate(WORDS)]
        ManyChanges(JOURNAL, "event_id", ["station_id", "data"]).execute(connection, rows)
        changed = connection.execute(select(JOURNAL.c.station_id, JOURNAL.c.data).order_by(JOURNAL.c.id)).all()
    assert {word: [tuple(row) for row in rows] for word, rows in found.items()} == {
        word: [(str(n),)] for n, word in enumerate(WORDS)
    }
    assert [event_id for (event_id,) in together] == [str(n) for n in range(len(WORDS))]
    assert [tuple(row) for row in changed] == [(word, {"is": word}) for word in WORDS]


def test_columns_that_python_would_fill_are_not_left_out(database: Database) -> None:
    statement = ManyRows(insert(Transaction.__table__), ["id", "number"])
    with database.write() as connection, pytest.raises(ValueError, match="flags"):
        statement.execute(connection, [{"id": "1", "number": 1}])
