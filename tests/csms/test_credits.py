"""A bill that was wrong is taken back whole, and what is right stands in its place; the wrong one is never touched."""

import asyncio
import re
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete, select, update

from adapters.cdrs import cdr_to_ocpi
from adapters.datatypes import moment
from csms import credits, refunds, reviews
from csms.billing.charge_records import NotBillable
from csms.billing.rebill import Outcome, rebill
from csms.billing.standing import standing_record
from csms.credits import InvalidCorrection, NotCreditable, UnknownRecord
from csms.database import Database
from csms.events import StopReason
from csms.models import ChargeRecord, MeterSampleRow, RefundEvaluation, Tariff, Transaction
from csms.reviews import Balance
from csms.watch import unbilled_transactions
from tests.csms.core_story import NOON, Story, told
from tests.csms.test_reviews import bill_all, charge, decide, facts, ready

only_sqlite = pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)

WHY = "the meter of this charger was never calibrated"
ANN = "cli:ann"


async def billed(story: Story, **end: Any) -> Any:
    """0.4 kWh at 0.25 and 20 % VAT: 0.10 and 0.12."""
    await ready(story)
    await charge(story, held=False, **end)
    (record,) = story.rows(ChargeRecord)
    story.pass_time(hours=1)
    return record


def record_of(story: Story, id_: str) -> Any:
    (record,) = story.rows(ChargeRecord, ChargeRecord.id == id_)
    return record


def cdr(story: Story, id_: str) -> dict[str, Any]:
    record = record_of(story, id_)
    (transaction,) = story.rows(Transaction, Transaction.id == record.transaction_id)
    return cdr_to_ocpi(record, story.rows(Tariff)[0], transaction)


def standing(story: Story) -> Any:
    with story.database.read() as connection:
        return standing_record(connection, story.transaction().id)


async def test_a_credit_takes_all_of_a_bill_back_and_leaves_the_bill_alone(database: Database) -> None:  # CD-06, CD-07
    async with told(database) as story:
        before = await billed(story)
        original = cdr(story, before.id)
        credit_id = decide(story, credits.credit, before.id, ANN, WHY)
        assert record_of(story, before.id) == before
        assert cdr(story, before.id) == original
        credit = cdr(story, credit_id)
        assert len(credit_id) <= 39  # CD-09
        assert credit["total_cost"] == {"excl_vat": Decimal("-0.1"), "incl_vat": Decimal("-0.12")}
        assert (credit["credit"], credit["credit_reference_id"]) == (True, before.id)
        own = {"id", "credit", "credit_reference_id", "total_cost", "last_updated"}
        assert {k: v for k, v in credit.items() if k not in own} == {k: v for k, v in original.items() if k not in own}
        assert credit["last_updated"] == moment(story.now)  # CD-10
        kept = record_of(story, credit_id)
        assert (kept.decided_by, kept.decision, kept.created_at) == (ANN, WHY, story.now)
        (fact,) = facts(story, "charge_record_credited")
        assert fact.subject == credit_id
        assert fact.data == {"transaction_id": before.transaction_id, "record": before.id, "by": ANN, "reason": WHY}
        assert standing(story) is None
        unbilled = story.now + timedelta(minutes=20)
        with database.write() as connection:
            unbilled_transactions(connection, unbilled)
        assert len(story.rows(ChargeRecord)) == 2


async def test_a_bill_is_taken_back_once_whoever_is_first(database: Database) -> None:  # CD-32
    async with told(database) as story:
        record = await billed(story)

        def take_back(person: str) -> str | None:
            try:
                with database.write() as connection:
                    return credits.credit(connection, record.id, person, WHY, story.now)
            except NotCreditable:
                return None

        made = await asyncio.gather(*(asyncio.to_thread(take_back, f"cli:{number}") for number in range(6)))
        (credit_id,) = [id_ for id_ in made if id_ is not None]
        assert len(story.rows(ChargeRecord)) == 2
        for verb in (credits.credit, credits.correct):
            more = {"energy_mwh": 1} if verb is credits.correct else {}
            with pytest.raises(NotCreditable, match="was credited before, by cli:"):
                decide(story, verb, record.id, ANN, WHY, **more)
            with pytest.raises(NotCreditable, match="is a credit itself"):
                decide(story, verb, credit_id, ANN, WHY, **more)
            with pytest.raises(UnknownRecord):
                decide(story, verb, "nothing", ANN, WHY, **more)


