"""A bill tells each of its lines: which element, from which periods and samples, by which rules; also a credit's and a
correction's."""

from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from csms import credits, reviews
from csms.billing.explanation import Explanation, as_json, explain, explanation_of, in_words
from csms.billing.explanation_text import as_lines
from csms.billing.pricing import Rounding
from csms.billing.roundings import keep
from csms.credits import UnknownRecord
from csms.database import Database
from csms.events import ConnectorStatus, StopReason
from csms.models import ChargeRecord, MeterSampleRow, RefundEvaluation, Review, Tariff
from tests.csms.billing.test_charge_records import bill_all, charge, ready
from tests.csms.core_story import Story, told

ANN, WHY = "cli:ann", "photo of the meter"


def part(type_: str, price: str, step_size: int = 1, vat: str | None = "20") -> dict[str, Any]:
    return {"type": type_, "price": price, "vat": vat, "step_size": step_size}


NIGHT_STEPS_AND_PARKING = [
    {"price_components": [part("ENERGY", "0.20")], "restrictions": {"start_time": "22:00", "end_time": "06:00"}},
    {"price_components": [part("ENERGY", "0.50", 500)], "restrictions": {"min_kwh": "2"}},
    {
        "price_components": [
            part("FLAT", "0.5"),
            part("ENERGY", "0.4", 500),
            part("TIME", "1.2", vat=None),
            part("PARKING_TIME", "6", 300),
        ]
    },
]


def explained(story: Story, record_id: str | None = None) -> Explanation:
    with story.database.read() as connection:
        return explain(connection, record_id or story.rows(ChargeRecord)[0].id)


async def parked(story: Story) -> None:
    """2.5 kWh in twenty minutes, sampled every four; then seven minutes in which the car asks for nothing."""
    number = (await story.start()).transaction_id
    for sample in range(1, 6):
        story.pass_time(minutes=4)
        await story.sample(number, 1000 + 500 * sample)
    await story.status(ConnectorStatus.SUSPENDED_EV)
    story.pass_time(minutes=7)
    await story.end(number, 3_500_000)
    bill_all(story.database)


async def test_each_line_is_traced_to_its_element_periods_and_samples(database: Database) -> None:
    async with told(database) as story:
        await ready(story, tariff=NIGHT_STEPS_AND_PARKING)
        await parked(story)
        it = explained(story)
        (record,) = story.rows(ChargeRecord)
        lines = {(line.dimension, line.price): line for line in it.lines}
        assert [line.dimension for line in it.lines] == ["FLAT", "ENERGY", "ENERGY", "TIME", "PARKING_TIME"]
        above = lines["ENERGY", "0.50"]
        assert above.why == "element 2 is the first that prices ENERGY and applied: from 2 kWh of the session on"
        assert above.passed_over == ["element 1: from 22:00 to before 06:00"]
        assert above.steps is None
        parking = lines["PARKING_TIME", "6"]
        assert parking.steps is not None
        assert parking.steps.startswith(
            "0.116667 h were measured; the session's total is billed in whole steps of 300 s"
        )
        assert (parking.quantity, parking.excl_vat, parking.vat) == ("0.166667", "1.0000", "20 % VAT")
        assert lines["TIME", "1.2"].vat == "no VAT applies"
        assert sum(Decimal(line.excl_vat) for line in it.lines) == Decimal(it.total_excl_vat) == record.total_excl_vat

        # Of every period the readings that lie in it, and how the energy at its end was found.
        events = {row.event_id: row for row in story.rows(MeterSampleRow)}
        readings = [sample for period in it.periods for sample in period.samples]
        assert [(one.at[11:19], one.register_kwh) for one in readings] == [
            ("14:04:00", "1.5"),
            ("14:08:00", "2"),
            ("14:12:00", "2.5"),
            ("14:16:00", "3"),
            ("14:20:00", "3.5"),
        ]
        assert {one.event for one in readings} == events.keys()
        quarter, tier, charged, paused = it.periods
        assert quarter.cut == (
            "1.875 kWh had passed, interpolated between 1.5 kWh at 2026-06-01 14:12:00+02:00 (the register showed 2.5 kWh) "
            "and 2 kWh at 2026-06-01 14:16:00+02:00 (the register showed 3 kWh)"
        )
        assert (tier.end, charged.end) == ("2026-06-01 14:16:00+02:00", "2026-06-01 14:20:00+02:00")
        assert (paused.state, paused.energy_kwh) == ("parked: the car asked for no power", "0")
        assert [line.periods for line in it.lines] == [[1], [1, 2], [3], [1, 2, 3], [4]]
        start, end = it.boundaries
        assert (start.rule, start.register_kwh, end.register_kwh) == ("charger", "1", "3.5")
        assert any("the EVSE told suspended_ev" in note for note in it.notes)


