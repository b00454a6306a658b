"""What a driver's wish makes of a session's power."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.billing.prices_ahead import energy_price_at
from csms.billing.tariffs import Tariff
from csms.smart_charging.preferences import Answer, Plan, ProfileType, Situation, Wish, plan
from csms.smart_charging.profile import RateUnit

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
KWH = 1_000_000


def it(**changes: Any) -> Situation:
    values = {
        "now": NOON,
        "delivered_mwh": 0,
        "maximum_w": 11000,
        "least_w": 4140,
        "price_at": lambda at: Decimal("0.40") if at.hour < 14 else Decimal("0.20"),
    }
    return Situation(**values | changes)


def wish(kind: ProfileType, hours: float | None = 4, kwh: int | None = 11) -> Wish:
    leaves = None if hours is None else NOON + timedelta(hours=hours)
    return Wish(kind=kind, departs_at=leaves, energy_mwh=None if kwh is None else kwh * KWH)


def told(made: Plan) -> list[tuple[int, int]]:
    assert made.schedule is not None
    return [(period.start_s, int(period.limit)) for period in made.schedule.periods]


@pytest.mark.parametrize("kind", [ProfileType.REGULAR, ProfileType.FAST])
@pytest.mark.parametrize(("hours", "kwh"), [(None, None), (4, 11), (None, 11), (4, None)])
def test_as_fast_as_it_can_needs_nothing_to_be_said(kind: ProfileType, hours: float | None, kwh: int | None) -> None:
    # SE-32
    assert plan(wish(kind, hours, kwh), it()) == Plan(Answer.ACCEPTED, None)


@pytest.mark.parametrize("kind", [ProfileType.CHEAP, ProfileType.GREEN])
@pytest.mark.parametrize(
    ("hours", "kwh", "answer"),
    [
        (None, None, Answer.DEPARTURE_REQUIRED),
        (None, 11, Answer.DEPARTURE_REQUIRED),
        (4, None, Answer.ENERGY_NEED_REQUIRED),
    ],
)
def test_what_is_to_be_planned_needs_an_end_and_a_need(
    kind: ProfileType, hours: float | None, kwh: int | None, answer: Answer
) -> None:  # SE-32
    assert plan(wish(kind, hours, kwh), it()) == Plan(answer)


@pytest.mark.parametrize("kind", ProfileType)
@pytest.mark.parametrize(("hours", "kwh"), [(0, 1), (-1, 1), (1, 12), (49, 1)])
def test_what_no_charger_can_do_is_not_possible(kind: ProfileType, hours: float, kwh: int) -> None:  # SE-32
    assert plan(wish(kind, hours, kwh), it()) == Plan(Answer.NOT_POSSIBLE)


def test_cheap_waits_for_the_cheapest_quarters_that_are_enough() -> None:
    made = plan(wish(ProfileType.CHEAP), it())
    assert told(made) == [(0, 0), (7200, 11000), (10800, 0)]  # 11 kWh from 14:00 on
    assert made.schedule is not None
    assert (made.schedule.unit, made.schedule.starts_at, made.schedule.duration_s) == (RateUnit.WATT, NOON, 14400)


def test_where_the_cheap_ones_are_not_enough_the_dear_ones_help() -> None:
    assert told(plan(wish(ProfileType.CHEAP, kwh=33), it())) == [(0, 11000), (3600, 0), (7200, 11000)]


def test_where_all_cost_the_same_the_first_are_taken() -> None:
    assert told(plan(wish(ProfileType.CHEAP), it(price_at=lambda _: Decimal(0)))) == [(0, 11000), (3600, 0)]


def test_what_was_delivered_already_is_not_needed_again() -> None:
    assert told(plan(wish(ProfileType.CHEAP), it(delivered_mwh=8 * KWH))) == [(0, 0), (7200, 11000), (9000, 0)]
    assert plan(wish(ProfileType.CHEAP), it(delivered_mwh=12 * KWH)) == Plan(Answer.ACCEPTED, None)


def test_green_is_even_until_departure_and_never_less_than_a_car_takes() -> None:
    assert told(plan(wish(ProfileType.GREEN, 4, 22), it())) == [(0, 5500)]
    assert told(plan(wish(ProfileType.GREEN, 4, 1), it())) == [(0, 4140)]
    assert told(plan(wish(ProfileType.GREEN, 4, 44), it())) == [(0, 11000)]


@given(
    minutes=st.integers(1, 2000),
    kwh=st.integers(0, 400),
    delivered=st.integers(0, 40),
    prices=st.lists(st.decimals(0, 1, places=2), min_size=4, max_size=4),
    kind=st.sampled_from([ProfileType.CHEAP, ProfileType.GREEN]),
)
def test_an_accepted_plan_delivers_what_is_needed(
    minutes: int, kwh: int, delivered: int, prices: list[Decimal], kind: ProfileType
) -> None:
    situation = it(delivered_mwh=delivered * KWH, price_at=lambda at: prices[at.hour % 4])
    made = plan(wish(kind, minutes / 60, kwh), situation)
    need_wh = max(0, kwh - delivered) * 1000
    if made.answer is Answer.NOT_POSSIBLE:
        assert need_wh * 60 > situation.maximum_w * minutes
    elif made.schedule is not None:
        assert made.schedule.duration_s == minutes * 60
        starts = [period.start_s for period in made.schedule.periods]
        assert starts == sorted(set(starts))
        assert starts[0] == 0
        ends = [*starts[1:], minutes * 60]
        periods = list(zip(made.schedule.periods, ends, strict=True))
        assert sum(period.limit * (end - period.start_s) for period, end in periods) >= need_wh * 3600
        assert all(0 <= period.limit <= situation.maximum_w for period, _ in periods)


# ---- the price of the next hours ------------------------------------------------------------------------------------

NIGHT = {"start_time": "22:00", "end_time": "06:00"}


def tariff(*elements: dict[str, Any]) -> Tariff:
    return Tariff.from_json(id="t", version=1, document={"currency": "EUR", "elements": list(elements)})


def energy(price: str, **restrictions: Any) -> dict[str, Any]:
    component = {"type": "ENERGY", "price": price, "step_size": 1}
    return {"price_components": [component]} | ({"restrictions": restrictions} if restrictions else {})


@pytest.mark.parametrize(
    ("elements", "hour", "price"),
    [
        ([energy("0.30", **NIGHT), energy("0.50")], 12, "0.50"),
        ([energy("0.30", **NIGHT), energy("0.50")], 21, "0.30"),  # 22:00 in Brussels
        ([energy("0.90", max_power="16"), energy("0.50")], 12, "0.50"),  # nobody knows the power to come
        ([energy("9", reservation="RESERVATION"), energy("0.50")], 12, "0.50"),
        ([{"price_components": [{"type": "TIME", "price": "1", "step_size": 1}]}], 12, "0"),
        ([], 12, "0"),
    ],
)
def test_what_a_kwh_costs_by_the_clock_of_the_site(elements: list[dict[str, Any]], hour: int, price: str) -> None:
    price_at = energy_price_at(tariff(*elements), time_zone="Europe/Brussels", began=NOON, energy_mwh=KWH)
    assert price_at(NOON.replace(hour=hour)) == Decimal(price)


def test_without_a_tariff_energy_costs_nothing() -> None:
    assert energy_price_at(None, time_zone="UTC", began=NOON, energy_mwh=0)(NOON) == 0
