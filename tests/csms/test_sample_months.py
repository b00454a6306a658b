"""Samples are found whichever month took them, a repeat too, and nobody looks into months where they cannot be."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select

from csms import message_store
from csms.billing.explanation import explain
from csms.billing.rebill import rebill
from csms.billing.sessions import known_of
from csms.database import Database
from csms.events import StopReason
from csms.message_store import Wanted, entries_after, exchange_of, following, id_at, newest, page
from csms.models import ChargeRecord, MeterSampleRow, Transaction
from csms.sample_span import AFTER, BEFORE
from csms.sampling import sampled_too_often
from tests.csms.billing.test_charge_records import bill_all
from tests.csms.core_story import NOON, Story, told
from tests.csms.month_rows import MESSAGES, asked, held, make_2026, message

postgresql = pytest.mark.parametrize("dialect", ["postgresql"], indirect=True)
JULY = datetime(2026, 7, 1, tzinfo=UTC)


def ready(story: Story) -> None:
    make_2026(story.database)
    story.site("CP1")
    story.card()


def counted(story: Story) -> tuple[int, int, int]:
    row = story.transaction()
    return row.energy_mwh, row.sample_count, len(story.rows(MeterSampleRow))


async def test_a_sample_delivered_twice_across_a_months_end_counts_once(database: Database) -> None:  # E03, P04
    async with told(database) as story:
        ready(story)
        story.now = JULY - timedelta(minutes=10)
        number = (await story.start()).transaction_id
        story.now = taken = JULY - timedelta(microseconds=1)
        for later in (timedelta(), timedelta(microseconds=1), timedelta(seconds=30), timedelta(days=62)):
            story.now = taken + later
            await story.sample(number, 1200, at=taken)
            assert counted(story) == (200_000, 1, 1)
        if not database.sqlite:
            with database.read() as connection:
                assert held(connection, "meter_samples") == {"2026_06": 1}


async def test_a_sample_of_no_known_transaction_is_told_again_months_later_and_kept_once(
    database: Database,
) -> None:  # E03, P04
    async with told(database) as story:
        ready(story)
        for days in (0, 1, 31, 200):
            story.now = NOON + timedelta(days=days)
            for ref in (None, "4711"):
                await story.sample(ref, 1200, at=NOON)
            assert len(story.rows(MeterSampleRow)) == 2


@pytest.mark.parametrize(
    "jump", [-timedelta(days=3000), -timedelta(days=100), timedelta(days=90), timedelta(days=3000)]
)
async def test_a_clock_of_ours_that_jumped_hides_no_sample(database: Database, jump: timedelta) -> None:  # E03, P04
    """In the middle of a session our clock is wrong for one sample: it is billed, and told again it is a repeat."""
    async with told(database) as story:
        ready(story)
        number = (await story.start()).transaction_id
        for minutes, wrong in ((10, timedelta()), (20, jump), (30, timedelta())):
            at = NOON + timedelta(minutes=minutes)
            for _ in range(2):
                story.now = at + wrong
                await story.sample(number, 1000 + minutes, at=at)
                story.now = at
                await story.sample(number, 1000 + minutes, at=at)
        row = story.transaction()
        assert (row.sampled_since is None, row.sampled_until is None) == (jump > -BEFORE, jump < AFTER)
        assert len(story.rows(MeterSampleRow)) == 3
        story.pass_time(minutes=10)
        await story.end(number, 1_040_000)
        with database.read() as connection:
            transaction = connection.execute(select(Transaction.__table__)).one()
            frames = known_of(connection, transaction).frames
        assert sorted(frame.samples[0].values[0].value for frame in frames) == ["1010", "1020", "1030"]
        assert (transaction.energy_mwh, transaction.findings) == (40_000, [])


async def test_a_session_of_months_and_a_sample_after_its_end_are_found(database: Database) -> None:
    async with told(database) as story:
        ready(story)
        number = (await story.start()).transaction_id
        for day in range(0, 100, 10):
            story.now = NOON + timedelta(days=day, minutes=1)
            await story.sample(number, 1000 + day)
        await story.end(number, 1_100_000)
        with database.read() as connection:
            transaction = connection.execute(select(Transaction.__table__)).one()
            assert len(known_of(connection, transaction).frames) == 10
        last = story.now
        story.pass_time(days=50)
        for _ in range(2):
            await story.sample(number, 1095, at=last)
        assert story.transaction().sampled_until == story.now
        assert len(story.rows(MeterSampleRow)) == 11


# ---- no month is looked into for nothing ----------------------------------------------------------------------------


@postgresql
async def test_a_session_is_sampled_ended_billed_and_explained_from_its_own_months(database: Database) -> None:  # P04
    around = {"2026_05", "2026_06", "2026_07"}
    async with told(database) as story:
        ready(story)
        story.tariff()
        number = (await story.start()).transaction_id
        asked_of: dict[str, list[set[str]]] = {}
        with asked(database, "meter_samples") as asked_of["sampled"]:
            story.pass_time(minutes=10)
            await story.sample(number, 1100)
        with asked(database, "meter_samples") as asked_of["ended"]:
            story.pass_time(minutes=10)
            await story.end(number, 1_200_000, reason=StopReason.POWER_LOSS)  # a failure: a refund is weighed too
        with asked(database, "meter_samples") as asked_of["billed"]:
            bill_all(database)
        with database.read() as connection:
            record = connection.execute(select(ChargeRecord.id)).scalar_one()
        with asked(database, "meter_samples") as asked_of["billed again"]:
            assert len(list(rebill(database, NOON - timedelta(days=1), datetime(2099, 1, 1, tzinfo=UTC)))) == 1
        for what, plans in asked_of.items():
            assert plans, what
            assert all(plan and plan <= around for plan in plans), (what, plans)
        with asked(database, "meter_samples") as explained, database.read() as connection:
            assert explain(connection, record) is not None
        assert all(plan <= around for plan in explained)
        with asked(database, "meter_samples") as watched, database.write() as connection:
            sampled_too_often(connection, JULY)
        assert watched
        assert all("2026_06" in plan and not plan & {"2026_01", "2026_05"} for plan in watched)


@postgresql
def test_the_message_log_is_searched_in_the_months_that_are_meant(database: Database) -> None:  # P04
    make_2026(database)
    june, soon = datetime(2026, 6, 15, tzinfo=UTC), datetime.now(UTC) + timedelta(days=400)
    rows = [message(june, number, message_id=f"{number}") for number in range(200)]
    rows += [message(soon, number, message_id=f"s{number}") for number in range(200)]
    with database.write() as connection:
        connection.execute(insert(MESSAGES), rows)
    middle = rows[150]["id"]
    day = {"since": june, "until": june + timedelta(hours=1)}
    searches: dict[str, Any] = {
        "a span": lambda c: page(c, Wanted(**day)).exchanges,
        "a station then": lambda c: page(c, Wanted(station="CP1", **day)).exchanges,
        "an action then": lambda c: page(c, Wanted(action="heartbeat", **day)).exchanges,
        "what we asked then": lambda c: [page(c, Wanted(direction="out", **day))],
        "errors then": lambda c: [page(c, Wanted(errors=True, **day))],
        "the page before one": lambda c: page(c, Wanted(), before=middle).exchanges,
        "a station before one": lambda c: page(c, Wanted(station="CP1"), before=middle).exchanges,
        "one that is found again": lambda c: [exchange_of(c, middle)],
        "the last until then": lambda c: [newest(c, until=middle)],
    }
    for name, search in searches.items():
        with asked(database, "messages") as plans, database.read() as connection:
            assert search(connection), name
        assert plans, name
        assert all(plan <= {"2026_06"} for plan in plans), (name, plans)
    later = {"2026_01", "2026_02", "2026_03", "2026_04", "2026_05"}
    onwards: dict[str, Any] = {
        "what follows": lambda c: following(c, Wanted(), after=middle),
        "the tail": lambda c: entries_after(c, middle, limit=10),
        "the newest page": lambda c: page(c, Wanted()).exchanges,
        "the newest of a station": lambda c: page(c, Wanted(station="CP1")).exchanges,
        "the newest of all": lambda c: [newest(c)],
    }
    for name, search in onwards.items():
        with asked(database, "messages") as plans, database.read() as connection:
            assert search(connection), name
        assert plans, name
        assert not any(plan & later for plan in plans), (name, plans)
    with database.read() as connection:
        assert newest(connection) == rows[-1]["id"]
        assert [one.first.message_id for one in page(connection, Wanted(message_id="7")).exchanges] == ["7"]
        both = page(connection, Wanted(station="CP1"), limit=300).exchanges
        assert [one.first.id for one in both] == [row["id"] for row in rows[100:]]
        assert message_store.at_of(id_at(june)) == june
