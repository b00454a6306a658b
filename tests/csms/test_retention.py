"""Old rows go, a little at a time, and never those that a bill still needs."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, inspect, select, update

from csms import models
from csms.database import Database, Json, Plain, Utc
from csms.models import (
    FirmwareImage,
    JournalCursor,
    JournalEntry,
    Message,
    MeterSampleRow,
    RawEvent,
    RemoteRequest,
    Review,
    StationCertificate,
)
from csms.retention import HISTORY, Retention, delete_facts, delete_history, delete_samples
from tests.csms.core_story import NOON, told
from tests.csms.month_rows import MESSAGES, message

NUMBERS = count(1)
BEFORE = NOON - timedelta(days=400)
OLD, YOUNG = BEFORE - timedelta(seconds=1), BEFORE + timedelta(seconds=1)


async def test_samples_of_running_and_disputed_transactions_outlive_their_age(database: Database) -> None:  # P05
    async with told(database) as story:
        story.site("CP1", "CP2", "CP3")
        for number, station in enumerate(("CP1", "CP2", "CP3")):
            story.card(f"CARD{number}")
            started = await story.start(f"CARD{number}", station_id=station)
            await story.sample(started.transaction_id, 1100, station_id=station)
            if station != "CP1":
                await story.end(started.transaction_id, 1_100_000, station_id=station)
        disputed = next(row for row in story.transactions() if row.station_id == "CP3")
        with database.write() as connection:
            connection.execute(
                insert(Review).values(transaction_id=disputed.id, reasons=["x"], state="open", opened_at=NOON)
            )
        with database.write() as connection:
            assert delete_samples(connection, 400, NOON + timedelta(days=400)) == 0
            assert delete_samples(connection, 400, NOON + timedelta(days=401)) == 1
        assert {row.station_id for row in story.rows(MeterSampleRow)} == {"CP1", "CP3"}


def test_messages_go_after_their_days(database: Database) -> None:
    with database.write_log() as connection:
        for days in (1, 89, 91, 400):
            row = message(NOON - timedelta(days=days), station_id=f"{days}")
            connection.execute(insert(MESSAGES).values(row))
    retention = Retention(database, message_days=90, sample_days=400, history_days=400, clock=lambda: NOON)
    assert retention.trim_messages() is False
    with database.write_log() as connection:
        assert sorted(connection.execute(select(Message.station_id)).scalars()) == ["1", "89"]


# ---- what happened, beside transactions and bills -------------------------------------------------------------------


def row(connection: Connection, model: type[models.Base], at: datetime | None, **values: Any) -> None:
    """A row whose times are all `at`; what else it must have is something."""
    table, made = inspect(model).local_table, dict[str, Any]()
    for column in table.columns:
        given_by_itself = column.name == "xid" or (column.primary_key and not isinstance(column.type, Plain))
        if isinstance(column.type, Utc):
            made[column.name] = at
        elif not column.nullable and not given_by_itself:
            made[column.name] = f"x{next(NUMBERS)}" if isinstance(column.type, Plain) else _some(column.type)
    connection.execute(insert(table).values(**made | values))


def _some(type_: Any) -> Any:
    return {} if isinstance(type_, Json) else type_.python_type()


@pytest.mark.parametrize("name", HISTORY)
def test_what_happened_goes_after_its_days(database: Database, name: str) -> None:
    model = HISTORY[name].model
    more: dict[str, Any] = {"state": "ended"} if hasattr(model, "state") else {}
    with database.write() as connection:
        if name == "firmware_updates":
            row(connection, FirmwareImage, NOON)
            more["image_row"] = connection.execute(select(FirmwareImage.id)).scalar_one()
        for at in (OLD, OLD, YOUNG):
            row(connection, model, at, **more)
        assert delete_history(connection, name, BEFORE, at_most=1) == 1
        assert delete_history(connection, name, BEFORE) == 1
        assert delete_history(connection, name, BEFORE) == 0
        assert connection.execute(select(func.count()).select_from(model)).scalar_one() == 1


def test_what_is_not_over_stays_however_old_it_is(database: Database) -> None:
    with database.write() as connection:
        row(connection, models.Connection, OLD, closed_at=None)
        row(connection, models.Alert, OLD, closed_at=None)
        row(connection, models.Reservation, OLD, finished_at=None, state="active")
        row(connection, StationCertificate, OLD, expires_at=YOUNG, state="revoked")
        row(connection, RemoteRequest, OLD, requested_by="partner:1")  # goes with what the partner is told
        for name in HISTORY:
            assert delete_history(connection, name, BEFORE) == 0


async def test_the_raw_words_of_a_disputed_transaction_stay(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        started = await story.start()
        [transaction] = story.transactions()
        with database.write() as connection:
            row(connection, RawEvent, OLD, transaction_id=transaction.id)
            assert delete_history(connection, "raw_events", BEFORE) == 0
        await story.end(started.transaction_id, 1_100_000)
        with database.write() as connection:
            assert delete_history(connection, "raw_events", BEFORE) == 1


async def test_a_fact_that_some_reader_has_not_passed_stays(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.start()
        facts = len(story.rows(JournalEntry))
        assert facts > 1
        later = NOON + timedelta(days=1)
        with database.write() as connection:
            assert delete_facts(connection, later) == 0  # nobody has read
            last = connection.execute(
                select(JournalEntry.id, JournalEntry.xid).order_by(JournalEntry.id.desc())
            ).first()
            assert last is not None
            read = {"position": last.id, "xid": str(int(last.xid) + 1)}
            connection.execute(insert(JournalCursor).values(subscriber="fast", **read))
            connection.execute(insert(JournalCursor).values(subscriber="slow", position=0, xid="0"))
            assert delete_facts(connection, later) == 0
            connection.execute(update(JournalCursor).values(**read))
            assert delete_facts(connection, NOON - timedelta(days=1)) == 0
            assert delete_facts(connection, later, at_most=1) == 1
            assert delete_facts(connection, later) == facts - 1


def test_one_look_trims_it_all(database: Database) -> None:  # P05
    with database.write() as connection:
        row(connection, models.SecurityEvent, OLD)
        row(connection, models.StationBoot, OLD)
    went: list[str] = []

    def mine(_: Connection, before: datetime, _most: int) -> int:
        went.append(f"{before:%Y-%m-%d}")
        return 0

    retention = Retention(
        database, message_days=90, sample_days=400, history_days=400, clock=lambda: NOON, also={"mine": mine}
    )
    assert retention.trim_history() is False
    with database.read() as connection:
        for model in (models.SecurityEvent, models.StationBoot):
            assert connection.execute(select(func.count()).select_from(model)).scalar_one() == 0
    assert went == [f"{BEFORE:%Y-%m-%d}"]
