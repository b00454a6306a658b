"""Each currency is rounded as its operator says, in the running session, the bill, the CDR and what is paid back."""

from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from adapters.cdrs import cdr_to_ocpi
from adapters.sessions import session_to_ocpi
from csms import credits
from csms.billing.pricing import TO_FOUR_DECIMALS, Rounding
from csms.billing.roundings import keep, kept, rounding_of
from csms.credits import InvalidCorrection
from csms.database import Database
from csms.events import StopReason
from csms.models import ChargeRecord, MoneyRounding, RefundEvaluation, Tariff
from tests.csms.billing.test_charge_records import bill_all, charge, price_now
from tests.csms.core_story import Story, told

YEN = [{"price_components": [{"type": "ENERGY", "price": "31.25", "vat": "10", "step_size": 1}]}]


async def ready(story: Story, currency: str, elements: Any) -> None:
    story.site("CP1")
    story.tariff(elements, currency=currency)
    story.card(owner_id=7, country_code="NL", party_id="TNM")
    await story.boot()


async def test_what_is_said_of_a_currency_holds_for_it_alone(database: Database) -> None:  # TC-27
    with database.write() as connection:
        keep(connection, {"EUR": Rounding(2), "JPY": Rounding(0)})
        keep(connection, {"JPY": Rounding(0), "HUF": Rounding(2, to_even=True)})
        found = {name: rounding_of(connection, name) for name in ("EUR", "JPY", "HUF")}
        assert found == {"EUR": TO_FOUR_DECIMALS, "JPY": Rounding(0), "HUF": Rounding(2, to_even=True)}
        assert len(connection.execute(select(MoneyRounding.currency)).all()) == 2


@pytest.mark.parametrize(
    ("rounding", "excl_vat", "incl_vat"),  # of 12.5 and 13.75
    [
        (None, "12.5000", "13.7500"),
        (Rounding(0), "13", "14"),
        (Rounding(0, to_even=True), "12", "14"),
        (Rounding(1, to_even=True), "12.5", "13.8"),
    ],
)
async def test_a_bill_its_session_and_its_cdr_have_the_digits_of_their_currency(
    database: Database, rounding: Rounding | None, excl_vat: str, incl_vat: str
) -> None:  # TC-27, TC-28
    async with told(database) as story:
        with database.write() as connection:
            keep(connection, {} if rounding is None else {"JPY": rounding})
        await ready(story, "JPY", YEN)
        await charge(story)
        bill_all(database)
        (record,) = story.rows(ChargeRecord)
        assert (format(record.total_excl_vat, "f"), format(record.total_incl_vat, "f")) == (excl_vat, incl_vat)
        assert kept(record) == (rounding or TO_FOUR_DECIMALS)
        total = {"excl_vat": Decimal(excl_vat), "incl_vat": Decimal(incl_vat)}
        assert cdr_to_ocpi(record, story.rows(Tariff)[0], story.transaction())["total_cost"] == total
        assert session_to_ocpi(story.transaction(), *price_now(story))["total_cost"] == total


async def test_money_is_paid_back_in_the_digits_of_the_bill(database: Database) -> None:  # E05
    async with told(database) as story:
        with database.write() as connection:
            keep(connection, {"JPY": Rounding(0)})
        await ready(story, "JPY", YEN)
        await charge(story, reason=StopReason.POWER_LOSS)
        bill_all(database)
        (refund,) = story.rows(RefundEvaluation)
        with database.write() as connection:
            keep(connection, {})
            words = (connection, refund.id, "cli:ann", "the grid was down", story.now)
            with pytest.raises(InvalidCorrection):
                credits.pay_back(*words, amount=Decimal("1.5"))
            _, lower = credits.pay_back(*words, amount=Decimal(5))
        (record,) = story.rows(ChargeRecord, ChargeRecord.id == lower)
        assert (record.total_excl_vat, record.total_incl_vat) == (8, 9)  # 13 less 4.64, 14 less 5
