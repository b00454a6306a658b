"""Each doubt about a session holds its bill, and each decision of a person ends it as it should."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from csms import reviews
from csms.billing.verdict import is_held
from csms.database import Database
from csms.journal import append
from csms.models import ChargeRecord, RefundEvaluation, Review
from csms.reviews import NotBillable
from csms.watch import never_stopped, silent_transactions, unbilled_transactions
from tests.csms.core_story import NOON, Story, told
from tests.csms.test_reviews import bill_all, decide, facts, ready, told_beside_power

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
ANN, WHY = "cli:ann", "seen on the spot"


async def register_jumps_at_the_end(story: Story) -> None:  # E07
    number = (await story.start()).transaction_id
    for wh in (1100, 1200):
        story.pass_time(minutes=10)
        await story.sample(number, wh)
    story.pass_time(seconds=1)
    await story.end(number, 9_000_000)


async def samples_are_missing(story: Story) -> None:  # E08
    number = (await story.start()).transaction_id
    for minutes, wh in ((1, 1010), (1, 1020), (1, 1030), (50, 1400), (1, 1410)):
        story.pass_time(minutes=minutes)
        await story.sample(number, wh)
    story.pass_time(seconds=10)
    await story.end(number, 1_410_000)


async def charger_restarts_and_tells_no_sample(story: Story) -> None:  # E08
    number = (await story.start()).transaction_id
    story.pass_time(minutes=20)
    await story.boot(firmware_version="1.2.3")
    story.pass_time(minutes=20)
    await story.end(number, 1_400_000)


async def register_begins_anew(story: Story) -> None:  # E08, E09
    number = (await story.start()).transaction_id
    for wh in (1200, 100, 300):
        story.pass_time(minutes=10)
        await story.sample(number, wh)
    await story.end(number, 300_000)


async def clock_of_2018(story: Story) -> None:  # F05, E11
    long_ago = NOON.replace(year=2018)
    number = (await story.start(at=long_ago)).transaction_id
    story.pass_time(seconds=20)
    await story.end(number, 1_010_000, at=long_ago)


async def unit_lies(story: Story) -> None:  # X16
    number = (await story.start(meter=361_000)).transaction_id
    for wh in (361, 362):
        story.pass_time(minutes=7)
        await told_beside_power(story, number, wh, 9_451)
    await story.end(number, 362_000)


async def end_never_comes(story: Story) -> None:  # E01
    number = (await story.start()).transaction_id
    story.pass_time(minutes=30)
    await story.sample(number, 1_400)
    for rule, hours in ((silent_transactions, 13), (never_stopped, 25)):
        story.pass_time(hours=hours)
        with story.database.write() as connection:
            append(connection, rule(connection, story.now), now=story.now)


async def start_was_lost(story: Story) -> None:  # X19
    story.pass_time(hours=1)
    await story.end("4711", 1_400_000, id_token="04A1B2C3D4")


Happening = Callable[[Story], Awaitable[None]]
HELD: dict[Happening, tuple[str, ...]] = {
    register_jumps_at_the_end: ("meter_mismatch",),
    samples_are_missing: ("meter_mismatch",),
    charger_restarts_and_tells_no_sample: ("meter_mismatch",),
    register_begins_anew: ("meter_mismatch",),
    clock_of_2018: ("implausible",),
    unit_lies: ("unit_suspect",),
    end_never_comes: ("never_stopped",),
    start_was_lost: ("missing_start",),
}
each = pytest.mark.parametrize("happening", HELD, ids=lambda happening: happening.__name__)


async def held(story: Story, happening: Happening) -> Any:
    await ready(story)
    await happening(story)
    bill_all(story.database)
    assert story.rows(ChargeRecord) == []
    (review,) = story.rows(Review)
    assert set(HELD[happening]) <= set(review.reasons), review.reasons
    assert (review.state, review.owner) == ("open", None)
    assert is_held(story.transaction())
    story.pass_time(hours=1)
    return review


def recorded(story: Story, state: str) -> None:
    """Who, when, why: in the review and in the journal, once; and nobody misses a bill."""
    (review,) = story.rows(Review)
    assert (review.state, review.decided_by, review.decision, review.closed_at) == (state, ANN, WHY, story.now)
    (fact,) = facts(story, "review_decided")
    assert fact.data == {"review": review.id, "state": state, "by": ANN, "reason": WHY}
    bill_all(story.database)
    with story.database.write() as connection:
        assert unbilled_transactions(connection, story.now + timedelta(hours=1)) == []
        day = reviews.daily_balance(connection, story.transaction().ended_received_at.date())
    assert (day.unexplained, day.in_review) == (0, 0)


@only_sqlite
@each
async def test_a_held_bill_is_accepted(
    database: Database, happening: Happening
) -> None:  # E07, E08, E11, E12, X16, X19, F05
    async with told(database) as story:
        review = await held(story, happening)
        if happening is start_was_lost:  # there is nothing to accept: nobody knows where it was
            with pytest.raises(NotBillable, match="no_tariff"):
                decide(story, reviews.release, review.id, ANN, WHY)
            return
        record_id = decide(story, reviews.release, review.id, ANN, WHY)
        transaction, (record,) = story.transaction(), story.rows(ChargeRecord)
        assert (record.id, record.energy_mwh) == (record_id, transaction.energy_mwh)
        assert (record.started_at, record.ended_at) == (transaction.started_at, transaction.ended_at)
        assert [fact.subject for fact in facts(story, "charge_record_issued")] == [record_id]
        recorded(story, "released")


@only_sqlite
@each
async def test_a_held_bill_is_adjusted(
    database: Database, happening: Happening
) -> None:  # E07, E08, E11, E12, X16, X19, F05
    async with told(database) as story:
        review = await held(story, happening)
        before = story.transaction()
        known: dict[str, Any] = {"energy_mwh": 2_000_000, "started_at": NOON, "ended_at": NOON + timedelta(minutes=30)}
        if happening is start_was_lost:
            known["tariff"] = "standard-ac"
        record_id = decide(story, reviews.adjust, review.id, ANN, WHY, **known)
        (record,) = story.rows(ChargeRecord)
        assert (record.id, record.energy_mwh, record.duration_s) == (record_id, 2_000_000, 1800)
        assert (record.total_excl_vat, record.total_incl_vat) == (Decimal("0.5"), Decimal("0.6"))
        assert (record.decided_by, record.decision, record.corrects) == (ANN, WHY, None)
        assert story.transaction() == before
        assert [fact.subject for fact in facts(story, "charge_record_issued")] == [record_id]
        recorded(story, "adjusted")


@only_sqlite
@each
async def test_a_held_bill_is_written_off(
    database: Database, happening: Happening
) -> None:  # E07, E08, E11, E12, X16, X19, F05
    async with told(database) as story:
        review = await held(story, happening)
        decide(story, reviews.write_off, review.id, ANN, WHY)
        assert (story.rows(ChargeRecord), facts(story, "charge_record_issued")) == ([], [])
        recorded(story, "written_off")


async def test_what_began_without_a_tariff_is_billed_by_the_one_that_a_person_names(database: Database) -> None:  # E12
    async with told(database) as story:
        story.site("CP1")
        story.card()
        await story.boot()
        number = (await story.start()).transaction_id
        story.pass_time(minutes=40)
        await story.end(number, 1_400_000)
        bill_all(database)
        (review,) = story.rows(Review)
        assert review.reasons == ["no_tariff"]
        with pytest.raises(reviews.InvalidAdjustment, match="there is no tariff standard-ac"):
            decide(story, reviews.adjust, review.id, ANN, WHY, tariff="standard-ac")
        story.tariff()
        decide(story, reviews.adjust, review.id, ANN, WHY, tariff="standard-ac")
        (record,) = story.rows(ChargeRecord)
        assert (record.tariff_row, record.total_excl_vat) == (1, Decimal("0.1"))
        (review,) = story.rows(Review)
        named = {"tariff": {"tariff_id": "standard-ac", "version": 1}}
        assert review.adjustment == {"before": {"tariff": None}, "after": named}
        assert story.rows(RefundEvaluation) == []
