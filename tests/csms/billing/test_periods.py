"""Periods add up to the session, and what a partner was told of a running one is never taken back."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from csms.billing.periods import CUT, Frame, Point, closed, in_order, periods, points_from
from csms.billing.tariffs import Period
from csms.events import MeterSample, SampledValue

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def energies(stretches: tuple[Period, ...]) -> list[int]:
    return [period.energy_mwh for period in stretches]


def sample(minutes: float | None, wh: int, context: str = "Sample.Periodic") -> MeterSample:
    return MeterSample(
        occurred_at=None if minutes is None else at(minutes),
        values=(SampledValue(value=str(wh), unit="Wh", context=context),),
    )


def frame(received: float, *samples: MeterSample, occurred: float | None = None) -> Frame:
    return Frame(received_at=at(received), occurred_at=at(received if occurred is None else occurred), samples=samples)


@st.composite
def sessions(draw: st.DrawFn) -> list[Point]:
    """Readings at any distance, also none, and of any energy, also none."""
    steps = st.tuples(st.integers(0, 4 * 10**9), st.integers(0, 50_000_000))  # microseconds, mWh
    point = (NOON, 0)
    points = [point]
    for microseconds, energy_mwh in draw(st.lists(steps, max_size=12)):
        point = (point[0] + timedelta(microseconds=microseconds), point[1] + energy_mwh)
        points.append(point)
    return points


# ---- cuts -----------------------------------------------------------------------------------------------------------


def test_a_session_is_cut_every_quarter_of_an_hour_with_energy_interpolated() -> None:  # CD-16, CD-17
    stretches = periods(NOON, at(40), [(at(10), 1_000), (at(20), 3_000), (at(40), 3_000)])
    assert [(period.start, period.end) for period in stretches] == [
        (NOON, at(15)),
        (at(15), at(30)),
        (at(30), at(40)),
    ]
    assert energies(stretches) == [2_000, 1_000, 0]
    assert not any(period.parking for period in stretches)


@pytest.mark.parametrize(("minutes", "count"), [(0, 1), (1, 1), (15, 1), (15.001, 2), (30, 2), (7 * 24 * 60, 672)])
def test_there_are_as_many_periods_as_quarters_begun(minutes: float, count: int) -> None:
    assert len(periods(NOON, at(minutes), [(at(minutes), 7)])) == count


@pytest.mark.parametrize("points", [[], [(NOON, 0)], [(NOON, 0), (NOON, 500)]])
def test_a_session_of_no_length_is_one_period_with_all_its_energy(points: list[Point]) -> None:
    (only,) = periods(NOON, NOON, points)
    assert (only.start, only.end, only.energy_mwh) == (NOON, NOON, points[-1][1] if points else 0)


def test_a_negative_length_is_refused() -> None:  # E11
    with pytest.raises(ValueError, match="cannot end"):
        periods(NOON, at(-1), [])


@given(sessions())
def test_periods_meet_and_add_up_to_the_session(points: list[Point]) -> None:  # CD-17, CD-18
    until = points[-1][0]
    stretches = periods(NOON, until, points)
    assert stretches[0].start == NOON
    assert stretches[-1].end == until
    assert all(before.end == after.start for before, after in pairwise(stretches))
    assert all(period.end - period.start == CUT for period in stretches[:-1])
    assert sum(energies(stretches)) == points[-1][1]
    assert min(energies(stretches)) >= 0


@given(sessions(), st.integers(1, 13))
def test_later_readings_never_change_a_closed_period(points: list[Point], known: int) -> None:  # SE-07
    earlier = points[:known]
    told = closed(periods(NOON, earlier[-1][0], earlier))
    assert periods(NOON, points[-1][0], points)[: len(told)] == told


def test_a_week_of_readings_every_minute_is_cheap() -> None:
    points = [(at(minute), minute * 1_000) for minute in range(7 * 24 * 60 + 1)]
    began = time.process_time()
    stretches = periods(NOON, points[-1][0], points)
    assert time.process_time() - began < 1  # it takes some 10 ms
    assert set(energies(stretches)) == {15_000}


# ---- readings -------------------------------------------------------------------------------------------------------


def test_the_data_of_a_stop_repeats_readings_and_adds_none() -> None:
    live = [frame(minute, sample(minute, 1000 + minute)) for minute in (5, 10)]
    stop = frame(15, sample(0, 1000, "Transaction.Begin"), sample(5, 1005), sample(10, 1010), sample(15, 1015))
    assert [shown for _, shown in in_order([*live, stop], NOON)] == [1_000_000, 1_005_000, 1_010_000, 1_015_000]


def test_a_reading_that_arrives_late_stands_where_it_was_taken() -> None:  # E09
    readings = in_order([frame(10, sample(10, 1010)), frame(12, sample(5, 1005))], NOON)
    assert readings == ((at(5), 1_005_000), (at(10), 1_010_000))


def test_readings_of_a_clock_of_2018_keep_their_distances_and_end_at_reception() -> None:  # F05, T2
    years = -8 * 365 * 24 * 60
    readings = in_order([frame(30, sample(years, 1000), sample(years + 10, 1010), sample(years + 20, 1020))], NOON)
    assert [moment for moment, _ in readings] == [at(10), at(20), at(30)]


def test_readings_without_a_time_stand_at_their_reception() -> None:
    readings = in_order([frame(5, sample(None, 1005)), frame(10, sample(None, 1005))], NOON)
    assert readings == ((at(5), 1_005_000), (at(10), 1_005_000))


def test_a_clock_set_back_on_the_way_leaves_the_order_of_arrival() -> None:
    readings = in_order([frame(30, sample(29, 1030)), frame(60, sample(10, 1060)), frame(61, sample(61, 1070))], NOON)
    assert [shown for _, shown in readings] == [1_030_000, 1_060_000, 1_070_000]
    points = points_from(readings, started_at=NOON, until=at(70), meter_start_mwh=1_000_000, energy_mwh=70_000)
    moments = [moment for moment, _ in points]
    assert moments == sorted(moments)


# ---- points ---------------------------------------------------------------------------------------------------------


def test_a_register_that_falls_costs_nothing() -> None:  # E09
    readings = [(at(5), 1_500), (at(10), 100), (at(15), 300)]
    points = points_from(readings, started_at=NOON, until=at(20), meter_start_mwh=1_000, energy_mwh=700)
    assert [passed for _, passed in points] == [0, 500, 500, 700, 700]


def test_what_the_readings_do_not_explain_passed_after_the_last_of_them() -> None:  # E07
    points = points_from([(at(5), 1_500)], started_at=NOON, until=at(20), meter_start_mwh=1_000, energy_mwh=900)
    assert points == ((NOON, 0), (at(5), 500), (at(20), 900))


def test_no_reading_says_more_than_the_total() -> None:
    points = points_from([(at(5), 9_000)], started_at=NOON, until=at(20), meter_start_mwh=1_000, energy_mwh=900)
    assert points == ((NOON, 0), (at(5), 900), (at(20), 900))


def test_without_a_readable_start_the_first_reading_is_the_base() -> None:
    points = points_from(
        [(at(5), 9_000), (at(6), 9_100)], started_at=NOON, until=at(6), meter_start_mwh=None, energy_mwh=100
    )
    assert [passed for _, passed in points] == [0, 0, 100, 100]


def test_times_outside_the_session_are_moved_to_its_ends() -> None:
    points = points_from(
        [(at(-3), 1_000), (at(5), 1_400), (at(25), 1_900)],
        started_at=NOON,
        until=at(20),
        meter_start_mwh=1_000,
        energy_mwh=900,
    )
    assert points == ((NOON, 0), (NOON, 0), (at(5), 400), (at(20), 900), (at(20), 900))


@given(
    st.lists(st.tuples(st.integers(-60, 600), st.integers(0, 10**8)), max_size=15),
    st.none() | st.integers(0, 10**8),
    st.integers(0, 10**8),
    st.integers(0, 500),
)
def test_whatever_the_readings_the_periods_are_the_transactions_energy(
    shown: list[tuple[int, int]], meter_start_mwh: int | None, energy_mwh: int, minutes: int
) -> None:  # CD-18
    frames = [frame(minute, sample(minute, wh)) for minute, wh in shown]
    points = points_from(
        in_order(frames, NOON),
        started_at=NOON,
        until=at(minutes),
        meter_start_mwh=meter_start_mwh,
        energy_mwh=energy_mwh,
    )
    assert list(points) == sorted(points)
    assert sum(energies(periods(NOON, at(minutes), points))) == energy_mwh