async def test_people_read_it_as_lines(database: Database) -> None:
    async with told(database) as story:
        await ready(story, tariff=NIGHT_STEPS_AND_PARKING)
        await parked(story)
        text = "\n".join(as_lines(explained(story)))
        for words in (
            "2.5 kWh in 0:27:00, of which parked 0:07:00",
            "priced by tariff standard-ac, version 1; times are those of Europe/Brussels",
            "2. ENERGY: 2 kWh x 0.4 = 0.8000; 20 % VAT: 0.9600",
            "passed over, for it did not hold then: element 1: from 22:00 to before 06:00",
            "from periods 1-2",
            "4 decimals, half up; each line is the difference of two rounded running sums",
            "14:16:00+02:00 the register showed 3 kWh (event ",
        ):
            assert words in text, text
        assert "None" not in text


async def test_it_is_told_from_what_was_kept_with_the_record_alone(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        await charge(story)
        bill_all(database)
        before = explained(story)
        with database.write() as connection:
            connection.execute(MeterSampleRow.__table__.delete())  # type: ignore[attr-defined]
            keep(connection, {"EUR": Rounding(0, to_even=True)})
        assert explained(story) == before


async def test_how_money_was_rounded_is_said(database: Database) -> None:  # TC-27
    async with told(database) as story:
        with database.write() as connection:
            keep(connection, {"EUR": Rounding(1, to_even=True)})
        await ready(story)
        await charge(story, 50)
        bill_all(database)
        it = explained(story)
        assert (it.total_excl_vat, it.total_incl_vat) == ("0.1", "0.2")  # of 0.125 and 0.15
        assert it.rounding.startswith("amounts in EUR have 1 decimals, half to the even digit")


async def test_a_credit_a_correction_and_the_bill_between_them_tell_of_each_other(database: Database) -> None:  # CD-07
    async with told(database) as story:
        await ready(story)
        await charge(story)
        bill_all(database)
        (first,) = story.rows(ChargeRecord)
        with database.write() as connection:
            words = (connection, first.id, ANN, WHY, story.now)
            credit_id, second_id = credits.correct(
                *words, energy_mwh=300_000, ended_at=first.ended_at - timedelta(minutes=10)
            )
        assert f"It was taken back by {credit_id} ({ANN}: {WHY})." in explained(story, first.id).notes
        credit = explained(story, credit_id)
        assert credit.kind == f"a credit: it takes back {first.id}"
        assert (credit.total_excl_vat, credit.lines) == ("-0.1000", explained(story, first.id).lines)
        assert credit.notes[0].startswith(f"The lines are those of {first.id}; its totals are negated")
        second = explained(story, second_id)
        assert second.kind == f"a corrected bill, in the place of {first.id}"
        assert f"{ANN} corrected it ({WHY}): energy from 0.4 kWh to 0.3 kWh, end from " in " ".join(second.notes)
        assert (second.boundaries[1].why, second.boundaries[0].rule) == ("a person corrected it", "charger")
        assert [period.samples for period in second.periods] == [[], []]
        story.tariff(id="cheap")
        with database.write() as connection:
            _, third_id = credits.correct(connection, second_id, ANN, WHY, story.now, tariff="cheap")
        third = explained(story, third_id)
        assert third.tariff == "cheap, version 1"
        assert "tariff from standard-ac, version 1 to cheap, version 1" in " ".join(third.notes)
        for one in (credit, second, third):
            assert "None" not in "\n".join(as_lines(one))


async def test_what_was_paid_back_is_a_line_of_its_own(database: Database) -> None:  # E05
    async with told(database) as story:
        await ready(story)
        await charge(story, reason=StopReason.POWER_LOSS)
        bill_all(database)
        (refund,) = story.rows(RefundEvaluation)
        with database.write() as connection:
            _, lower = credits.pay_back(connection, refund.id, ANN, WHY, story.now, amount=Decimal("0.03"))
        it = explained(story, lower)
        assert (it.lines[-1].dimension, it.lines[-1].incl_vat) == ("REFUND", "-0.03")
        assert it.lines[-1].why == "it was paid back by a person's decision"
        assert "0.03 EUR incl. VAT was paid back." in it.notes


async def test_what_changes_the_total_alone_is_no_product_and_has_no_rate(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        with database.write() as connection:
            connection.execute(update(Tariff).values(details={"min_price": {"excl_vat": "5"}}))
        await charge(story, reason=StopReason.POWER_LOSS)
        bill_all(database)
        (refund,) = story.rows(RefundEvaluation)
        with database.write() as connection:
            _, lower = credits.pay_back(connection, refund.id, ANN, WHY, story.now, amount=Decimal("1.5"))
        text = "\n".join(as_lines(explained(story, lower)))
        assert "  1. ENERGY: 0.4 kWh x 0.25 = 0.1000; 20.0 % VAT: 0.1200\n" in text
        assert "  2. MIN_PRICE: 4.9000; with VAT: 5.8800\n" in text
        assert "  3. REFUND: -1.2500; with VAT: -1.5\n" in text


async def test_a_correction_back_to_the_first_measure_says_so(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        story.tariff(id="cheap")
        await charge(story)
        bill_all(database)
        (first,) = story.rows(ChargeRecord)
        with database.write() as connection:
            _, second = credits.correct(connection, first.id, ANN, WHY, story.now, tariff="cheap")
            _, third = credits.correct(connection, second, ANN, WHY, story.now, tariff="standard-ac")
        assert f"{ANN} corrected it ({WHY}): back to what it was at first." in explained(story, third).notes


async def test_a_bill_that_waited_says_for_what_and_who_decided(database: Database) -> None:  # E12
    async with told(database) as story:
        await ready(story)
        await charge(story, violations=("meterStop",))
        bill_all(database)
        (review,) = story.rows(Review)
        with database.write() as connection:
            reviews.release(connection, review.id, ANN, WHY, story.now)
        it = explained(story)
        assert f"It waited for a person (schema_violation); released by {ANN}: {WHY}." in it.notes
        assert "Flags: schema_violation." in it.notes


async def test_a_record_of_before_says_what_was_not_kept(database: Database) -> None:
    async with told(database) as story:
        await ready(story)
        await charge(story)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        old_line = {name: record.lines[0][name] for name in ("dimension", "quantity", "unit", "price", "vat")}
        old_line |= {"excl_vat": "0.1000", "incl_vat": "0.1200", "period_start": "2026-06-01T12:00:00Z"}
        old = SimpleNamespace(**{**record._mapping, "evidence": None, "lines": [old_line]})
        it = explanation_of(old, None, None, None)
        assert it.notes[0] == "It was made before records kept their evidence."
        assert (it.tariff, it.lines[0].why) == (None, "was not kept with this record")
        assert as_json(it)["periods"][0]["samples"] == []
        assert as_lines(it)


def test_there_is_nothing_to_say_of_no_record(database: Database) -> None:
    with database.read() as connection, pytest.raises(UnknownRecord):
        explain(connection, "nothing")


@pytest.mark.parametrize(
    ("restrictions", "words"),
    [
        (None, "always"),
        ({}, "always"),
        ({"day_of_week": []}, "always"),
        ({"day_of_week": ["SUNDAY", "monday"]}, "on Monday, Sunday"),
        ({"start_time": "22:00"}, "from 22:00 to before 24:00"),
        ({"end_time": "06:00"}, "from 00:00 to before 06:00"),
        ({"start_date": "2026-06-01", "end_date": "2026-07-01"}, "since 2026-06-01 and before 2026-07-01"),
        ({"min_kwh": 2, "max_kwh": "10"}, "from 2 to below 10 kWh of the session"),
        ({"max_duration": 600}, "below 600 s after its start"),
        ({"min_current": 16}, "from 16 A over all phases on"),
        ({"max_power": "7.4"}, "below 7.4 kW"),
        ({"reservation": "RESERVATION_EXPIRES"}, "for a reservation that nobody used"),
        ({"min_kwh": 1, "moonlight": True}, "from 1 kWh of the session on, moonlight True"),
    ],
)
def test_restrictions_are_said_as_people_say_them(restrictions: Any, words: str) -> None:
    assert in_words(restrictions) == words
