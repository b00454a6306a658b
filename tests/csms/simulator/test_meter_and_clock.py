"""The simulated charger's meter and clocks: exact in truth, wrong exactly as ordered."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.simulator.clock import SimClock, StationClock
from csms.simulator.meter import Meter, as_text, energy_mwh, in_unit, watts_at
from csms.simulator.profile import Profile

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FALLING = ((0.0, 11_000), (1800.0, 2_000), (2700.0, 0))


@pytest.mark.parametrize(
    ("steps", "charged", "expected_mwh"),
    [
        (((0.0, 11_000),), HOUR, 11_000_000),
        (((0.0, 11_000),), timedelta(seconds=60), 183_333),
        (FALLING, timedelta(minutes=30), 5_500_000),
        (FALLING, timedelta(minutes=45), 6_000_000),
        (FALLING, 3 * HOUR, 6_000_000),
        (FALLING, timedelta(), 0),
    ],
)
def test_energy_is_power_over_time(steps: tuple[tuple[float, int], ...], charged: timedelta, expected_mwh: int) -> None:
    assert energy_mwh(steps, charged) == expected_mwh


def test_power_follows_its_steps() -> None:
    assert [watts_at(FALLING, timedelta(seconds=s)) for s in (0, 1799, 1800, 2700, 9999)] == [
        11_000,
        11_000,
        2_000,
        0,
        0,
    ]


@given(st.lists(st.integers(min_value=0, max_value=7200), max_size=30))
def test_reading_often_counts_the_same_as_reading_once(gaps_s: list[int]) -> None:
    meter = Meter(FALLING, register_mwh=500)
    now = NOON
    meter.begin(now)
    for gap_s in gaps_s:
        now += timedelta(seconds=gap_s)
        meter.register_mwh(now)
    assert meter.delivered_mwh(now) == energy_mwh(FALLING, now - NOON)
    assert meter.register_mwh(now) == 500 + meter.delivered_mwh(now)


def test_a_reset_register_forgets_but_the_truth_does_not() -> None:  # E09
    meter = Meter(((0.0, 10_000),), register_mwh=7_000_000)
    meter.begin(NOON)
    meter.reset_register(NOON + HOUR)
    assert meter.register_mwh(NOON + 2 * HOUR) == 10_000_000
    assert meter.delivered_mwh(NOON + 2 * HOUR) == 20_000_000


def test_a_paused_meter_draws_nothing() -> None:
    meter = Meter(((0.0, 10_000),), register_mwh=0)
    meter.begin(NOON)
    meter.pause(NOON + HOUR)
    assert (meter.delivered_mwh(NOON + 5 * HOUR), meter.power_w(NOON + 5 * HOUR)) == (10_000_000, 0)
    meter.resume(NOON + 5 * HOUR)
    assert meter.delivered_mwh(NOON + 6 * HOUR) == 20_000_000


@pytest.mark.parametrize(
    ("energy", "unit", "text"),
    [(12_345_678, "Wh", "12345.678"), (12_345_678, "kWh", "12.345678"), (12_000_000, "KWH", "12"), (0, "wh", "0")],
)
def test_units_are_plain_decimals(energy: int, unit: str, text: str) -> None:  # E10
    assert as_text(in_unit(energy, unit)) == text


def test_large_numbers_have_no_exponent() -> None:
    assert as_text(Decimal("1E+6")) == "1000000"


def test_a_profile_with_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="MJ"):
        Profile(station_id="CP001", meter_unit="MJ")


async def test_an_hour_passes_at_once() -> None:
    clock = SimClock(NOON)
    await clock.advance(3600)
    assert clock.now() == NOON + HOUR


async def test_a_retry_pause_takes_no_time_of_the_story() -> None:
    clock = SimClock(NOON)
    await clock.pause(3600)
    assert clock.now() == NOON


def test_an_obedient_clock_loses_its_error_and_keeps_the_story_s_time() -> None:  # F02
    clock = StationClock(SimClock(NOON), offset=timedelta(days=3), frozen_at=None, follows=True)
    assert clock.now() == NOON + timedelta(days=3)
    clock.hear(datetime.now(UTC).isoformat())
    assert abs(clock.now() - NOON) < timedelta(seconds=5)


def test_an_obedient_clock_takes_over_the_server_s_error() -> None:
    clock = StationClock(SimClock(NOON), offset=timedelta(), frozen_at=None, follows=True)
    clock.hear((datetime.now(UTC) + HOUR).isoformat().replace("+00:00", "Z"))
    assert abs(clock.now() - NOON - HOUR) < timedelta(seconds=5)


@pytest.mark.parametrize("said", [None, 12, "yesterday", ""])
def test_an_unreadable_current_time_changes_nothing(said: object) -> None:
    clock = StationClock(SimClock(NOON), offset=HOUR, frozen_at=None, follows=True)
    clock.hear(said)
    assert clock.now() == NOON + HOUR


async def test_a_disobedient_frozen_clock_shows_2018_for_ever() -> None:  # F04
    time = SimClock(NOON)
    clock = StationClock(time, offset=timedelta(), frozen_at=datetime(2018, 1, 1, tzinfo=UTC), follows=False)
    clock.hear(datetime.now(UTC).isoformat())
    await time.advance(3600)
    assert clock.stamp() == "2018-01-01T00:00:00.000Z"
