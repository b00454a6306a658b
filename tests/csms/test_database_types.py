"""What goes into either database comes out as it was: times, money, text, JSON, and one transaction at a time."""

import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError

from csms.database import Database, Json, Money, Plain, Utc
from csms.models import JournalEntry, Station

NOW = datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC)

THINGS = Table(
    "things",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", Utc),
    Column("money", Money),
    Column("words", Plain),
    Column("data", Json),
)


@pytest.fixture
def things(database: Database) -> Database:
    THINGS.create(database.engine)
    return database


def kept(database: Database, name: str, value: Any) -> Any:
    with database.write() as connection:
        connection.execute(insert(THINGS).values({name: value}))
        return connection.execute(select(THINGS.c[name])).scalar_one()


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5, minutes=45)), timezone(timedelta(hours=-9))])
def test_a_moment_comes_back_in_utc_with_its_microseconds(things: Database, zone: timezone) -> None:
    found = kept(things, "at", NOW.astimezone(zone))
    assert (found, found.tzinfo) == (NOW, UTC)


def test_a_naive_moment_is_refused(things: Database) -> None:
    with pytest.raises(StatementError, match="naive"):
        kept(things, "at", NOW.replace(tzinfo=None))


def test_moments_compare_and_sort_in_the_database(things: Database) -> None:
    moments = [NOW + timedelta(microseconds=n) for n in (2, 0, 1)]
    with things.write() as connection:
        connection.execute(insert(THINGS), [{"at": at} for at in moments])
        query = select(THINGS.c.at).where(THINGS.c.at > NOW).order_by(THINGS.c.at.desc())
        assert connection.execute(query).scalars().all() == [moments[0], moments[2]]


@pytest.mark.parametrize("amount", ["0.1", "0.10", "12345678901234567890.123456789012345678", "-0.00000001", "1E+3"])
def test_money_keeps_every_digit(things: Database, amount: str) -> None:
    found = kept(things, "money", Decimal(amount))
    assert isinstance(found, Decimal)
    assert format(found, "f") == format(Decimal(amount), "f")


def test_text_loses_only_the_nul_that_postgresql_cannot_hold(things: Database) -> None:
    assert kept(things, "words", "\x0004A2 \x07 ü 🔌 \ufeff") == "04A2 \x07 ü 🔌 \ufeff"  # D03


def test_json_comes_back_as_it_was(things: Database) -> None:
    value = {"nul": "a\x00b", "list": [1, 1.5, True, None], "ü": "🔌"}
    assert kept(things, "data", value) == value


@pytest.mark.parametrize("name", ["at", "money", "words", "data"])
def test_nothing_stays_nothing(things: Database, name: str) -> None:
    assert kept(things, name, None) is None


def station(connection: Any, station_id: str) -> None:
    connection.execute(insert(Station).values(station_id=station_id, admission="known", created_at=NOW))


def stations(database: Database) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(select(Station.station_id).order_by(Station.station_id)).scalars())


def test_an_exception_rolls_the_whole_transaction_back(database: Database) -> None:
    with database.write() as connection:
        station(connection, "A")

    def both() -> None:
        with database.write() as connection:
            station(connection, "B")
            station(connection, "A")

    with pytest.raises(IntegrityError):
        both()
    assert stations(database) == ["A"]


def test_a_reader_does_not_see_what_is_not_committed_and_keeps_nothing(database: Database) -> None:
    with database.write() as connection:
        station(connection, "A")
        assert stations(database) == []
    assert stations(database) == ["A"]
    refuses = nullcontext() if database.sqlite else pytest.raises(DBAPIError, match="read-only")
    with refuses, database.read() as connection:
        station(connection, "B")  # forgotten by SQLite
    assert stations(database) == ["A"]


def test_writers_of_one_process_do_not_lose_one_another(database: Database) -> None:
    def write(name: str) -> None:
        for number in range(10):
            with database.write() as connection:
                station(connection, f"{name}{number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "ABCD"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(stations(database)) == 40


def test_a_constraint_of_another_table_is_kept(database: Database) -> None:
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(
            text(
                "INSERT INTO taps (token_id, station_id, auth_method, tapped_at, expires_at) VALUES (1, 'A', 'X', :t, :t)"
            ),
            {"t": NOW.isoformat(" ") if database.sqlite else NOW},
        )


def test_transaction_numbers_are_positive_and_never_twice(database: Database) -> None:
    with database.write() as connection:
        first = list(database.next_numbers(connection, 3))  # C05
        assert first[0] >= 1
        assert len(set(first)) == 3
        assert all(0 < number < 2**31 for number in first)


def test_the_id_of_a_deleted_fact_is_not_given_again(database: Database) -> None:
    row = {"type": "t", "schema_version": 1, "ocpp_version": "-", "event_id": "-", "subject": "s", "recorded_at": NOW}
    with database.write() as connection:
        first = connection.execute(insert(JournalEntry).values(**row, data={}).returning(JournalEntry.id)).scalar_one()
        connection.execute(text("DELETE FROM journal"))
        second = connection.execute(insert(JournalEntry).values(**row, data={}).returning(JournalEntry.id)).scalar_one()
    assert second > first