async def test_a_corrected_bill_stands_in_the_place_of_the_credited_one(database: Database) -> None:  # CD-08
    async with told(database) as story:
        first = await billed(story)
        credit_id, second_id = decide(story, credits.correct, first.id, ANN, WHY, energy_mwh=300_000)
        assert record_of(story, first.id) == first
        second = cdr(story, second_id)
        assert (second["total_energy"], second["total_cost"]["excl_vat"]) == (Decimal("0.3"), Decimal("0.075"))
        assert not second.keys() & {"credit", "credit_reference_id"}
        kept = record_of(story, second_id)
        assert (kept.corrects, kept.credit, kept.decided_by, kept.decision) == (first.id, False, ANN, WHY)
        assert kept.snapshot["adjustment"]["after"] == {"energy_mwh": 300_000}
        assert standing(story).id == second_id
        assert [fact.subject for fact in facts(story, "charge_record_issued")] == [first.id, second_id]
        # The next correction begins where the last one ended.
        ended_at = first.ended_at - timedelta(minutes=10)
        _, third_id = decide(story, credits.correct, second_id, "cli:bob", WHY, ended_at=ended_at)
        third = record_of(story, third_id)
        assert (third.energy_mwh, third.ended_at, third.corrects) == (300_000, ended_at, second_id)
        decide(story, credits.correct, third_id, "cli:bob", WHY, energy_mwh=1)
        assert (standing(story).energy_mwh, standing(story).ended_at) == (1, ended_at)
        transaction = story.transaction()
        assert (transaction.energy_mwh, transaction.ended_at) == (400_000, first.ended_at)
        # What was issued and taken back adds up to what stands.
        assert sum(row.total_incl_vat for row in story.rows(ChargeRecord)) == standing(story).total_incl_vat
        assert credit_id != second_id


@only_sqlite
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "nothing was changed"),
        ({"energy_mwh": 400_000}, "nothing was changed"),
        ({"energy_mwh": -1}, "not negative"),
        ({"ended_at": NOON - timedelta(days=1)}, "before it starts"),
        ({"ended_at": NOON + timedelta(days=30)}, "in the future"),
        ({"ended_at": NOON}, "no energy passes in no time"),
    ],
)
async def test_what_cannot_have_been_corrects_nothing(database: Database, changes: dict[str, Any], why: str) -> None:
    async with told(database) as story:
        record = await billed(story)
        with pytest.raises(InvalidCorrection, match=why):
            decide(story, credits.correct, record.id, ANN, WHY, **changes)
        assert len(story.rows(ChargeRecord)) == 1


@only_sqlite
async def test_a_correction_that_nobody_would_pay_takes_nothing_back(database: Database) -> None:
    async with told(database) as story:
        record = await billed(story)
        with database.write() as connection:
            connection.execute(Transaction.__table__.update().values(owner_id=None, token_id=None))
        with pytest.raises(NotBillable):
            decide(story, credits.correct, record.id, ANN, WHY, energy_mwh=1)
        assert (len(story.rows(ChargeRecord)), facts(story, "charge_record_credited")) == (1, [])


async def test_a_bill_by_the_wrong_tariff_is_made_anew_by_the_right_one(database: Database) -> None:  # CD-08, TA-18
    dearer = [{"price_components": [{"type": "ENERGY", "price": "0.5", "vat": "20.0", "step_size": 1}]}]
    async with told(database) as story:
        first = await billed(story)
        with database.write() as connection:
            connection.execute(update(Tariff).values(current=False))
        story.tariff(dearer, version=2)
        story.tariff(id="other", currency="CHF")
        for wrong, why in (("nothing", "there is no tariff nothing of BE*BEC"), (None, "nothing was changed")):
            with pytest.raises(InvalidCorrection, match=re.escape(why)):
                decide(story, credits.correct, first.id, ANN, WHY, tariff=wrong)
        _, second_id = decide(story, credits.correct, first.id, ANN, WHY, tariff="Standard-AC")
        second = record_of(story, second_id)
        assert (second.tariff_row, second.total_excl_vat, second.energy_mwh) == (2, Decimal("0.2"), first.energy_mwh)
        assert second.snapshot["tariff"] == {"tariff_id": "standard-ac", "version": 2}
        assert second.snapshot["adjustment"]["before"] == {"tariff": {"tariff_id": "standard-ac", "version": 1}}
        with pytest.raises(InvalidCorrection, match="nothing was changed"):
            decide(story, credits.correct, second_id, ANN, WHY, tariff="standard-ac")
        _, third_id = decide(story, credits.correct, second_id, ANN, WHY, energy_mwh=100_000)
        assert record_of(story, third_id).total_excl_vat == Decimal("0.05")  # what was corrected before stays so
        assert story.transaction().tariff_row == 1
        again = list(rebill(database, NOON, story.now + timedelta(days=1)))
        assert {one.outcome for one in again} == {Outcome.SAME}


