"""The price function and a calculator that was written apart from it agree, on hundreds of tariffs and sessions.

`ROAMBRIDGE_TEST_TARIFFS` says on how many (`make fuzz`: twenty thousand); five hundred where nobody says.
"""

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csms.billing.pricing import price
from csms.billing.tariffs import Period, Tariff
from tests.csms.billing import naive
from tests.csms.billing.naive import Stretch

ZONES = ["Europe/Brussels", "America/New_York", "Australia/Lord_Howe", "UTC"]
# Near the hours at which clocks are set in these zones, midnight, a month's and a leap day's end.
BEGINNINGS = [
    datetime(2026, 3, 29, 0, 50, tzinfo=UTC),
    datetime(2026, 10, 25, 0, 50, tzinfo=UTC),
    datetime(2026, 3, 8, 6, 50, tzinfo=UTC),
    datetime(2026, 11, 1, 5, 50, tzinfo=UTC),
    datetime(2026, 4, 4, 14, 50, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 20, tzinfo=UTC),
    datetime(2028, 2, 28, 22, 50, tzinfo=UTC),
    datetime(2028, 2, 29, 22, 50, tzinfo=UTC),
    datetime(2026, 6, 1, 16, 50, tzinfo=UTC),
]
prices = st.sampled_from(["0", "0.00", "0.1", "0.25", "1.9", "12"])
TIMES = [f"{hour:02}:{minute:02}" for hour in range(24) for minute in (0, 5, 55)]
DATES = ["2026-03-08", "2026-03-29", "2026-06-01", "2026-10-25", "2028-02-29", "2028-03-01"]


@st.composite
def components(draw: st.DrawFn) -> dict[str, Any]:
    part = {
        "type": draw(st.sampled_from(["FLAT", "ENERGY", "ENERGY", "TIME", "TIME", "PARKING_TIME"])),
        "price": draw(prices),
        "step_size": draw(st.sampled_from([0, 1, 1, 60, 300, 500])),
    }
    vat = draw(st.sampled_from([None, "0", "5.2", "20"]))
    return part if vat is None else part | {"vat": vat}


RULES: dict[str, st.SearchStrategy[Any]] = {
    "start_time": st.sampled_from(TIMES),
    "end_time": st.sampled_from(TIMES),
    "start_date": st.sampled_from(DATES),
    "end_date": st.sampled_from(DATES),
    "day_of_week": st.lists(st.sampled_from(naive.DAYS), min_size=1, max_size=6, unique=True),
    "min_kwh": st.sampled_from(["0", "0.5", "1", "2.5"]),
    "max_kwh": st.sampled_from(["0.5", "1.25", "3"]),
    "min_duration": st.integers(0, 900),
    "max_duration": st.integers(1, 900),
    "min_power": st.sampled_from(["2", "7.4"]),
    "max_power": st.sampled_from(["5", "22"]),
    "min_current": st.sampled_from([16, 32]),
    "max_current": st.sampled_from([16, 32]),
}


@st.composite
def elements(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from(sorted(RULES)), max_size=3, unique=True))
    rules = {name: draw(RULES[name]) for name in names}
    parts = draw(st.lists(components(), min_size=1, max_size=3, unique_by=lambda part: part["type"]))
    return {"price_components": parts} | ({"restrictions": rules} if rules else {})


@st.composite
def tariffs(draw: st.DrawFn) -> dict[str, Any]:
    bounds = {}
    for name in ("min_price", "max_price"):
        if draw(st.integers(0, 3)) == 0:
            excl = Decimal(draw(st.sampled_from(["0.5", "1.5", "4"])))
            incl = draw(st.sampled_from([None, "1.1", "1.2"]))
            bounds[name] = {"excl_vat": str(excl)} | ({} if incl is None else {"incl_vat": str(excl * Decimal(incl))})
    return {"currency": "EUR", "elements": draw(st.lists(elements(), min_size=1, max_size=4)), **bounds}


@st.composite
def sessions(draw: st.DrawFn) -> list[Stretch]:
    at = draw(st.sampled_from(BEGINNINGS)) + timedelta(seconds=draw(st.integers(0, 900)))
    found = []
    for _ in range(draw(st.integers(1, 4))):
        seconds = draw(st.integers(1, 400))
        parking = draw(st.booleans())
        watts = 0 if parking else draw(st.sampled_from([0, 3_600, 7_200, 36_000]))
        found.append(
            Stretch(
                start=at,
                seconds=seconds,
                mwh=watts * seconds * 1000 // 3600,
                parking=parking,
                amps=Fraction(draw(st.sampled_from([0, 16, 31, 32, 48]))),
                watts=watts,
            )
        )
        at += timedelta(seconds=seconds)
    return found


def both(
    tariff: dict[str, Any], stretches: list[Stretch], zone: str
) -> tuple[tuple[Decimal, ...], tuple[Fraction, ...]]:
    periods = [
        Period(
            start=stretch.start,
            end=stretch.start + timedelta(seconds=stretch.seconds),
            energy_mwh=stretch.mwh,
            parking=stretch.parking,
            current_a=None if stretch.amps is None else Decimal(int(stretch.amps)),
            power_w=stretch.watts,
        )
        for stretch in stretches
    ]
    ours = price(Tariff.from_json(id="T", version=1, document=tariff), periods, zone)
    assert ours.unsupported == ()
    return (ours.total_excl_vat, ours.total_incl_vat), naive.total(tariff, stretches, zone)


ROUNDED = Fraction(1, 20_000)  # half of the last digit, and nothing else
HOW_MANY = int(os.environ.get("ROAMBRIDGE_TEST_TARIFFS", "500"))


@settings(
    max_examples=HOW_MANY, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(tariffs(), sessions(), st.sampled_from(ZONES))
def test_two_calculators_agree(tariff: dict[str, Any], stretches: list[Stretch], zone: str) -> None:  # TC-01 to TC-30
    tariff = json.loads(json.dumps(tariff))
    (excl, incl), (plain_excl, plain_incl) = both(tariff, stretches, zone)
    assert abs(Fraction(excl) - plain_excl) <= ROUNDED, (excl, float(plain_excl))
    assert abs(Fraction(incl) - plain_incl) <= ROUNDED, (incl, float(plain_incl))
