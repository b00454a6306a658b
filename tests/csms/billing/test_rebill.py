"""Any session that was billed is priced again from what is stored of it to the same bytes, whatever came after."""

import asyncio
import itertools
import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, update

from csms import credits, reviews
from csms.billing.charge_records import session_price
from csms.billing.explanation import explain
from csms.billing.pricing import Rounding
from csms.billing.rebill import Outcome, Rebilled, rebill, rebilled
from csms.billing.roundings import keep
from csms.database import Database
from csms.events import ConnectorStatus, MeterSample, MeterSampled, SampledValue, StopReason
from csms.models import ChargeRecord, Connector, JournalEntry, MeterSampleRow, RefundEvaluation, Review, Tariff
from tests.csms.billing.test_charge_records import bill_all, charge, ready
from tests.csms.billing.test_naive_calculator import BEGINNINGS, tariffs
from tests.csms.core_story import NOON, Story, told

ANN, WHY = "cli:ann", "the photo of the meter says so"
EVER = (NOON - timedelta(days=9999), NOON + timedelta(days=9999))
STATUSES = [None, ConnectorStatus.CHARGING, ConnectorStatus.SUSPENDED_EV, ConnectorStatus.SUSPENDED_EVSE]
numbers = itertools.count(1)


def again(story: Story) -> list[Rebilled]:
    return list(rebill(story.database, *EVER))


def outcomes(story: Story) -> list[Outcome]:
    return [one.outcome for one in again(story)]


# ---- random sessions ------------------------------------------------------------------------------------------------

steps = st.tuples(
    st.integers(0, 2400),  # s since the step before
    st.integers(-500, 6000),  # Wh on the register, which may fall
    st.sampled_from(["0", "15.9", "16", "40"]),  # A
    st.sampled_from(["0", "1999", "7400", "22000"]),  # W
    st.sampled_from(STATUSES),
)
ROUNDINGS = st.sampled_from([Rounding(), Rounding(2), Rounding(0, to_even=True)])


@settings(
    max_examples=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # each example is a story: to shrink one takes minutes
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)
@given(
    tariff=tariffs(),
    began=st.sampled_from(BEGINNINGS),
    walk=st.lists(steps, min_size=1, max_size=6),
    rounding=ROUNDINGS,
)
def test_a_random_session_is_priced_again_to_the_same_bytes(
    database: Database, tariff: dict[str, Any], began: datetime, walk: list[Any], rounding: Rounding
) -> None:  # TC-28, CD-13, E04
    asyncio.run(_lives(database, json.loads(json.dumps(tariff)), began, walk, rounding))


async def _lives(
    database: Database, tariff: dict[str, Any], began: datetime, walk: list[Any], rounding: Rounding
) -> None:
    tariff_id = station_id = f"CP{next(numbers)}"
    async with told(database) as story:
        story.now = began
        story.site(station_id)
        story.card(station_id)
        bounds = {name: tariff[name] for name in ("min_price", "max_price") if name in tariff}
        story.tariff(tariff["elements"], id=tariff_id, details=bounds)
        with database.write() as connection:
            connection.execute(update(Connector).values(tariff_ids=[tariff_id]))
            keep(connection, {"EUR": rounding})
        await story.boot(station_id)
        number = (await story.start(station_id, station_id)).transaction_id
        register = 1000
        for seconds, wh, amps, watts, status in walk:
            story.pass_time(seconds=seconds)
            register = max(0, register + wh)
            await sampled(story, station_id, number, register, amps, watts)
            if status is not None:
                await story.status(status, station_id=station_id)
        story.pass_time(seconds=61)
        await story.end(number, register * 1000, station_id)
        running = price_of(story, number)
        bill_all(database)
        record = billed(story, number)
        if record is None:
            return  # nobody can price it: a person writes it off
        assert (running.total_excl_vat, running.total_incl_vat) == (record.total_excl_vat, record.total_incl_vat)
        assert once_more(story, record) == same(record)
        await sampled(story, station_id, number, register + 1, "0", "0")  # late
        await story.status(ConnectorStatus.SUSPENDED_EV, station_id=station_id)
        with database.write() as connection:
            connection.execute(update(Tariff).where(Tariff.tariff_id == tariff_id).values(current=False))
            keep(connection, {})
        story.tariff(id=tariff_id, version=2)
        written_in_another_order(story, station_id)
        assert once_more(story, record) == same(record)


