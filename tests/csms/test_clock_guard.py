"""A clock that runs ahead deletes nothing, until somebody has looked; one that is right is not asked about."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, select, update

from csms import alerts
from csms.clock_guard import KIND, ClockGuard
from csms.database import Database
from csms.journal import Fact, FactType, append
from csms.models import Alert, Message
from csms.retention import Retention
from tests.csms.month_rows import MESSAGES, message

YEAR = timedelta(days=365)


class Host:
    """Its clock, which somebody may set, and how many seconds it has run."""

    def __init__(self) -> None:
        self.set_by = timedelta()
        self.ran = timedelta()

    def clock(self) -> datetime:
        return datetime.now(UTC) + self.ran + self.set_by

    def seconds(self) -> float:
        return self.ran.total_seconds()

    def guard(self, database: Database) -> ClockGuard:
        return ClockGuard(database, clock=self.clock, seconds=self.seconds)


def reasons(database: Database) -> list[str]:
    with database.read() as connection:
        rows = connection.execute(select(Alert).where(Alert.kind == KIND, Alert.closed_at.is_(None)))
        return [row.detail["reason"] for row in rows]


def closed_by_hand(database: Database) -> None:
    with database.write() as connection:
        for (alert_id,) in connection.execute(select(Alert.id).where(Alert.kind == KIND)).all():
            alerts.close_by_hand(connection, alert_id, by="somebody", now=datetime.now(UTC))


def recorded(database: Database, at: datetime) -> None:
    with database.write() as connection:
        append(connection, [Fact(type=FactType.TOKEN_CHANGED, subject="1")], now=at)


def test_a_clock_that_is_right_is_not_doubted(database: Database) -> None:
    host = Host()
    recorded(database, host.clock() - timedelta(days=2))
    guard = host.guard(database)
    assert not guard.doubted()
    host.ran += timedelta(hours=20)
    assert not guard.doubted()
    assert reasons(database) == []


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)  # no server has another clock
def test_a_clock_that_jumps_ahead_while_we_run_is_doubted_until_somebody_looked(database: Database) -> None:
    host = Host()
    guard = host.guard(database)
    host.ran += timedelta(days=90)
    assert not guard.doubted()
    host.set_by = YEAR
    assert guard.doubted()
    assert guard.doubted()
    assert host.guard(database).doubted()  # another process
    (reason,) = reasons(database)
    assert reason.startswith("this clock went 365 days")
    closed_by_hand(database)
    assert not guard.doubted()


@pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
def test_a_clock_that_was_wrong_from_the_beginning_differs_from_the_servers(database: Database) -> None:
    host = Host()
    host.set_by = YEAR
    assert host.guard(database).doubted()
    (reason,) = reasons(database)
    assert reason.endswith("ahead of the database server's")
    host.set_by = timedelta()
    closed_by_hand(database)
    assert not host.guard(database).doubted()


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_host_that_starts_with_a_clock_ahead_is_told_by_the_last_fact_before(database: Database) -> None:
    host = Host()
    recorded(database, host.clock())
    host.set_by = YEAR
    guard = host.guard(database)
    recorded(database, host.clock())  # chargers were quicker
    assert guard.doubted()
    (reason,) = reasons(database)
    assert reason.startswith("nothing was recorded for 365 days")
    closed_by_hand(database)
    assert not guard.doubted()


async def test_the_service_keeps_all_while_its_clock_is_doubted(database: Database) -> None:  # P05
    host = Host()
    with database.write_log() as connection:
        connection.execute(insert(MESSAGES).values(message(host.clock() - timedelta(days=10))))

    def kept() -> int:
        with database.log_engine.connect() as connection:
            return len(connection.execute(select(Message.id)).all())

    retention = Retention(database, message_days=90, sample_days=400, history_days=400, clock=host.clock)
    trim: Callable[[], bool] = retention._trim_unless_doubted
    host.set_by = YEAR
    assert trim() is False
    assert kept() == 1
    with database.write() as connection:
        connection.execute(update(Alert).values(closed_at=host.clock()))
    host.set_by = timedelta()
    assert trim() is False
    assert kept() == 1
    retention.trim()  # as --force does
    assert kept() == 1
    host.set_by = YEAR
    retention.trim()
    assert kept() == 0