async def test_a_bill_whose_samples_are_deleted_is_not_silently_made_of_less(database: Database) -> None:  # CD-08
    """A second less would else spread its energy evenly, over hours that cost more."""
    async with told(database) as story:
        await ready(story)
        number = (await story.start()).transaction_id
        story.pass_time(minutes=9)
        await story.sample(number, 1900)
        story.pass_time(minutes=31)
        await story.end(number, 2_000_000)
        bill_all(story.database)
        story.pass_time(hours=1)
        (first,) = story.rows(ChargeRecord)
        with database.write() as connection:
            connection.execute(delete(MeterSampleRow))
        sooner = {"ended_at": first.ended_at - timedelta(seconds=1)}
        with pytest.raises(InvalidCorrection, match=r"the samples .* deleted by their age"):
            decide(story, credits.correct, first.id, ANN, WHY, **sooner)
        assert standing(story).id == first.id
        decide(story, credits.correct, first.id, ANN, WHY, energy_mwh=900_000, **sooner)
        assert standing(story).energy_mwh == 900_000


# ---- refunds --------------------------------------------------------------------------------------------------------


async def test_a_refund_in_full_credits_the_bill(database: Database) -> None:  # E05
    async with told(database) as story:
        record = await billed(story, reason=StopReason.POWER_LOSS)
        (refund,) = story.rows(RefundEvaluation)
        credit_id, other = decide(story, credits.pay_back, refund.id, ANN, WHY)
        assert (other, standing(story)) == (None, None)
        assert record_of(story, credit_id).credit_reference_id == record.id
        (refund,) = story.rows(RefundEvaluation)
        assert (refund.state, refund.decided_by, refund.decision) == ("granted", ANN, WHY)
        with pytest.raises(NotCreditable):
            decide(story, credits.pay_back, refund.id, ANN, WHY)
        with pytest.raises(refunds.UnknownRefund):
            decide(story, credits.pay_back, 99, ANN, WHY)


async def test_a_refund_in_part_lowers_the_total_and_says_so(database: Database) -> None:  # E05, CD-22
    async with told(database) as story:
        record = await billed(story, reason=StopReason.POWER_LOSS)
        (refund,) = story.rows(RefundEvaluation)
        for amount in ("0", "-1", "0.13", "0.00001", "NaN", "Infinity"):
            with pytest.raises(InvalidCorrection):
                decide(story, credits.pay_back, refund.id, ANN, WHY, amount=Decimal(amount))
        _, lower_id = decide(story, credits.pay_back, refund.id, ANN, WHY, amount=Decimal("0.03"))
        lower, original = cdr(story, lower_id), cdr(story, record.id)
        assert lower["total_cost"] == {"excl_vat": Decimal("0.075"), "incl_vat": Decimal("0.09")}
        assert lower["remark"] == "0.03 EUR incl. VAT was paid back"
        assert lower["total_energy_cost"] == original["total_energy_cost"]
        assert lower["charging_periods"] == original["charging_periods"]
        kept = record_of(story, lower_id)
        assert sum(Decimal(line["incl_vat"]) for line in kept.lines) == kept.total_incl_vat
        assert sum(Decimal(line["excl_vat"]) for line in kept.lines) == kept.total_excl_vat
        assert standing(story).id == lower_id


@only_sqlite
async def test_a_refund_that_is_only_granted_leaves_the_bill(database: Database) -> None:  # E05
    async with told(database) as story:
        record = await billed(story, reason=StopReason.POWER_LOSS)
        (refund,) = story.rows(RefundEvaluation)
        decide(story, refunds.grant, refund.id, ANN, WHY)
        assert standing(story).id == record.id