async def sampled(story: Story, station_id: str, number: int, wh: int, amps: str, watts: str) -> None:
    values = (
        SampledValue(value=str(wh), unit="Wh"),
        SampledValue(value=amps, unit="A", measurand="Current.Import"),
        SampledValue(value=watts, unit="W", measurand="Power.Active.Import"),
    )
    await story.csms.report(
        MeterSampled(
            station_id=station_id,
            ocpp_version="1.6",
            received_at=story.now,
            occurred_at=story.now,
            evse=1,
            transaction_ref=str(number),
            samples=(MeterSample(occurred_at=story.now, values=values),),
        )
    )


def of(story: Story, number: int) -> Any:
    return next(row for row in story.transactions() if row.number == number)


def price_of(story: Story, number: int) -> Any:
    with story.database.read() as connection:
        return session_price(connection, of(story, number))[1]


def billed(story: Story, number: int) -> Any:
    """Its record, released where it was held; None where nothing can be made of it."""
    transaction_id = of(story, number).id
    for review in story.rows(Review, Review.transaction_id == transaction_id):
        try:
            with story.database.write() as connection:
                reviews.release(connection, review.id, ANN, WHY, story.now)
        except reviews.NotBillable:
            return None
    (record,) = story.rows(ChargeRecord, ChargeRecord.transaction_id == transaction_id)
    return record


def once_more(story: Story, record: Any) -> Rebilled:
    with story.database.read() as connection:
        assert connection.execute(select(ChargeRecord.__table__).where(ChargeRecord.id == record.id)).one() == record
        return rebilled(connection, record)


def same(record: Any) -> Rebilled:
    return Rebilled(
        record=record.id, transaction=record.transaction_id, made_at=record.created_at, outcome=Outcome.SAME
    )


def written_in_another_order(story: Story, station_id: str) -> None:
    """Entries of one moment are read in the order of their numbers, which says nothing of what came first."""
    with story.database.write() as connection:
        for table, where, numbered in (
            (
                JournalEntry.__table__,
                (JournalEntry.type == "evse_status") & (JournalEntry.station_id == station_id),
                ("id", "xid"),
            ),
            (MeterSampleRow.__table__, MeterSampleRow.station_id == station_id, ()),
        ):
            rows = [dict(row._mapping) for row in connection.execute(select(table).where(where))]
            connection.execute(delete(table).where(where))
            kept = [{name: value for name, value in row.items() if name not in numbered} for row in reversed(rows)]
            if kept:
                connection.execute(insert(table), kept)


# ---- what a person decided ------------------------------------------------------------------------------------------


async def test_credits_corrections_and_refunds_come_to_the_same_again(database: Database) -> None:  # CD-07, CD-08
    async with told(database) as story:
        await ready(story)
        story.tariff([{"price_components": [{"type": "FLAT", "price": "0.09", "step_size": 1}]}], id="cheap")
        for _ in range(3):
            await charge(story, reason=StopReason.POWER_LOSS)
            story.pass_time(minutes=5)
        bill_all(database)
        first, second, third = story.rows(ChargeRecord)
        refund = next(row for row in story.rows(RefundEvaluation) if row.transaction_id == third.transaction_id)
        with database.write() as connection:
            credits.credit(connection, first.id, ANN, WHY, story.now)
            _, corrected = credits.correct(
                connection, second.id, ANN, WHY, story.now, ended_at=second.ended_at - timedelta(minutes=10)
            )
            credits.correct(connection, corrected, ANN, WHY, story.now, energy_mwh=300_000)
            _, lower = credits.pay_back(connection, refund.id, ANN, WHY, story.now, amount=Decimal("0.01"))
            assert lower is not None
            credits.correct(connection, lower, ANN, WHY, story.now, tariff="cheap")
        assert outcomes(story) == [Outcome.SAME] * 12


