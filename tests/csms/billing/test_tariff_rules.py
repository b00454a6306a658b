"""Each rule of a tariff at its borders: inclusive and exclusive, over midnight, on the days that clocks are set."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from csms.billing.periods import periods
from csms.billing.pricing import Reservation, price, price_of
from csms.billing.restrictions import Moment, Restrictions, applies, clock_changes
from csms.billing.tariffs import Element, Period, PriceComponent, Tariff

BRUSSELS, NEW_YORK = ZoneInfo("Europe/Brussels"), ZoneInfo("America/New_York")


def moment(local: str, zone: ZoneInfo = BRUSSELS, **told: Any) -> Moment:
    at = datetime.fromisoformat(local).replace(tzinfo=zone)
    told = {name: Decimal(str(value)) for name, value in told.items()}
    return Moment(local=at, **{"energy_kwh": Decimal(0), "duration_s": Decimal(0), **told})


def restricted(**rules: Any) -> Restrictions | None:
    return Restrictions.from_json(rules)


CASES: list[tuple[dict[str, Any], Moment, bool | None]] = [
    # TC-07: inclusive start, exclusive end
    ({"start_time": "08:00", "end_time": "18:00"}, moment("2026-06-01T08:00"), True),
    ({"start_time": "08:00", "end_time": "18:00"}, moment("2026-06-01T07:59:59.999999"), False),
    ({"start_time": "08:00", "end_time": "18:00"}, moment("2026-06-01T17:59:59.999999"), True),
    ({"start_time": "08:00", "end_time": "18:00"}, moment("2026-06-01T18:00"), False),
    # over midnight
    ({"start_time": "22:00", "end_time": "06:00"}, moment("2026-06-01T23:59:59"), True),
    ({"start_time": "22:00", "end_time": "06:00"}, moment("2026-06-02T00:00"), True),
    ({"start_time": "22:00", "end_time": "06:00"}, moment("2026-06-02T06:00"), False),
    ({"start_time": "22:00", "end_time": "00:00"}, moment("2026-06-01T23:59:59"), True),
    ({"start_time": "22:00", "end_time": "24:00"}, moment("2026-06-01T23:59:59"), True),
    ({"start_time": "22:00", "end_time": "00:00"}, moment("2026-06-02T00:00"), False),
    # TC-08: a missing one is midnight, equal ones are the whole day, the weekday is that of the moment
    ({"start_time": "22:00"}, moment("2026-06-01T22:00"), True),
    ({"start_time": "22:00"}, moment("2026-06-01T21:59"), False),
    ({"end_time": "06:00"}, moment("2026-06-01T00:00"), True),
    ({"end_time": "06:00"}, moment("2026-06-01T06:00"), False),
    ({"start_time": "09:00", "end_time": "09:00"}, moment("2026-06-01T03:00"), True),
    ({"start_time": "22:00", "end_time": "06:00", "day_of_week": ["MONDAY"]}, moment("2026-06-01T05:00"), True),
    ({"start_time": "22:00", "end_time": "06:00", "day_of_week": ["MONDAY"]}, moment("2026-06-02T05:00"), False),
    # TC-09
    ({"start_date": "2026-06-01"}, moment("2026-05-31T23:59:59"), False),
    ({"start_date": "2026-06-01"}, moment("2026-06-01T00:00"), True),
    ({"end_date": "2026-06-01"}, moment("2026-05-31T23:59:59"), True),
    ({"end_date": "2026-06-01"}, moment("2026-06-01T00:00"), False),
    ({"start_date": "2028-02-29", "end_date": "2028-03-01"}, moment("2028-02-29T12:00"), True),
    ({"start_date": "2026-06-01", "start_time": "08:00"}, moment("2026-06-03T07:00"), False),
    # TC-10, TC-11, TC-12
    ({"min_kwh": 10}, moment("2026-06-01T12:00", energy_kwh="10"), True),
    ({"min_kwh": 10}, moment("2026-06-01T12:00", energy_kwh="9.999999"), False),
    ({"max_kwh": 10}, moment("2026-06-01T12:00", energy_kwh="10"), False),
    ({"min_duration": 600}, moment("2026-06-01T12:00", duration_s=600), True),
    ({"max_duration": 600}, moment("2026-06-01T12:00", duration_s=600), False),
    ({"min_current": 32}, moment("2026-06-01T12:00", current_a=32), True),
    ({"max_current": 32}, moment("2026-06-01T12:00", current_a=32), False),
    ({"min_power": "7.4"}, moment("2026-06-01T12:00", power_kw="7.4"), True),
    ({"max_power": "7.4"}, moment("2026-06-01T12:00", power_kw="7.4"), False),
    ({"min_current": 32}, moment("2026-06-01T12:00"), None),
    ({"min_current": 32, "min_kwh": 1}, moment("2026-06-01T12:00"), False),
    ({"min_current": 32, "max_power": 5}, moment("2026-06-01T12:00", power_kw=6), False),
    ({"moonlight": True}, moment("2026-06-01T12:00"), None),
    # TC-04
    ({"start_time": "08:00", "min_kwh": 1}, moment("2026-06-01T09:00"), False),
    ({"start_time": "08:00", "min_kwh": 1}, moment("2026-06-01T09:00", energy_kwh=1), True),
    ({"day_of_week": []}, moment("2026-06-01T09:00"), True),
]


@pytest.mark.parametrize(("rules", "at", "expected"), CASES)
def test_a_restriction_holds_from_its_start_to_before_its_end(  # TC-04, TC-07 to TC-12
    rules: dict[str, Any], at: Moment, expected: bool | None
) -> None:
    assert applies(restricted(**rules), at) is expected


@pytest.mark.parametrize("rules", [{"start_time": "25:00"}, {"day_of_week": ["FUNDAY"]}, {"min_kwh": "much"}])
def test_what_cannot_be_read_is_no_restriction(rules: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ArithmeticError)):
        Restrictions.from_json(rules)


# ---- local time on the days that clocks are set  # TC-06, TC-30 ------------------------------------------------------


def part(kind: str, amount: str, step_size: int = 0, vat: str | None = None) -> PriceComponent:
    return PriceComponent(
        type=kind, price=Decimal(amount), vat=None if vat is None else Decimal(vat), step_size=step_size
    )


def element(*parts: PriceComponent, **rules: Any) -> Element:
    return Element(price_components=parts, restrictions=Restrictions.from_json(rules))


def tariff(*elements: Element, **bounds: Any) -> Tariff:
    return Tariff(id="T", version=1, currency="EUR", elements=elements, type=None, **bounds)


NIGHT = tariff(element(part("TIME", "1"), start_time="02:00", end_time="03:00"), element(part("TIME", "60")))


def stretch(start: datetime, hours: float, kwh: str = "0", **told: Any) -> Period:
    return Period(start=start, end=start + timedelta(hours=hours), energy_mwh=int(Decimal(kwh) * 1_000_000), **told)


def cheap_minutes(start: str, hours: float, zone: str) -> int:
    """How long the night price held, of a session of TIME."""
    result = price(NIGHT, [stretch(datetime.fromisoformat(start), hours)], zone)
    return round(sum(line.quantity * 60 for line in result.lines if line.price == 1))


@pytest.mark.parametrize(
    ("start", "zone", "minutes"),
    [
        ("2026-06-01T23:00+00:00", "Europe/Brussels", 60),
        ("2026-03-28T23:00+00:00", "Europe/Brussels", 0),  # 02:00 to 03:00 does not exist
        ("2026-10-24T23:00+00:00", "Europe/Brussels", 120),  # and here it is twice
        ("2026-03-08T05:00+00:00", "America/New_York", 0),
        ("2026-11-01T04:00+00:00", "America/New_York", 60),  # 01:00 to 02:00 is twice, 02:00 once
        ("2026-10-03T13:30+00:00", "Australia/Lord_Howe", 30),  # clocks go on by half an hour at 02:00
    ],
)
def test_an_hour_that_is_missing_or_repeated_is_priced_as_it_was_lived(start: str, zone: str, minutes: int) -> None:
    assert cheap_minutes(start, 6, zone) == minutes


def test_the_price_changes_at_each_moment_it_can_and_nowhere_else() -> None:  # TC-05
    rules = [restricted(start_time="22:00", end_time="06:00"), restricted(min_kwh=5)]
    start, end = datetime(2026, 6, 1, 12, tzinfo=UTC), datetime(2026, 6, 3, 0, tzinfo=UTC)
    local = [at.astimezone(BRUSSELS).strftime("%d %H:%M") for at in sorted(clock_changes(rules, start, end, BRUSSELS))]
    assert local == ["01 22:00", "02 00:00", "02 06:00", "02 22:00", "03 00:00"]
    assert clock_changes([restricted(min_kwh=5)], start, end, BRUSSELS) == set()


def test_a_session_of_thirty_six_hours_over_a_change_of_clocks() -> None:  # TC-06
    day = tariff(element(part("TIME", "2"), start_time="08:00", end_time="20:00"), element(part("TIME", "1")))
    result = price(day, [stretch(datetime(2026, 10, 24, 10, tzinfo=UTC), 36)], "Europe/Brussels")
    # Saturday 12:00 summer time to Sunday 23:00 winter time: 8 h + 12 h by day, 4 + 9 + 3 by night
    assert {line.price: line.quantity for line in _summed(result.lines)} == {Decimal(2): 20, Decimal(1): 16}


def _summed(lines: Any) -> list[Any]:
    sums: dict[Decimal, Decimal] = {}
    for line in lines:
        sums[line.price] = sums.get(line.price, Decimal()) + line.quantity
    return [type("Sum", (), {"price": amount, "quantity": quantity}) for amount, quantity in sums.items()]


# ---- thresholds ------------------------------------------------------------------------------------------------------

TEN = datetime(2026, 6, 1, 10, tzinfo=UTC)


def test_a_threshold_of_energy_is_met_to_the_mwh() -> None:  # TC-10
    tiers = tariff(element(part("ENERGY", "1"), max_kwh="3.333333"), element(part("ENERGY", "2")))
    result = price(tiers, [stretch(TEN, 1, "10")], "UTC")
    assert [(line.price, line.quantity) for line in result.lines] == [
        (1, Decimal("3.333333")),
        (2, Decimal("6.666667")),
    ]
    assert result.periods[0].end == result.periods[1].start


def test_a_threshold_is_reached_between_the_readings_around_it() -> None:  # stated rule: evenly between two readings
    tiers = tariff(element(part("ENERGY", "1"), max_kwh="2"), element(part("ENERGY", "2")))
    readings = [(TEN + timedelta(minutes=1), 0), (TEN + timedelta(minutes=5), 4_000_000)]
    found = periods(TEN, TEN + timedelta(minutes=5), readings, tariff=tiers)
    assert [(period.end - TEN, period.energy_mwh) for period in found] == [
        (timedelta(minutes=3), 2_000_000),
        (timedelta(minutes=5), 2_000_000),
    ]
    assert price(tiers, found, "UTC").periods == found  # nothing is left to cut


def test_duration_counts_from_the_start_of_the_session_also_while_parked() -> None:  # TC-12
    grace = tariff(element(part("PARKING_TIME", "0"), max_duration=3600), element(part("PARKING_TIME", "6")))
    result = price(grace, [stretch(TEN, 0.5, "5"), stretch(TEN + timedelta(minutes=30), 1, parking=True)], "UTC")
    assert result.parking_cost[0] == Decimal("3.0000")  # the half hour after the first hour


@pytest.mark.parametrize(("told", "cost"), [({"power_w": 50_000}, "2"), ({"power_w": 10_000}, "1"), ({}, "1")])
def test_power_is_the_measured_one_or_else_the_mean(told: dict[str, Any], cost: str) -> None:  # TC-11
    fast = tariff(element(part("FLAT", "2"), min_power=22), element(part("FLAT", "1")))
    assert price(fast, [stretch(TEN, 1, "20", **told)], "UTC").total_excl_vat == Decimal(cost)


def test_a_current_that_nobody_measured_is_named() -> None:  # TC-11
    by_current = tariff(element(part("TIME", "2"), min_current=32), element(part("TIME", "1")))
    assert price(by_current, [stretch(TEN, 1)], "UTC").unsupported == ("min_current",)
    assert price(by_current, [stretch(TEN, 1, current_a=Decimal(48))], "UTC").unsupported == ()


# ---- steps ----------------------------------------------------------------------------------------------------------


def test_a_change_of_element_fills_up_no_step() -> None:  # TC-18, TC-20
    hours = tariff(element(part("TIME", "60", 600), end_time="12:00"), element(part("TIME", "120", 900)))
    result = price(hours, [stretch(datetime(2026, 6, 1, 11, 55, tzinfo=UTC), 0.2)], "UTC")
    # 5 min at 1 a minute, 7 at 2; 12 min in all become 15 by the last one's step
    assert result.total_excl_vat == Decimal(5 + 10 * 2)


def test_a_change_of_tariff_fills_up_no_step() -> None:  # TC-20
    first, second = tariff(element(part("ENERGY", "1", 1000))), tariff(element(part("ENERGY", "2", 1000)))
    parts = [(first, [stretch(TEN, 1, "1.5")]), (second, [stretch(TEN + timedelta(hours=1), 1, "1.6")])]
    result = price_of(parts, "UTC")
    assert [line.quantity for line in result.lines] == [Decimal("1.5"), Decimal("2.5")]


def test_time_stays_exact_where_parking_is_paid() -> None:  # TC-19
    both = tariff(element(part("TIME", "60", 600), part("PARKING_TIME", "60", 600)))
    result = price(both, [stretch(TEN, 0.05), stretch(TEN + timedelta(minutes=3), 0.05, parking=True)], "UTC")
    assert (result.time_cost[0], result.parking_cost[0]) == (Decimal(3), Decimal(10))


def test_the_last_paid_time_is_filled_up_when_the_last_is_free() -> None:  # TC-21
    free_later = tariff(
        element(part("PARKING_TIME", "60", 600), end_time="20:00"), element(part("PARKING_TIME", "0", 900))
    )
    parked = stretch(datetime(2026, 6, 1, 19, 55, tzinfo=UTC), 1, parking=True)
    assert price(free_later, [parked], "UTC").parking_cost[0] == Decimal(10)


def test_energy_is_filled_up_by_the_total_of_the_session() -> None:  # TC-17, TC-18
    halves = [stretch(TEN, 1, "0.7"), stretch(TEN + timedelta(hours=1), 1, "0.7")]
    result = price(tariff(element(part("ENERGY", "1", 500))), halves, "UTC")
    assert result.energy_cost[0] == Decimal("1.5")


# ---- reservations ----------------------------------------------------------------------------------------------------

RESERVABLE = tariff(
    element(part("FLAT", "2"), part("TIME", "5", 300), reservation="RESERVATION"),
    element(part("FLAT", "4"), part("TIME", "6", 600), reservation="RESERVATION_EXPIRES"),
    element(part("FLAT", "0.5"), part("TIME", "1")),
)


def test_a_reservation_never_prices_the_session_nor_the_session_it() -> None:  # TC-25
    result = price(RESERVABLE, [stretch(TEN, 1)], "UTC")
    assert (result.total_excl_vat, result.reservation_cost[0]) == (Decimal("1.5"), Decimal(0))
    used = Reservation(start=TEN - timedelta(minutes=13), end=TEN)
    result = price(RESERVABLE, [stretch(TEN, 1)], "UTC", reservation=used)
    assert (result.fixed_cost[0], result.time_cost[0]) == (Decimal("0.5"), Decimal(1))
    assert result.reservation_cost[0] == Decimal(2) + Decimal("1.25")  # 15 minutes of 5 an hour


def test_a_reservation_that_expired_pays_both_fees_and_its_own_time() -> None:  # TC-26
    expired = Reservation(start=TEN, end=TEN + timedelta(minutes=31), expired=True)
    result = price(RESERVABLE, [], "UTC", reservation=expired)
    assert result.reservation_cost[0] == Decimal(2 + 4) + Decimal(4)  # 40 minutes of 6 an hour
    assert result.fixed_cost[0] == 0


# ---- properties -----------------------------------------------------------------------------------------------------

DEAR = tariff(
    element(part("FLAT", "0.5", vat="20"), part("ENERGY", "0.2", vat="10"), part("TIME", "1.1"), max_kwh=4),
    element(part("ENERGY", "0.3", vat="10"), part("PARKING_TIME", "2", 60, vat="21"), start_time="22:00"),
    element(part("ENERGY", "0.4"), part("TIME", "1.3")),
)
RUNS = st.lists(
    st.tuples(st.integers(0, 20_000_000), st.integers(0, 40_000), st.booleans()), min_size=1, max_size=5
).map(
    lambda runs: [
        Period(
            start=TEN + timedelta(seconds=sum(seconds for _, seconds, _ in runs[:n])),
            end=TEN + timedelta(seconds=sum(seconds for _, seconds, _ in runs[: n + 1])),
            energy_mwh=mwh,
            parking=parking,
        )
        for n, (mwh, _, parking) in enumerate(runs)
    ]
)


@settings(max_examples=150, deadline=None)
@given(RUNS, st.integers(0, 4), st.integers(1, 9))
def test_splitting_where_nothing_changes_changes_no_price(runs: list[Period], which: int, tenths: int) -> None:
    cut = runs[which % len(runs)]
    middle = cut.start + (cut.end - cut.start) * tenths / 10
    length = (cut.end - cut.start) / timedelta(microseconds=1)
    energy = int(cut.energy_mwh * ((middle - cut.start) / timedelta(microseconds=1)) // length) if length else 0
    pieces = [
        Period(start=cut.start, end=middle, energy_mwh=energy, parking=cut.parking),
        Period(start=middle, end=cut.end, energy_mwh=cut.energy_mwh - energy, parking=cut.parking),
    ]
    at = which % len(runs)
    whole, split = (
        price(DEAR, runs, "Europe/Brussels"),
        price(DEAR, [*runs[:at], *pieces, *runs[at + 1 :]], "Europe/Brussels"),
    )
    assert abs(whole.total_excl_vat - split.total_excl_vat) <= Decimal("0.0001")  # a mWh may fall to the other side
    assert abs(whole.total_incl_vat - split.total_incl_vat) <= Decimal("0.0001")


@settings(max_examples=150, deadline=None)
@given(RUNS, st.integers(0, 5_000_000))
def test_more_energy_never_costs_less(runs: list[Period], more: int) -> None:
    last = runs[-1]
    larger = Period(start=last.start, end=last.end, energy_mwh=last.energy_mwh + more, parking=last.parking)
    rising = tariff(element(part("ENERGY", "0.2", 500), max_kwh=4), element(part("ENERGY", "0.4", 500)))
    assert price(rising, [*runs[:-1], larger], "UTC").total_excl_vat >= price(rising, runs, "UTC").total_excl_vat


@settings(max_examples=150, deadline=None)
@given(RUNS)
def test_lines_add_up_to_totals_and_priced_periods_to_the_session(runs: list[Period]) -> None:  # CD-17, CD-18
    result = price(DEAR, runs, "Europe/Brussels")
    assert sum((line.excl_vat for line in result.lines), Decimal(0)) == result.total_excl_vat
    assert sum((line.incl_vat for line in result.lines), Decimal(0)) == result.total_incl_vat
    assert sum(period.energy_mwh for period in result.periods) == sum(period.energy_mwh for period in runs)
    assert (result.periods[0].start, result.periods[-1].end) == (runs[0].start, runs[-1].end)
    assert price(DEAR, result.periods, "Europe/Brussels").periods == result.periods
    for line in result.lines:
        assert line.element is not None
        assert {result.periods[index].start for index in line.periods} >= {line.period_start}