async def test_what_was_paid_back_stays_so_when_the_bill_is_corrected(database: Database) -> None:  # E05, CD-08
    async with told(database) as story:
        await billed(story, reason=StopReason.POWER_LOSS)
        (refund,) = story.rows(RefundEvaluation)
        _, lower_id = decide(story, credits.pay_back, refund.id, ANN, WHY, amount=Decimal("0.03"))
        _, next_id = decide(story, credits.correct, lower_id, ANN, WHY, energy_mwh=200_000)
        corrected = record_of(story, next_id)
        assert (corrected.total_incl_vat, corrected.total_excl_vat) == (Decimal("0.03"), Decimal("0.025"))
        assert cdr(story, next_id)["remark"] == "0.03 EUR incl. VAT was paid back"
        _, last_id = decide(story, credits.correct, next_id, ANN, WHY, energy_mwh=1)
        assert (record_of(story, last_id).total_incl_vat, record_of(story, last_id).total_excl_vat) == (0, 0)


async def test_what_was_paid_back_is_remembered_by_a_bill_that_was_less(database: Database) -> None:  # E05, CD-08
    async with told(database) as story:
        await billed(story, reason=StopReason.POWER_LOSS)
        (refund,) = story.rows(RefundEvaluation)
        _, last = decide(story, credits.pay_back, refund.id, ANN, WHY, amount=Decimal("0.03"))
        found = []
        for energy_mwh in (50_000, 0, 400_000):
            _, last = decide(story, credits.correct, last, ANN, WHY, energy_mwh=energy_mwh)
            found.append(record_of(story, last).total_incl_vat)
        assert found == [0, 0, Decimal("0.09")]
        again = list(rebill(database, NOON, story.now + timedelta(days=1)))
        assert {one.outcome for one in again} == {Outcome.SAME}


async def test_a_correction_and_a_refund_at_one_moment_do_not_wait_for_each_other(database: Database) -> None:  # CD-32
    async with told(database) as story:
        await ready(story)
        for _ in range(6):
            await charge(story, held=False, reason=StopReason.POWER_LOSS)
            story.pass_time(minutes=5)
        bill_all(story.database)
        records = {record.transaction_id: record.id for record in story.rows(ChargeRecord)}

        def at_once(verb: Any, *about: Any, **more: Any) -> bool:
            try:
                decide(story, verb, *about, ANN, WHY, **more)
            except NotCreditable:
                return False
            return True

        for refund in story.rows(RefundEvaluation):
            record = records[refund.transaction_id]
            first, second = await asyncio.gather(
                asyncio.to_thread(at_once, credits.correct, record, energy_mwh=1),
                asyncio.to_thread(at_once, credits.pay_back, refund.id),
            )
            assert first or second
            taken_back = story.rows(ChargeRecord, ChargeRecord.credit_reference_id == record)
            assert len(taken_back) == 1


async def test_an_open_refund_follows_what_becomes_of_its_bill(database: Database) -> None:  # E05
    def refund(story: Story) -> Any:
        (row,) = story.rows(RefundEvaluation)
        return row.total_incl_vat, row.currency, row.energy_mwh, row.suggestion, row.state

    async with told(database) as story:
        record = await billed(story, reason=StopReason.POWER_LOSS)
        assert refund(story) == (Decimal("0.12"), "EUR", 400_000, "none", "open")
        _, corrected = decide(story, credits.correct, record.id, ANN, WHY, energy_mwh=50_000)
        assert refund(story) == (Decimal("0.015"), "EUR", 50_000, "full", "open")
        decide(story, credits.credit, corrected, ANN, WHY)
        assert refund(story) == (None, None, 50_000, "none", "open")


# ---- the day adds up ------------------------------------------------------------------------------------------------


async def test_credits_and_corrections_are_accounted_for(database: Database) -> None:  # E11
    async with told(database) as story:
        await ready(story)
        for _ in range(3):
            await charge(story, held=False)
            story.pass_time(minutes=5)
        bill_all(story.database)
        _, second, third = story.rows(ChargeRecord)
        decide(story, credits.credit, second.id, ANN, WHY)
        _, corrected = decide(story, credits.correct, third.id, ANN, WHY, energy_mwh=1)
        with database.read() as connection:
            day = reviews.daily_balance(connection, NOON.date())
        nothing: dict[str, Any] = {"in_review": 0, "written_off": 0, "exempt": 0, "unexplained": 0, "held": {}}
        assert day == Balance(closed=3, billed=1, corrected=1, credited=1, **nothing)
        decide(story, credits.credit, corrected, ANN, WHY)
        with database.read() as connection:
            day = reviews.daily_balance(connection, NOON.date())
            ids = connection.execute(select(ChargeRecord.id)).scalars().all()
        assert day == Balance(closed=3, billed=1, corrected=0, credited=2, **nothing)
        assert len(ids) == 7
