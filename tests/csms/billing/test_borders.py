"""Sessions at the borders of days, hours, zones and meters, from samples to money."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.billing.periods import Frame
from csms.billing.pricing import TO_FOUR_DECIMALS, price
from csms.billing.restrictions import Restrictions
from csms.billing.sessions import Known, Priced, priced
from csms.billing.tariffs import Element, Period, PriceComponent, Tariff
from csms.events import MeterSample, SampledValue
from csms.lifecycle import Cause


def part(kind: str, amount: str, step_size: int = 0) -> PriceComponent:
    return PriceComponent(type=kind, price=Decimal(amount), vat=None, step_size=step_size)


def element(*parts: PriceComponent, **rules: Any) -> Element:
    return Element(price_components=parts, restrictions=Restrictions.from_json(rules))


def tariff(*elements: Element, **bounds: Any) -> Tariff:
    return Tariff(id="T", version=1, currency="EUR", elements=elements, type=None, **bounds)


def lasting(start: str, hours: float, kwh: str = "0", **told: Any) -> Period:
    at = datetime.fromisoformat(start)
    energy_mwh = int(Decimal(kwh) * 1_000_000)
    return Period(start=at, end=at + timedelta(hours=hours), energy_mwh=energy_mwh, **told)


def hours(of: Tariff, stretches: Sequence[Period], zone: str) -> dict[str, Decimal]:
    """Hours by price, of a tariff of TIME."""
    found: dict[str, Decimal] = {}
    for line in price(of, stretches, zone).lines:
        found[str(line.price)] = found.get(str(line.price), Decimal()) + line.quantity
    return {amount: quantity.normalize() for amount, quantity in found.items()}


# ---- days and zones -------------------------------------------------------------------------------------------------

BY_DAY = tariff(element(part("TIME", "2"), start_time="08:00", end_time="20:00"), element(part("TIME", "1")))
SUNDAYS = tariff(element(part("TIME", "5"), day_of_week=["SUNDAY"]), element(part("TIME", "1")))
OVER_MIDNIGHT = tariff(element(part("TIME", "3"), start_time="22:00", end_time="06:00"), element(part("TIME", "1")))


@pytest.mark.parametrize(
    ("start", "zone", "by_day", "by_night"),
    [
        (
            "2026-03-28T11:00+00:00",
            "Europe/Brussels",
            20,
            16,
        ),  # 8 h and 12 h of day; 23:00 is an hour nearer to morning
        ("2026-10-24T10:00+00:00", "Europe/Brussels", 20, 16),
        ("2026-03-07T17:00+00:00", "America/New_York", 20, 16),
        ("2026-10-31T16:00+00:00", "America/New_York", 20, 16),
        ("2026-06-01T06:30+00:00", "Asia/Kolkata", 20, 16),  # noon where no clock is ever set
    ],
)
def test_thirty_six_hours_from_noon_have_two_afternoons_and_a_night(
    start: str, zone: str, by_day: int, by_night: int
) -> None:  # TC-06, TC-30, XT-07
    assert hours(BY_DAY, [lasting(start, 36)], zone) == {"2": by_day, "1": by_night}


@pytest.mark.parametrize(
    ("start", "zone", "sundays"),
    [
        ("2026-06-06T20:00+00:00", "Europe/Brussels", 24),  # Saturday 22:00
        ("2026-03-28T21:00+00:00", "Europe/Brussels", 23),
        ("2026-10-24T20:00+00:00", "Europe/Brussels", 25),
        ("2026-06-06T16:30+00:00", "Asia/Kolkata", 24),  # half an hour past the hour everywhere
        ("2026-06-06T16:15+00:00", "Asia/Kathmandu", 24),
        ("2026-10-03T12:30+00:00", "Australia/Adelaide", 23),
        ("2026-10-03T11:30+00:00", "Australia/Lord_Howe", 23.5),  # its clocks are set by half an hour
        ("2026-04-04T11:00+00:00", "Australia/Lord_Howe", 24.5),
    ],
)
def test_a_weekday_that_begins_and_ends_inside_a_session_is_as_long_as_it_was(
    start: str, zone: str, sundays: float
) -> None:  # XT-07
    stretches = [lasting(start, 30)]
    assert hours(SUNDAYS, stretches, zone) == {"1": Decimal(str(30 - sundays)), "5": Decimal(str(sundays))}


@pytest.mark.parametrize(
    ("start", "zone", "at_night"),
    [
        ("2026-06-01T19:00+00:00", "Europe/Brussels", 8),  # 21:00 local
        ("2026-06-01T15:30+00:00", "Asia/Kolkata", 8),
        ("2026-03-28T20:00+00:00", "Europe/Brussels", 7),
        ("2026-10-24T19:00+00:00", "Europe/Brussels", 9),
    ],
)
def test_a_night_over_midnight_is_one_night(start: str, zone: str, at_night: int) -> None:  # TC-07, XT-07
    assert hours(OVER_MIDNIGHT, [lasting(start, 12)], zone) == {"3": at_night, "1": 12 - at_night}


def test_the_leap_day_is_a_day() -> None:  # TC-09
    leap = element(part("TIME", "7"), start_date="2028-02-29", end_date="2028-03-01")
    stretches = [lasting("2028-02-28T11:00+00:00", 48)]
    assert hours(tariff(leap, element(part("TIME", "1"))), stretches, "Europe/Brussels") == {"7": 24, "1": 24}


@pytest.mark.parametrize(
    ("start", "until", "dear"),
    [
        ("07:00", "08:00", "0"),  # its end is the first moment of the dear hours
        ("08:00", "09:00", "1"),
        ("19:00", "20:00", "1"),
        ("20:00", "21:00", "0"),  # it begins when they are over
        ("07:30", "08:30", "0.5"),
    ],
)
def test_a_session_that_touches_a_border_is_on_its_own_side(start: str, until: str, dear: str) -> None:  # TC-07
    at = datetime.fromisoformat(f"2026-06-01T{start}+00:00")
    end = datetime.fromisoformat(f"2026-06-01T{until}+00:00")
    told = hours(BY_DAY, [Period(start=at, end=end, energy_mwh=0)], "UTC")
    assert told.get("2", Decimal()) == Decimal(dear)


@pytest.mark.parametrize(("kwh", "paid"), [("1.999999", "1.999999"), ("2", "2"), ("2.000001", "2.000003"), ("3", "5")])
def test_a_tier_begins_with_the_first_mwh_above_it(kwh: str, paid: str) -> None:  # TC-10
    tiers = tariff(element(part("ENERGY", "1000"), max_kwh="2"), element(part("ENERGY", "3000")))
    result = price(tiers, [lasting("2026-06-01T10:00+00:00", 1, kwh)], "UTC")
    assert result.total_excl_vat == Decimal(paid) * 1000


# ---- no length, no energy, less than none ---------------------------------------------------------------------------

PLAIN = tariff(element(part("FLAT", "0.5"), part("ENERGY", "0.4"), part("TIME", "1.2"), part("PARKING_TIME", "6")))


def test_a_session_of_no_length_pays_its_start_and_its_energy() -> None:
    result = price(PLAIN, [lasting("2026-06-01T10:00+00:00", 0, "1")], "UTC")
    assert [(line.dimension, line.excl_vat) for line in result.lines] == [
        ("FLAT", Decimal("0.5000")),
        ("ENERGY", Decimal("0.4000")),
    ]


@pytest.mark.parametrize("at", [0, 1, 2])
def test_periods_of_no_length_change_no_price(at: int) -> None:
    stretches = [lasting("2026-06-01T10:00+00:00", 1, "5"), lasting("2026-06-01T11:00+00:00", 1, parking=True)]
    nothing = lasting(f"2026-06-01T{10 + at}:00+00:00", 0)
    whole = price(PLAIN, stretches, "UTC")
    assert price(PLAIN, [*stretches[:at], nothing, *stretches[at:]], "UTC").total_excl_vat == whole.total_excl_vat


START = datetime(2026, 6, 1, 10, tzinfo=UTC)


def frame(minute: float, wh: int, event_id: str = "") -> Frame:
    at = START + timedelta(minutes=minute)
    sample = MeterSample(occurred_at=at, values=(SampledValue(value=str(wh), unit="Wh"),))
    return Frame(received_at=at, occurred_at=at, samples=(sample,), event_id=event_id or f"at-{minute}")


def session(frames: Sequence[Frame], minutes: float, energy_wh: int, start_wh: int | None = 1000) -> Priced:
    transaction = SimpleNamespace(
        started_at=START,
        started_rule="charger",
        cause=Cause.LOCAL,
        ended_at=START + timedelta(minutes=minutes),
        last_sample_at=None,
        meter_start_mwh=None if start_wh is None else start_wh * 1000,
        energy_mwh=energy_wh * 1000,
        snapshot={},
    )
    return priced(transaction, Known(frames=frames, statuses=(), tariff=PLAIN, rounding=TO_FOUR_DECIMALS))


def test_a_register_that_steps_back_takes_nothing_back() -> None:  # E09
    found = session([frame(15, 3000), frame(30, 200), frame(45, 1200)], 60, 3000)
    assert [period.energy_mwh for period in found.price.periods] == [2_000_000, 0, 1_000_000, 0]
    assert found.price.energy_cost[0] == Decimal("1.2000")


registers = st.lists(st.tuples(st.integers(0, 90), st.integers(0, 5000)), max_size=10)


@settings(deadline=None)
@given(registers, st.integers(0, 90), st.integers(0, 20_000))
def test_whatever_a_meter_says_no_period_is_negative_and_all_energy_is_paid_once(
    shown: list[tuple[int, int]], minutes: int, energy_wh: int
) -> None:  # E09, CD-18
    found = session([frame(minute, wh) for minute, wh in shown], minutes, energy_wh).price
    assert min(period.energy_mwh for period in found.periods) >= 0
    assert sum(period.energy_mwh for period in found.periods) == energy_wh * 1000
    assert found.energy_cost[0] == Decimal(energy_wh) * Decimal("0.0004")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 89), st.integers(0, 900)), max_size=8, unique_by=lambda told: told[0]).flatmap(
        lambda told: st.tuples(st.just(sorted(told)), st.permutations(sorted(told)))
    )
)
def test_the_order_in_which_samples_arrive_changes_no_price(two: tuple[Any, Any]) -> None:
    in_time, arrived = two
    rising = {minute: 1000 + sum(wh for at, wh in in_time if at <= minute) for minute, _ in in_time}
    total = sum(wh for _, wh in in_time)
    frames = {minute: frame(minute, wh) for minute, wh in rising.items()}
    first = session([frames[minute] for minute, _ in in_time], 90, total)
    assert session([frames[minute] for minute, _ in arrived], 90, total).price == first.price


# ---- more is never less ---------------------------------------------------------------------------------------------

amounts = st.integers(0, 500).map(lambda cents: Decimal(cents) / 100)


@st.composite
def rising_tariffs(draw: st.DrawFn) -> Tariff:
    """Energy in tiers, each as dear as the one below or dearer, in steps of one size; other parts that energy leaves alone."""
    levels = sorted(draw(st.lists(st.integers(1, 30), max_size=3, unique=True)))
    prices = sorted(draw(st.lists(amounts, min_size=len(levels) + 1, max_size=len(levels) + 1)))
    step = draw(st.sampled_from([0, 1, 100, 500, 1000]))
    tiers = [
        element(part("ENERGY", str(amount), step), **({} if level is None else {"max_kwh": level}))
        for amount, level in zip(prices, [*levels, None], strict=True)
    ]
    bounds = {}
    for name in draw(st.lists(st.sampled_from(["min_price", "max_price"]), unique=True)):
        bounds[name] = (draw(amounts), None)
    return tariff(*tiers, element(part("FLAT", "0.5"), part("TIME", "1.2", 60)), **bounds)


@settings(max_examples=300, deadline=None)
@given(rising_tariffs(), st.integers(0, 40_000_000), st.integers(0, 10_000_000), st.integers(0, 7200))
def test_more_energy_never_costs_less_whatever_the_rising_tariff(
    of: Tariff, energy_mwh: int, more: int, seconds: int
) -> None:
    def cost(mwh: int) -> Decimal:
        stretch = Period(start=START, end=START + timedelta(seconds=seconds), energy_mwh=mwh)
        return price(of, [stretch], "UTC").total_excl_vat

    assert cost(energy_mwh) <= cost(energy_mwh + more)
