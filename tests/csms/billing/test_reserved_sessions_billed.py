"""A reservation that was used is on the bill of its charge, if its tariff has a price for that and its payer asked for it."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import delete

from adapters.cdrs import cdr_to_ocpi
from adapters.sessions import session_patch, session_to_ocpi
from csms import credits
from csms.billing.charge_records import session_price
from csms.billing.explanation import explain
from csms.billing.explanation_text import as_lines
from csms.billing.rebill import Outcome
from csms.database import Database
from csms.models import ChargeRecord, Reservation, Review, Tariff
from tests.adapters.field_tables import problems
from tests.csms.billing.test_charge_records import bill_all
from tests.csms.billing.test_rebill import outcomes
from tests.csms.core_story import NOON, Story, told
from tests.csms.test_reservations import CARD, LATER, apply, cancel, carried, reserve


def part(type_: str, price: str, step_size: int = 1) -> dict[str, Any]:
    return {"type": type_, "price": price, "vat": "20", "step_size": step_size}


SESSION = {"price_components": [part("FLAT", "0.5"), part("ENERGY", "0.25"), part("TIME", "1", 0)]}
WHEN_USED = {
    "price_components": [part("FLAT", "2"), part("TIME", "5", 300)],
    "restrictions": {"reservation": "RESERVATION"},
}
WHEN_NOT = {"price_components": [part("FLAT", "4")], "restrictions": {"reservation": "RESERVATION_EXPIRES"}}
RESERVABLE = [SESSION, WHEN_USED, WHEN_NOT]
FEE_AND_A_QUARTER = ["3.2500", "3.9000"]  # 2, and 15 minutes of 5 an hour


async def kept(story: Story, elements: list[dict[str, Any]] = RESERVABLE, *, minutes: int = 13, **wished: Any) -> None:
    """For partner 7, who asked for it, with its card, so many minutes ago."""
    story.site("CP1")
    story.tariff(elements)
    for uid in (CARD, "FAMILY-2"):
        story.card(uid, owner_id=7, country_code="NL", party_id="EMS", group_id="FAMILY")
    await story.boot()
    reserve(story, **{"owner_id": 7, "reference": "r-1", **wished})
    await carried(story)
    story.pass_time(minutes=minutes)


async def charged(story: Story, **start: Any) -> Any:
    """1 kWh in 36 minutes; its bill."""
    number = (await story.start(**{"reservation_id": 1, **start})).transaction_id
    story.pass_time(minutes=36)
    await story.end(number, 2_000_000)
    bill_all(story.database)
    (record,) = story.rows(ChargeRecord)
    return record


def as_session(story: Story) -> dict[str, Any]:
    with story.database.read() as connection:
        periods, price = session_price(connection, story.transaction())
    return session_to_ocpi(story.transaction(), periods, price)


def as_cdr(story: Story, record: Any) -> dict[str, Any]:
    (tariff,) = story.rows(Tariff, Tariff.id == record.tariff_row)
    return cdr_to_ocpi(record, tariff, story.transaction())


async def test_a_charge_pays_for_its_reservation_and_for_itself(
    database: Database,
) -> None:  # TC-26, CD-17, CD-18, CD-21
    async with told(database) as story:
        await kept(story)
        record = await charged(story)
        assert record.costs == {
            "fixed": ["0.5000", "0.6000"],
            "energy": ["0.2500", "0.3000"],
            "time": ["0.6000", "0.7200"],
            "parking": ["0.0000", "0.0000"],
            "reservation": FEE_AND_A_QUARTER,
        }
        assert (record.total_excl_vat, record.total_incl_vat) == (Decimal("4.6"), Decimal("5.52"))
        assert (record.started_at, record.duration_s) == (NOON + timedelta(minutes=13), 2160)

        cdr = as_cdr(story, record)
        assert problems(cdr, "CDR") == []
        assert (cdr["start_date_time"], cdr["end_date_time"]) == ("2026-06-01T12:00:00Z", "2026-06-01T12:49:00Z")
        assert cdr["charging_periods"][0] == {
            "start_date_time": "2026-06-01T12:00:00Z",
            "dimensions": [{"type": "RESERVATION_TIME", "volume": Decimal("0.2167")}],
            "tariff_id": "standard-ac",
        }
        assert cdr["charging_periods"][1]["start_date_time"] == "2026-06-01T12:13:00Z"
        assert cdr["total_time"] == Decimal("0.8167")  # 49 minutes
        assert cdr["total_reservation_cost"] == {"excl_vat": Decimal("3.25"), "incl_vat": Decimal("3.9")}
        assert cdr["total_fixed_cost"] == {"excl_vat": Decimal("0.5"), "incl_vat": Decimal("0.6")}
        assert cdr["total_cost"] == {"excl_vat": Decimal("4.6"), "incl_vat": Decimal("5.52")}
        assert cdr["session_id"] == story.transaction().id  # CD-12


async def test_the_running_session_shows_it_from_its_start(database: Database) -> None:  # TC-26, TC-28, SE-05
    async with told(database) as story:
        await kept(story)
        number = (await story.start(reservation_id=1)).transaction_id
        begun = as_session(story)
        assert problems(begun, "Session") == []
        assert begun["total_cost"]["excl_vat"] == Decimal("3.75")
        assert begun["start_date_time"] == "2026-06-01T12:13:00Z"
        (first,) = begun["charging_periods"]
        assert first["dimensions"] == [{"type": "RESERVATION_TIME", "volume": Decimal("0.2167")}]
        story.pass_time(minutes=36)
        await story.end(number, 2_000_000)
        bill_all(database)
        over = as_session(story)
        assert session_patch(begun, over) is not None  # nothing that was told is taken back
        cdr = as_cdr(story, story.rows(ChargeRecord)[0])
        assert (over["total_cost"], over["charging_periods"]) == (cdr["total_cost"], cdr["charging_periods"])


async def test_its_bill_explains_it_and_comes_to_the_same_again(database: Database) -> None:  # TC-26
    async with told(database) as story:
        await kept(story)
        record = await charged(story)
        assert outcomes(story) == [Outcome.SAME]
        with database.read() as connection:
            it = explain(connection, record.id)
        flat, time = (line for line in it.lines if line.dimension.startswith("RESERVATION_"))
        assert flat.why == "element 2 is the first that prices FLAT and applied: for a reservation"
        assert [*flat.passed_over, *time.passed_over] == []
        assert time.steps is not None
        assert "0.216667 h were measured; the reservation's total is billed in whole steps of 300 s" in time.steps
        note = "The EVSE was kept for it by reservation 1 from 2026-06-01 14:00:00+02:00 to 2026-06-01 14:13:00+02:00."
        assert f"  {note}" in as_lines(it)
        with database.write() as connection:
            later = record.started_at + timedelta(minutes=5)
            _, corrected = credits.correct(connection, record.id, "cli:ann", "late", story.now, started_at=later)
        assert outcomes(story) == [Outcome.SAME] * 3
        (new,) = story.rows(ChargeRecord, ChargeRecord.id == corrected)
        assert new.evidence["reservation"]["end"] == "2026-06-01T12:18:00Z"
        assert new.costs["reservation"][0] == "3.6667"  # 20 minutes
        with database.write() as connection:
            connection.execute(delete(Reservation))
        assert outcomes(story) == [Outcome.SAME] * 3  # it is kept with the session


@pytest.mark.parametrize("elements", [[SESSION], [SESSION, WHEN_NOT]])
async def test_a_tariff_without_a_price_for_it_makes_the_bill_it_made(
    database: Database, elements: list[dict[str, Any]]
) -> None:  # TC-25
    async with told(database) as story:
        await kept(story, elements)
        record = await charged(story)
        assert record.costs.keys() == {"fixed", "energy", "time", "parking"}
        assert "reservation" not in record.evidence
        assert record.total_excl_vat == Decimal("1.35")
        cdr = as_cdr(story, record)
        assert (cdr["start_date_time"], cdr["total_time"]) == ("2026-06-01T12:13:00Z", Decimal("0.6"))
        assert "total_reservation_cost" not in cdr
        assert outcomes(story) == [Outcome.SAME]


PAID: list[tuple[dict[str, Any], dict[str, Any], str | None]] = [
    # what was reserved, who starts, what is paid for it
    ({}, {"reservation_id": None}, "3.2500"),
    ({}, {"id_token": "FAMILY-2"}, "3.2500"),  # of the same group
    ({}, {"reservation_id": None, "evse": 2}, None),  # it was not used
    (
        {"minutes": 5},
        {"at": NOON - timedelta(minutes=2)},
        "2.0000",
    ),  # before it was granted, by the charger's clock: no time
    ({"expires_at": NOON + timedelta(minutes=12, seconds=30)}, {}, "3.2500"),  # kept until then
    ({"owner_id": None, "reference": None}, {}, None),  # the operator's doing: the partner asked for nothing
]


@pytest.mark.parametrize(("wished", "start", "paid"), PAID)
async def test_who_asked_for_it_pays_it_as_long_as_it_was_kept(
    database: Database, wished: dict[str, Any], start: dict[str, Any], paid: str | None
) -> None:  # TC-26
    async with told(database) as story:
        await kept(story, **wished)
        record = await charged(story, **start)
        assert record.costs.get("reservation", [None])[0] == paid
        assert problems(as_cdr(story, record), "CDR") == []


async def test_what_the_operator_keeps_for_its_own_card_is_paid_too(database: Database) -> None:  # TC-26
    async with told(database) as story:
        await kept(story, owner_id=None, reference=None)
        story.card("OWN")
        cancel(story, 1)
        await carried(story)
        reserve(story, token_id=3)
        await carried(story)
        story.pass_time(minutes=15)
        assert (await charged(story, id_token="OWN", reservation_id=2)).costs["reservation"] == FEE_AND_A_QUARTER


async def test_one_that_expired_before_its_start_was_told_is_paid_as_used(database: Database) -> None:  # TC-26, SE-11
    async with told(database) as story:
        await kept(story)
        story.now = LATER + timedelta(seconds=61)
        assert apply(story, "reservations") == 1
        story.pass_time(minutes=5)
        record = await charged(story, at=LATER - timedelta(minutes=1))
        assert record.evidence["reservation"] == {
            "number": 1,
            "start": "2026-06-01T12:00:00Z",
            "end": "2026-06-01T12:29:00Z",
        }
        assert record.costs["reservation"][0] == "4.5000"


async def test_one_that_was_cancelled_is_free_though_its_station_still_knew_it(database: Database) -> None:  # TC-26
    async with told(database) as story:
        await kept(story)
        cancel(story, 1)
        await carried(story)
        story.pass_time(minutes=1)
        record = await charged(story)
        assert story.rows(Reservation)[0].transaction_id == record.transaction_id
        assert "reservation" not in record.costs


async def test_a_restriction_that_nobody_can_judge_makes_no_price(database: Database) -> None:  # TC-11, TC-26
    async with told(database) as story:
        restrictions = {**WHEN_USED["restrictions"], "min_power": "11"}
        await kept(story, [{**WHEN_USED, "restrictions": restrictions}, SESSION])
        number = (await story.start(reservation_id=1)).transaction_id
        story.pass_time(minutes=36)
        await story.end(number, 2_000_000)
        bill_all(database)
        assert story.rows(ChargeRecord) == []
        assert story.rows(Review)[0].reasons == ["unsupported:min_power"]


# ---- that nobody used -----------------------------------------------------------------------------------------------


def unused(story: Story) -> int:
    return apply(story, "reservations_unused")


async def expired(story: Story, **days: float) -> None:
    await kept(story, minutes=40)
    apply(story, "reservations")
    story.pass_time(**(days or {"days": 1}))


async def test_one_that_nobody_used_is_billed_a_day_later_once(database: Database) -> None:
    """TC-25, TC-26, CD-11, CD-12, CD-18, CD-27"""
    async with told(database) as story:
        await expired(story, hours=23)
        assert unused(story) == 0
        story.pass_time(hours=1)
        assert (unused(story), unused(story)) == (1, 0)
        bill_all(story.database)
        (record,) = story.rows(ChargeRecord)
        assert (record.owner_id, record.energy_mwh, record.duration_s, record.periods) == (7, 0, 0, [])
        assert record.costs["fixed"] == ["0.0000", "0.0000"]
        assert record.costs["reservation"] == ["8.5000", "10.2000"]  # 2 and 4, and half an hour of 5
        (row,) = story.rows(Reservation)
        assert (row.state, row.transaction_id, row.public_id) == (
            "expired",
            record.transaction_id,
            record.transaction_id,
        )

        cdr = as_cdr(story, record)
        assert problems(cdr, "CDR") == []
        assert (cdr["start_date_time"], cdr["end_date_time"]) == ("2026-06-01T12:00:00Z", "2026-06-01T12:30:00Z")
        (period,) = cdr["charging_periods"]
        assert period["dimensions"] == [{"type": "RESERVATION_TIME", "volume": Decimal("0.5")}]
        assert (cdr["total_energy"], cdr["total_time"], cdr["session_id"]) == (0, Decimal("0.5"), row.public_id)
        assert (
            cdr["total_cost"]
            == cdr["total_reservation_cost"]
            == {"excl_vat": Decimal("8.5"), "incl_vat": Decimal("10.2")}
        )

        with database.read() as connection:
            assert any(
                "for a reservation that nobody used" in line for line in as_lines(explain(connection, record.id))
            )
        assert outcomes(story) == [Outcome.SAME]


async def test_who_comes_late_after_that_pays_for_the_charge_alone(database: Database) -> None:  # TC-26
    async with told(database) as story:
        await expired(story)
        unused(story)
        bill_all(story.database)
        number = (await story.start(reservation_id=1)).transaction_id
        story.pass_time(minutes=36)
        await story.end(number, 2_000_000)
        bill_all(story.database)
        alone, charge = sorted(story.rows(ChargeRecord), key=lambda record: record.energy_mwh)
        assert charge.transaction_id != alone.transaction_id
        assert "reservation" not in charge.costs


@pytest.mark.parametrize("elements", [[SESSION], [SESSION | {"restrictions": {"min_kwh": "1"}}]])
async def test_without_a_price_for_it_there_is_no_bill(database: Database, elements: list[dict[str, Any]]) -> None:
    async with told(database) as story:
        await kept(story, elements, minutes=40)
        apply(story, "reservations")
        story.pass_time(days=1)
        assert unused(story) == 0


async def test_one_that_was_cancelled_costs_nothing(database: Database) -> None:  # TC-26
    async with told(database) as story:
        await kept(story)
        cancel(story, 1)
        await carried(story)
        story.pass_time(days=2)
        assert unused(story) == 0
