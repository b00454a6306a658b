"""On PostgreSQL samples and messages lie in months: the old tables become such, and no row ever lacks a place."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from alembic.config import Config
from sqlalchemy import Connection, insert, select, text
from structlog.testing import capture_logs

from alembic import command
from csms import message_store, schema
from csms.bus import LoggedFrame
from csms.database import Database
from csms.message_store import Wanted
from csms.models import MeterSampleRow, Transaction
from csms.partitions import AGAIN_S, EVERY_S, MONTHLY, Ahead, Month, make_ahead, months
from tests.csms.month_rows import MESSAGES, SAMPLES, TRANSACTIONS, held, message, sample, transaction

NOW = datetime(2026, 12, 15, 12, tzinfo=UTC)
AHEAD = ["2026_12", "2027_01", "2027_02"]
postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)


# ---- the tables as they were ----------------------------------------------------------------------------------------


def upgrade(connection: Connection, target: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.scripts()))
    config.set_main_option("path_separator", "os")
    config.attributes.update(
        connection=connection,
        target=target,
        version_table=schema.VERSION_TABLES[target],
        on_version_apply=lambda **_: None,
    )
    command.upgrade(config, revision)


@pytest.fixture
def before(empty_url: str) -> Iterator[Database]:
    """A database as it was before its tables were cut."""
    database = Database(empty_url)
    with database.write() as connection:
        upgrade(connection, "main", "0003")
        if not database.sqlite:
            upgrade(connection, "message_log", "0003")
    if database.sqlite:
        with database.write_log() as connection:
            upgrade(connection, "message_log", "0003")
    yield database
    database.dispose()


MONTHS = [datetime(2026, month, 1, tzinfo=UTC) for month in (3, 4, 6)]
EDGES = [at for month in MONTHS for at in (month, month + timedelta(days=27), month - timedelta(microseconds=1))]
FAR = [datetime(1970, 1, 2, tzinfo=UTC), datetime(2160, 1, 1, tzinfo=UTC)]


def test_rows_of_several_months_are_kept_and_lie_in_their_months(before: Database, empty_url: str) -> None:  # P04
    samples = [sample(at) for at in (*EDGES, *FAR)]
    messages = [message(at, number) for number, at in enumerate((*EDGES, FAR[1]))]
    with before.write() as connection:
        connection.execute(insert(SAMPLES), samples)
    with before.write_log() as connection:
        connection.execute(insert(MESSAGES), messages)
    assert {"0004 (main)", "0004 (message_log)"} <= set(schema.migrate(empty_url))
    with before.read() as connection:
        kept = connection.execute(select(SAMPLES).order_by(MeterSampleRow.event_id)).all()
        assert [dict(row._mapping) for row in kept] == sorted(samples, key=lambda row: row["event_id"])
        if not before.sqlite:
            cut = {"2026_02": 1, "2026_03": 3, "2026_04": 2, "2026_05": 1, "2026_06": 2}
            assert held(connection, "meter_samples") == cut | {"default": 2}
            assert held(connection, "messages") == cut | {"default": 1}
    with before.log_engine.connect() as connection:
        found = connection.execute(select(MESSAGES).order_by(MESSAGES.c.id)).all()
        assert [(row.id, row.at, row.frame) for row in found] == sorted((m["id"], m["at"], "[]") for m in messages)


def test_frames_of_before_are_found_as_they_were(before: Database, empty_url: str) -> None:
    """Half of the messages have been told to be twins since; those of before are looked for."""
    began = datetime.now(UTC) - timedelta(days=1)
    old = [
        message(began + timedelta(seconds=n // 2), n, message_id=f"m{n // 2}", **side)
        for n in range(20)
        for side in [{} if n % 2 == 0 else {"direction": "out", "message_type": "result", "latency_ms": 3.5}]
    ]
    with before.write_log() as connection:
        connection.execute(insert(MESSAGES), old)
    assert {"0008 (main)", "0008 (message_log)"} <= set(schema.migrate(empty_url))
    with before.write_log() as connection:
        message_store.write(
            connection,
            [
                LoggedFrame(
                    at=datetime.now(UTC),
                    station_id="CP1",
                    ocpp_version="1.6",
                    direction=direction,
                    message_type=type_,
                    message_id="new",
                    action="Heartbeat",
                )
                for direction, type_ in (("in", "call"), ("out", "result"))
            ],
        )
    with before.log_engine.connect() as connection:
        found = message_store.page(connection, Wanted(station="CP1")).exchanges
        named = message_store.page(connection, Wanted(message_id="m3")).exchanges
        kept = connection.execute(select(MESSAGES).order_by(MESSAGES.c.id)).all()
    assert [(e.first.message_id, e.result) for e in found] == [*((f"m{n}", "ok") for n in range(10)), ("new", "ok")]
    assert [(e.first.id, e.latency_ms) for e in named] == [(old[6]["id"], 3.5)]
    assert [dict(row._mapping) for row in kept[:-2]] == [row | {"twin": None} for row in old]
    assert [row.twin for row in kept[-2:]] == [1, -1]


def test_a_transaction_knows_of_its_samples_that_lie_far_from_its_start(before: Database, empty_url: str) -> None:
    began = datetime(2026, 5, 31, 23, tzinfo=UTC)
    near = [began - timedelta(hours=23), began + timedelta(days=30)]
    early, late = began - timedelta(days=200), began + timedelta(days=40)
    with before.write() as connection:
        for name in ("near", "early", "latest"):
            connection.execute(insert(TRANSACTIONS).values(**transaction(name, began)))
        rows = [sample(at, f"{name}{at}", transaction_id=name) for name in ("near", "early", "latest") for at in near]
        rows += [sample(early, transaction_id="early"), sample(late, transaction_id="latest")]
        connection.execute(insert(SAMPLES), rows)
    schema.migrate(empty_url)
    with before.read() as connection:
        query = select(Transaction.id, Transaction.sampled_since, Transaction.sampled_until).order_by(Transaction.id)
        assert connection.execute(query).all() == [
            ("early", early, None),
            ("latest", None, late),
            ("near", None, None),
        ]


# ---- no row lacks a place -------------------------------------------------------------------------------------------


def fill(database: Database, times: Sequence[datetime]) -> None:
    with database.write() as connection:
        connection.execute(insert(SAMPLES), [sample(at) for at in times])
        connection.execute(insert(MESSAGES), [message(at, number) for number, at in enumerate(times)])


@postgresql
def test_the_running_month_and_the_next_two_are_made_ahead_and_once(database: Database) -> None:  # P04
    names = [f"{table}_{month}" for table in MONTHLY for month in AHEAD]
    assert make_ahead(database, NOW) == names
    assert make_ahead(database, NOW) == []
    assert make_ahead(database, NOW + timedelta(days=20)) == ["meter_samples_2027_03", "messages_2027_03"]
    with database.read() as connection:
        assert [month.name for month in months(connection, "messages")] == [*names[3:], "messages_2027_03"]
        indexes = "SELECT tablename, count(*) FROM pg_indexes WHERE tablename LIKE 'messages%' GROUP BY tablename"
        assert len({count for _, count in connection.execute(text(indexes))}) == 1
    fill(database, [NOW, datetime(2027, 2, 28, 23, 59, 59, 999_999, tzinfo=UTC)])
    with database.read() as connection:
        for table in MONTHLY:
            assert held(connection, table) == {"2026_12": 1, "2027_02": 1}


def test_on_sqlite_there_is_nothing_to_make(sqlite_url: str) -> None:
    schema.migrate(sqlite_url)
    database = Database(sqlite_url)
    assert make_ahead(database, NOW) == []
    database.dispose()


@postgresql
def test_a_clock_that_jumps_and_a_worker_that_was_off_for_months_lose_no_row(database: Database) -> None:
    """Whatever time a row has, it is taken in; its month is made, and it moved there, when somebody makes months again."""
    make_ahead(database, NOW - timedelta(days=200))
    missing = [NOW - timedelta(days=61), NOW - timedelta(days=1), NOW]
    jumped = [datetime(2031, 7, 1, tzinfo=UTC), datetime(2020, 1, 3, tzinfo=UTC)]
    fill(database, [*missing, *jumped])
    with database.read() as connection:
        for table in MONTHLY:
            assert held(connection, table) == {"default": 5}
    made = make_ahead(database, NOW)
    assert [name for name in made if name.startswith("meter")] == [
        f"meter_samples_{month}" for month in ("2026_10", "2026_11", *AHEAD)
    ]
    with database.read() as connection:
        for table in MONTHLY:
            assert held(connection, table) == {"2026_10": 1, "2026_12": 2, "default": 2}
    assert make_ahead(database, NOW) == []


@postgresql
def test_two_workers_make_the_same_months(database: Database) -> None:
    barrier, made, failed = threading.Barrier(4), list[str](), list[BaseException]()

    def make() -> None:
        barrier.wait()
        try:
            made.extend(make_ahead(database, NOW))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert sorted(made) == sorted(f"{table}_{month}" for table in MONTHLY for month in AHEAD)


@postgresql
def test_who_makes_months_does_not_hold_up_those_who_write(database: Database) -> None:
    """A transaction that has written to the default one is still open: we give way, and come again."""
    ahead = Ahead(database, clock=lambda: NOW)
    with database.engine.connect() as slow, slow.begin():
        slow.execute(insert(SAMPLES), [sample(NOW)])
        with capture_logs() as logs:
            assert ahead.make() == AGAIN_S
        assert [line["event"] for line in logs] == ["months_not_made"]
    assert ahead.make() == EVERY_S
    with database.read() as connection:
        assert Month("meter_samples", datetime(2026, 12, 1, tzinfo=UTC)) in months(connection, "meter_samples")
        assert held(connection, "meter_samples") == {"2026_12": 1}


@postgresql
async def test_the_task_makes_months_when_it_starts(database: Database) -> None:
    running = asyncio.create_task(Ahead(database, clock=lambda: NOW).run())
    try:
        assert await asyncio.to_thread(all_made, database)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def all_made(database: Database) -> bool:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with database.read() as connection:
            if len(months(connection, "messages")) == len(AHEAD):
                return True
        time.sleep(0.05)
    return False
