"""A schedule below another: the lower of the two at each second, and never more than either."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.smart_charging.capping import capped, in_station_unit
from csms.smart_charging.composite import Composite, Limit, Supply
from csms.smart_charging.profile import ChargingSchedule, RateUnit, SchedulePeriod

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def schedule(*periods: tuple[int, int], duration_s: int | None = None) -> ChargingSchedule:
    return ChargingSchedule(
        unit=RateUnit.AMPERE,
        duration_s=duration_s,
        periods=tuple(SchedulePeriod(start_s=start, limit=Decimal(limit)) for start, limit in periods),
    )


def others(*limits: tuple[int, int | None], duration_s: int = 3600) -> Composite:
    return Composite(
        starts_at=NOON,
        duration_s=duration_s,
        unit=RateUnit.AMPERE,
        limits=tuple(Limit(start, None if limit is None else Decimal(limit)) for start, limit in limits),
    )


def told(of: ChargingSchedule) -> list[tuple[int, int]]:
    return [(period.start_s, int(period.limit)) for period in of.periods]


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        (schedule((0, 16)), others((0, None)), [(0, 16)]),
        (schedule((0, 16)), others((0, 10)), [(0, 10), (3600, 16)]),  # what is set holds no longer than is known
        (schedule((0, 16)), others((0, 32)), [(0, 16)]),
        (schedule((0, 16), (900, 6)), others((0, 10), (600, 8)), [(0, 10), (600, 8), (900, 6)]),
        (schedule((0, 16)), others((0, None), (600, 8), (1200, None)), [(0, 16), (600, 8), (1200, 16)]),
        (schedule((0, 16), duration_s=600), others((0, 10), (600, 8)), [(0, 10)]),
    ],
)
def test_the_lower_of_the_two_holds(
    mine: ChargingSchedule, theirs: Composite, expected: list[tuple[int, int]]
) -> None:  # CP-10
    assert told(capped(mine, theirs)) == expected


PERIODS = st.lists(st.integers(1, 7200), unique=True, max_size=5).map(lambda found: [0, *sorted(found)])


@given(st.data())
def test_it_never_allows_more_than_either(data: st.DataObject) -> None:  # CP-10
    starts, cuts = data.draw(PERIODS), data.draw(PERIODS)
    mine = schedule(*((start, data.draw(st.integers(0, 40))) for start in starts))
    theirs = others(*((cut, data.draw(st.none() | st.integers(0, 40))) for cut in cuts), duration_s=7201)
    both = capped(mine, theirs)
    for second in sorted({0, *starts, *cuts, 3599}):
        limit = _at(both, second)
        other = theirs.at(second).limit
        assert limit == min(_at(mine, second), _at(mine, second) if other is None else other)
    starts_of_both = [period.start_s for period in both.periods]
    assert starts_of_both[0] == 0
    assert starts_of_both == sorted(set(starts_of_both))


def _at(of: ChargingSchedule, second: int) -> Decimal:
    return [period.limit for period in of.periods if period.start_s <= second][-1]


def test_a_station_that_takes_no_watts_is_told_amperes() -> None:  # CP-11
    watts = ChargingSchedule(unit=RateUnit.WATT, periods=(SchedulePeriod(start_s=0, limit=Decimal(11000)),))
    amperes = in_station_unit(watts, RateUnit.AMPERE, Supply(voltage_v=230, phases=3))
    assert (amperes.unit, amperes.periods[0].limit) == (RateUnit.AMPERE, Decimal("15.9"))