async def test_an_adjusted_session_comes_to_the_same_again(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story, violations=("meterStop",))
        bill_all(database)
        (review,) = story.rows(Review)
        start = story.transaction().started_at + timedelta(minutes=7)
        with database.write() as connection:
            reviews.adjust(connection, review.id, ANN, WHY, story.now, started_at=start, energy_mwh=100_000)
        assert outcomes(story) == [Outcome.SAME]


async def test_a_session_priced_by_the_tariff_it_should_have_had_comes_to_the_same_again(database: Database) -> None:
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.boot()
        await charge(story)
        story.tariff()
        bill_all(database)
        (review,) = story.rows(Review)
        with database.write() as connection:
            reviews.adjust(connection, review.id, ANN, WHY, story.now, tariff="standard-ac")
        assert outcomes(story) == [Outcome.SAME]
        with database.read() as connection:
            notes = explain(connection, story.rows(ChargeRecord)[0].id).notes
        assert f"{ANN} corrected it ({WHY}): tariff from none to standard-ac, version 1." in notes


# ---- what is told ---------------------------------------------------------------------------------------------------


async def test_a_difference_is_named_with_both_values(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        await charge(story)
        bill_all(database)
        with database.write() as connection:
            connection.execute(update(ChargeRecord).values(total_excl_vat=Decimal("0.2000"), parking_s=60))
        (one,) = again(story)
        assert one.outcome is Outcome.DIFFERS
        assert [(it.what, it.billed, it.now) for it in one.differences] == [
            ("parking_s", 60, 0),
            ("total_excl_vat", "0.2000", "0.1000"),
        ]


@pytest.mark.parametrize("gone", [MeterSampleRow, JournalEntry])
async def test_a_session_whose_evidence_is_deleted_is_said_to_be_so(database: Database, gone: Any) -> None:
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=5)
        await story.sample(number, 1500)
        await story.status(ConnectorStatus.SUSPENDED_EV)
        story.pass_time(minutes=5)
        await story.end(number, 1_500_000)
        bill_all(database)
        assert outcomes(story) == [Outcome.SAME]
        with database.write() as connection:
            connection.execute(delete(gone))
        assert outcomes(story) == [Outcome.EVIDENCE_GONE]


async def test_a_record_without_evidence_is_compared_by_what_it_has(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        await charge(story)
        bill_all(database)
        with database.write() as connection:
            connection.execute(update(ChargeRecord).values(evidence=None, signed_data=None))
        assert outcomes(story) == [Outcome.SAME]


async def test_a_period_holds_what_was_made_from_its_start_to_before_its_end(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        for _ in range(5):
            await charge(story, 5)
        bill_all(database)
        records = sorted(story.rows(ChargeRecord), key=lambda row: row.id)
        times = [NOON, NOON + timedelta(hours=1), NOON + timedelta(hours=1), NOON + timedelta(hours=1), EVER[1]]
        with database.write() as connection:
            for record, at in zip(records, times, strict=True):
                connection.execute(update(ChargeRecord).where(ChargeRecord.id == record.id).values(created_at=at))
        ids = [record.id for record in records]

        def found(since: datetime, until: datetime) -> list[str]:
            return [one.record for one in rebill(database, since, until, at_once=2)]

        assert found(NOON, EVER[1]) == ids[:4]
        assert found(NOON + timedelta(seconds=1), EVER[1] + timedelta(seconds=1)) == ids[1:]
        assert found(NOON, NOON + timedelta(hours=1)) == ids[:1]
        assert found(NOON, NOON) == []
