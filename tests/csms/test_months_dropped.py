"""Whole months go when all that is in them is old enough and needed by nobody; who refuses is told, before and after."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update
from structlog.testing import capture_logs

from csms.database import Database
from csms.models import Message, MeterSampleRow, Review
from csms.partitions import months
from csms.retention import Old, Retention
from tests.csms.month_rows import MESSAGES, SAMPLES, TRANSACTIONS, held, make_2026, message, sample, transaction

NOW = datetime(2026, 6, 15, tzinfo=UTC)
postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


def day(month: int, day: int = 10) -> datetime:
    return datetime(2026, month, day, tzinfo=UTC)


@pytest.fixture
def retention(database: Database) -> Retention:
    """Thirty days: in the middle of June all of April and what was before is old enough, and not all of May."""
    return Retention(database, message_days=30, sample_days=30, history_days=400, clock=lambda: NOW)


@pytest.fixture
def kept(database: Database) -> Database:
    """From January to May a session a month, a sample and a frame of each: February's waits in review, March's runs."""
    if not database.sqlite:
        make_2026(database)
    names = {1: "settled", 2: "disputed", 3: "running", 4: "settled too", 5: "settled three"}
    with database.write() as connection:
        for month, name in names.items():
            state = "active" if name == "running" else "ended"
            ended = None if name == "running" else day(month) + timedelta(hours=1)
            values = transaction(name, day(month), number=month, state=state, ended_received_at=ended)
            connection.execute(insert(TRANSACTIONS).values(values))
            connection.execute(insert(SAMPLES), [sample(day(month) + timedelta(minutes=5), transaction_id=name)])
        connection.execute(
            insert(Review).values(transaction_id="disputed", reasons=["x"], state="open", opened_at=day(2))
        )
    with database.write_log() as connection:
        for month in names:
            strays = [message(day(month, 20), station_id="CP2"), message(day(month), station_id="CP1")]
            connection.execute(insert(MESSAGES), strays)
    return database


def left(database: Database) -> tuple[list[int], list[tuple[int, str]]]:
    """In which months there still are samples and frames."""
    with database.read() as connection:
        times = connection.execute(select(MeterSampleRow.received_at).order_by(MeterSampleRow.received_at)).scalars()
        samples = [at.month for at in times]
    with database.log_engine.connect() as connection:
        frames = connection.execute(select(Message.at, Message.station_id).order_by(Message.at)).all()
    return samples, [(at.month, station) for at, station in frames]


@postgresql
def test_a_month_goes_whole_unless_something_in_it_is_needed(kept: Database, retention: Retention) -> None:  # P05
    planned = retention.plan()
    assert [old for old in planned if "default" not in old.name] == [
        Old("meter_samples_2026_01", 1, []),
        Old("meter_samples_2026_02", 1, ["disputed"]),
        Old("meter_samples_2026_03", 1, ["running"]),
        Old("meter_samples_2026_04", 1, []),
        Old("messages_2026_01", 2, []),
        Old("messages_2026_02", 2, ["disputed"]),
        Old("messages_2026_03", 2, []),
        Old("messages_2026_04", 2, []),
    ]
    before = left(kept)
    with capture_logs() as logs:
        assert retention.trim() is False
    told = {(line["event"], line["month"]): line.get("unsettled") for line in logs if "month" in line}
    assert told == {
        ("month_dropped", "meter_samples_2026_01"): None,
        ("month_kept", "meter_samples_2026_02"): ["disputed"],
        ("month_kept", "meter_samples_2026_03"): ["running"],
        ("month_dropped", "meter_samples_2026_04"): None,
        ("month_dropped", "messages_2026_01"): None,
        ("month_kept", "messages_2026_02"): ["disputed"],
        ("month_dropped", "messages_2026_03"): None,
        ("month_dropped", "messages_2026_04"): None,
    }
    assert before[0] == [1, 2, 3, 4, 5]
    assert left(kept) == ([2, 3, 5], [(2, "CP1"), (2, "CP2"), (5, "CP1"), (5, "CP2")])
    with kept.write() as connection:
        there = [month.name for month in months(connection, "meter_samples")]
        assert there[:3] == ["meter_samples_2026_02", "meter_samples_2026_03", "meter_samples_2026_05"]
        connection.execute(update(Review).values(state="closed"))
        connection.execute(update(TRANSACTIONS).values(state="ended"))
        connection.execute(insert(SAMPLES), [sample(day(1))])  # for a month that is gone there is a place
        assert held(connection, "meter_samples")["default"] == 1
    retention.trim()
    assert left(kept) == ([5], [(5, "CP1"), (5, "CP2")])


@postgresql
def test_a_month_that_somebody_reads_is_dropped_another_time(kept: Database, retention: Retention) -> None:
    with kept.engine.connect() as reader, reader.begin():
        reader.execute(select(MeterSampleRow.event_id)).all()
        with capture_logs() as logs:
            assert retention.trim_samples() is False
        assert {line["event"] for line in logs} == {"month_kept", "month_not_dropped"}
    assert retention.trim_samples() is False
    assert left(kept)[0] == [2, 3, 5]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_on_sqlite_what_is_needed_stays_and_the_rest_goes_by_its_age(
    kept: Database, retention: Retention
) -> None:  # P05
    planned = retention.plan()
    assert planned == [
        Old("meter_samples", 3, []),  # of May too: the tenth is more than thirty days ago
        Old("meter_samples", 2, ["disputed", "running"]),
        Old("messages", 8, []),
        Old("messages", 1, ["disputed"]),
    ]
    retention.trim()
    assert left(kept) == ([2, 3], [(2, "CP1"), (5, "CP2")])


def test_frames_of_a_disputed_session_outlive_their_days_in_no_month_too(database: Database) -> None:  # P05
    with database.write() as connection:
        connection.execute(insert(TRANSACTIONS).values(transaction("disputed", day(1), state="ended")))
        connection.execute(
            insert(Review).values(transaction_id="disputed", reasons=["x"], state="open", opened_at=day(1))
        )
    with database.write_log() as connection:
        connection.execute(insert(MESSAGES), [message(at) for at in (day(1), day(1, 9), day(1, 11))])
    retention = Retention(database, message_days=30, sample_days=30, history_days=400, clock=lambda: NOW)
    retention.trim()
    assert left(database) == ([], [(1, "CP1")])


def test_a_thousand_disputes_do_not_stop_the_rest_from_going(database: Database) -> None:  # P05
    names = [f"disputed {number:04}" for number in range(1500)]
    rows = [transaction(name, day(1), number=n, station_id=f"S{n}", state="ended") for n, name in enumerate(names, 1)]
    with database.write() as connection:
        connection.execute(insert(TRANSACTIONS), rows)
        reviews = [{"transaction_id": name, "reasons": ["x"], "state": "open", "opened_at": day(1)} for name in names]
        connection.execute(insert(Review), reviews)
        connection.execute(insert(SAMPLES), [sample(day(1), transaction_id=name, event_id=name) for name in names])
    with database.write_log() as connection:
        frames = [message(day(1), 0, station_id="S7"), message(day(1), 1, station_id="another")]
        connection.execute(insert(MESSAGES), frames)
    retention = Retention(database, message_days=30, sample_days=30, history_days=400, clock=lambda: NOW)
    retention.trim()
    samples, messages = left(database)
    assert (len(samples), messages) == (1500, [(1, "S7")])
