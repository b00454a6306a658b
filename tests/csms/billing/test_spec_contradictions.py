"""Where the printed examples contradict the rules, or one edition another: what is billed, decided once."""

from datetime import datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from csms.billing.pricing import Price, price
from csms.billing.tariffs import Period
from tests.csms.billing.test_pricing import CASES, tariff_of

BERLIN = "Europe/Berlin"
SATURDAY = datetime(2019, 1, 12, 13, 30, tzinfo=ZoneInfo(BERLIN))
MONDAY = datetime(2019, 1, 7, tzinfo=ZoneInfo(BERLIN))
COMPLEX, STEPS = "complex-weekday", "step-switch-1"  # the worked examples that have the specification's two tariffs


def period(start: datetime, minutes: int, *, parking: bool = False, current_a: int | None = None) -> Period:
    end = start + timedelta(minutes=minutes)
    amperes = None if current_a is None else Decimal(current_a)
    return Period(start=start, end=end, energy_mwh=0, parking=parking, current_a=amperes)


def cost(example: str, *periods: Period) -> Price:
    return price(tariff_of(CASES[example]), periods, BERLIN)


def test_the_saturday_of_the_complex_tariff_is_added_up_by_its_rules() -> None:  # ER-05: printed 12.28 and 13.861
    charged = period(SATURDAY, 114, current_a=43)
    total = cost(COMPLEX, charged, period(charged.end, 71, parking=True))
    assert (total.total_excl_vat, total.total_incl_vat) == (Decimal("12.3750"), Decimal("13.9750"))


def test_a_step_of_a_tenth_of_a_kwh_is_billed_as_the_prose_has_it() -> None:  # ER-06: 2.3.0's table leaves the step out
    whole = cost("energy-step-100wh", Period(start=MONDAY, end=MONDAY + timedelta(hours=1), energy_mwh=20_450_000))
    [energy] = [line for line in whole.lines if line.dimension == "ENERGY"]
    assert energy.quantity == Decimal("20.5")
    assert whole.total_excl_vat == Decimal("5.6250")


def test_parking_that_becomes_free_is_filled_up_before() -> None:  # ER-07: two editions print 0.80
    began = MONDAY.replace(hour=19, minute=40)
    charged = period(began, 12)
    paid = period(charged.end, 8, parking=True)
    total = cost(STEPS, charged, paid, period(paid.end, 12, parking=True))
    assert total.total_excl_vat == Decimal("0.7300")


def test_parked_is_who_asks_for_no_power_and_has_its_own_price() -> None:  # ER-08
    charged = period(MONDAY.replace(hour=10), 30)
    total = cost(STEPS, charged, period(charged.end, 30, parking=True))
    assert (total.seconds, total.parking_seconds) == (3600, 1800)
    assert (total.time_cost[0], total.parking_cost[0]) == (Decimal("0.6"), Decimal("0.5"))


def test_parking_takes_the_step_also_when_charging_follows_it() -> None:  # ER-09: the rule, not the reason given for it
    parked = period(MONDAY.replace(hour=10), 2, parking=True)
    total = cost(STEPS, parked, period(parked.end, 10))
    assert (total.time_cost[0], total.parking_cost[0]) == (Decimal("0.2"), Decimal("0.25"))
