"""Units, registers, resets, and the total held against the samples."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from csms.events import MeterSample, SampledValue
from csms.metering import (
    BEGIN,
    END,
    SCALES,
    PowerReading,
    Reading,
    Reconciled,
    as_register,
    delivered,
    intervals,
    latest_power_w,
    reconcile,
    register_readings,
    to_mwh,
)

T0 = datetime(2026, 3, 2, 10, tzinfo=UTC)
WH = 1000
KWH = 1_000_000


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def value(text: str, **fields: Any) -> SampledValue:
    return SampledValue(value=text, **fields)


def sample(*values: SampledValue) -> MeterSample:
    return MeterSample(occurred_at=T0, values=values)


def periodic(seconds: float, energy_mwh: int, context: str = "Sample.Periodic") -> Reading:
    return Reading(after(seconds), energy_mwh, context)


def steady(
    power_w: int, *, count: int, start_mwh: int = 0, interval_s: int = 60, first_s: int | None = None
) -> list[Reading]:
    """A charger that samples every interval while it delivers `power_w` from T0 on."""
    first_s = interval_s if first_s is None else first_s
    moments = [first_s + n * interval_s for n in range(count)]
    return [periodic(moment, start_mwh + power_w * moment * 1000 // 3600) for moment in moments]


def session(
    start: int | None,
    stop: int | None,
    readings: Sequence[Reading] = (),
    *,
    seconds: float = 3600,
    interval_s: int | None = 60,
    max_power_w: int | None = 22_000,
    booted_inside: bool = False,
    powers: Sequence[PowerReading] = (),
) -> Reconciled:
    return reconcile(
        meter_start_mwh=start,
        meter_stop_mwh=stop,
        readings=readings,
        started_at=T0,
        ended_at=after(seconds),
        interval_s=interval_s,
        max_power_w=max_power_w,
        booted_inside=booted_inside,
        powers=powers,
    )


# A slow machine is no failure.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


# ---- units ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "unit", "multiplier", "expected"),
    [
        ("1234", None, 0, 1_234_000),
        ("1234", "", 0, 1_234_000),
        ("1234", "Wh", 0, 1_234_000),
        ("1.234", "kWh", 0, 1_234_000),
        ("1.234", "KWH", 0, 1_234_000),
        ("1.234", "kwh", 0, 1_234_000),
        ("1.234", " kWh ", 0, 1_234_000),
        ("0.001234", "MWh", 0, 1_234_000),
        ("1.234", "Wh", 3, 1_234_000),
        ("1.234", None, 3, 1_234_000),
        ("0.001234", "Wh", 6, 1_234_000),
        ("12340", "Wh", -1, 1_234_000),
        ("1,234", "kWh", 0, 1_234_000),  # X17
        (" 1234.0 ", "Wh", 0, 1_234_000),
        ("+1234", "Wh", 0, 1_234_000),
        ("1.234e3", "Wh", 0, 1_234_000),
        ("1234.", "Wh", 0, 1_234_000),
        (".5", "Wh", 0, 500),
        ("0", "Wh", 0, 0),
        ("-0", "Wh", 0, 0),
        ("0e99", "Wh", 0, 0),
        ("1e-999", "Wh", 0, 0),
        ("0.0005", "Wh", 0, 0),  # halves to even
        ("0.0015", "Wh", 0, 2),
        ("0.0025", "Wh", 0, 2),
        ("0.1", "Wh", 0, 100),  # no float in between
        ("4503599627.370497", "Wh", 0, 4_503_599_627_370),
    ],
)
def test_energy_is_read_with_the_unit_it_names(text: str, unit: str | None, multiplier: int, expected: int) -> None:
    assert to_mwh(text, unit, multiplier) == expected  # E10


@pytest.mark.parametrize(
    ("text", "unit", "multiplier"),
    [
        ("NaN", "Wh", 0), ("nan", "Wh", 0), ("sNaN", "Wh", 0), ("inf", "Wh", 0), ("-Infinity", "Wh", 0),
        ("", "Wh", 0), (" ", "Wh", 0), ("-", "Wh", 0), (".", "Wh", 0), ("abc", "Wh", 0), ("12 kWh", None, 0),
        ("1.2.3", "Wh", 0), ("1,234.5", "Wh", 0), ("1_000", "Wh", 0), ("0x10", "Wh", 0), ("１２", "Wh", 0),
        ("-1", "Wh", 0), ("1e999", "Wh", 0), ("1e9999", "Wh", 0), ("1e13", "Wh", 0), ("1", "Wh", 99),
        ("1", "W", 0), ("1", "varh", 0), ("1", "Celsius", 0),
    ],
)  # fmt: skip
def test_what_is_no_amount_of_energy_is_unreadable(text: str, unit: str, multiplier: int) -> None:  # X17
    assert to_mwh(text, unit, multiplier) is None


@PATIENT
@given(st.text(max_size=30), st.none() | st.text(max_size=5) | st.sampled_from(["Wh", "kWh"]), st.integers())
def test_no_text_breaks_the_reader(text: str, unit: str | None, multiplier: int) -> None:
    found = to_mwh(text, unit, multiplier)
    assert found is None or found >= 0


@PATIENT
@given(st.integers(0, 10**12))
def test_units_agree(energy_mwh: int) -> None:  # E10
    wh, rest = divmod(energy_mwh, 1000)
    text = f"{wh}.{rest:03d}"
    assert to_mwh(text, None) == to_mwh(text, "WH") == to_mwh(f"{text}e-3", "kWh") == to_mwh(text, "kWh", -3)
    assert to_mwh(text, None) == energy_mwh


# ---- samples to readings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([value("10")], [10 * WH]),
        ([value("10", unit="kWh")], [10 * KWH]),
        ([value("6", phase="L1"), value("6", phase="L2"), value("6", phase="L3"), value("17")], [17 * WH]),
        ([value("6", phase="L1"), value("5", phase="L2"), value("4", phase="L3")], [15 * WH]),
        ([value("6", phase="L1-N"), value("5", phase="L2-N"), value("4", phase="L3-N")], [15 * WH]),
        ([value("6", phase="L1"), value("6", phase="L1-N")], [6 * WH]),
        ([value("6", phase="L1")], [6 * WH]),
        ([value("NaN"), value("6", phase="L1")], [6 * WH]),
        ([value("6", phase="L1"), value("NaN", phase="L2")], []),  # a part is not the total
        ([value("NaN")], []),
        ([value("NaN"), value("10")], [10 * WH]),
        ([value("10"), value("11")], [10 * WH]),
        ([value("10", location="Inlet"), value("9", location="Body"), value("8")], [8 * WH]),
        ([value("10", location="Inlet")], []),
        ([value("7.2", measurand="Power.Active.Import", unit="kW")], []),
        ([value("10", measurand="Energy.Active.Export.Register")], []),
        ([value("10", context=BEGIN), value("12", context=END)], [10 * WH, 12 * WH]),
        ([], []),
    ],
)
def test_register_is_the_total_at_the_outlet(values: list[SampledValue], expected: list[int]) -> None:  # E10
    assert [reading.energy_mwh for reading in register_readings([sample(*values)])] == expected


def test_reading_keeps_moment_and_context() -> None:
    without_time = MeterSample(values=(value("2"),))
    assert register_readings([sample(value("1", context=END)), without_time]) == (
        Reading(T0, 1 * WH, END),
        Reading(None, 2 * WH, "Sample.Periodic"),
    )


def test_intervals_add_up_to_a_register_counting_each_once() -> None:  # T5
    amounts = [
        MeterSample(occurred_at=after(seconds), values=(value(text, measurand="Energy.Active.Import.Interval"),))
        for seconds, text in [(120, "200"), (60, "100"), (120, "200")]
    ]
    assert register_readings(amounts) == ()
    assert as_register(intervals(amounts), 5 * KWH) == (
        periodic(60, 5 * KWH + 100 * WH),
        periodic(120, 5 * KWH + 300 * WH),
    )
    assert as_register([Reading(None, 1, "x"), Reading(None, 2, "x")], 0)[-1].energy_mwh == 3


def test_power_is_the_latest_that_can_be_read() -> None:
    def power(*texts: str, **fields: Any) -> MeterSample:
        return sample(*(value(text, measurand="Power.Active.Import", **fields) for text in texts))

    phases = sample(
        *(value("2.3", measurand="Power.Active.Import", unit="kW", phase=phase) for phase in ("L1", "L2", "L3"))
    )
    assert latest_power_w([power("7400")]) == 7400
    assert latest_power_w([power("7400"), power("7.2", unit="kW")]) == 7200
    assert latest_power_w([power("7400"), phases, sample(value("1"))]) == 6900
    assert latest_power_w([power("7400"), power("NaN")]) == 7400
    assert latest_power_w([]) is None


# ---- deltas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], 0), ([5], 0), ([5, 8], 3), ([5, 8, 8, 9], 4),
        ([100, 105, 0, 2], 7),  # a reset to zero at boot
        ([100, 105, 3, 10, 1, 2], 13),
        ([8, 5], 0),
    ],
)  # fmt: skip
def test_delivered_is_the_sum_of_rises_across_resets(points: list[int], expected: int) -> None:  # E09
    assert delivered(points) == expected


# ---- reconciliation: what passes ------------------------------------------------------------------------------------


@pytest.mark.parametrize("power_w", [2_300, 7_400, 22_000, 150_000, 350_000])
@pytest.mark.parametrize("tail_s", [0, 1, 30, 59, 180])
def test_charger_of_any_speed_with_its_samples_is_explained(power_w: int, tail_s: int) -> None:  # T5
    seconds = 30 * 60 + tail_s
    stop = power_w * seconds * 1000 // 3600
    found = session(0, stop, steady(power_w, count=30), seconds=seconds, max_power_w=power_w)
    assert found == Reconciled(energy_mwh=stop, residual_mwh=0, mismatch=False, findings=())


def test_connector_of_unknown_power_is_given_the_benefit_of_the_doubt() -> None:
    found = session(0, 77 * KWH, steady(150_000, count=30), seconds=1848, max_power_w=None)
    assert not found.mismatch


@pytest.mark.parametrize(("beyond_mwh", "mismatch"), [(0, False), (100_000, False), (101_000, True)])
def test_residual_of_a_tenth_of_a_kwh_passes_and_one_wh_more_flags(beyond_mwh: int, mismatch: bool) -> None:  # E07
    with_end = [*steady(7_200, count=10), periodic(600, 1_200 * WH, END)]
    found = session(0, 1_200 * WH + beyond_mwh, with_end, seconds=630)
    assert (found.residual_mwh, found.mismatch) == (beyond_mwh, mismatch)
    assert found.findings == (("residual",) if mismatch else ())
    assert found.energy_mwh == 1_200 * WH + beyond_mwh


@pytest.mark.parametrize(("beyond_mwh", "mismatch"), [(100_000, False), (101_000, True)])
def test_without_an_end_reading_the_tail_is_maximum_power_times_its_time(beyond_mwh: int, mismatch: bool) -> None:
    allowed = 22_000 * 36 * 1000 // 3600  # E07, T5
    found = session(0, 1_200 * WH + allowed + beyond_mwh, steady(7_200, count=10), seconds=636)
    assert (found.residual_mwh, found.mismatch) == (beyond_mwh, mismatch)


@pytest.mark.parametrize(("beyond_mwh", "mismatch"), [(100_000, False), (101_000, True)])
def test_head_is_measured_like_the_tail(beyond_mwh: int, mismatch: bool) -> None:  # T5
    begin = [periodic(0, beyond_mwh, BEGIN)]
    found = session(0, KWH + beyond_mwh, [*begin, *steady(6_000, count=10, start_mwh=beyond_mwh)], seconds=600)
    assert (found.residual_mwh, found.mismatch) == (beyond_mwh, mismatch)


def test_lost_tail_of_a_slow_charger_is_seen_where_its_end_reading_tells() -> None:  # E07
    found = session(0, 9 * KWH, [*steady(7_200, count=10), periodic(600, 1_200 * WH, END)])
    assert (found.residual_mwh, found.mismatch) == (7_800 * WH, True)


def test_end_reading_counts_as_last_whatever_its_clock_says() -> None:
    found = session(0, 1_250 * WH, [periodic(500, 1_250 * WH, END), *steady(7_200, count=10)], seconds=600)
    assert not found.mismatch


@pytest.mark.parametrize("step_back_mwh", [999, 9_999])
def test_whole_wh_beside_samples_of_fewer_digits_are_no_step_back(step_back_mwh: int) -> None:
    readings = [periodic(seconds, energy + step_back_mwh) for seconds, energy in [(60, 100 * WH), (120, 200 * WH)]]
    found = session(0, 200 * WH, readings, seconds=120)
    assert (found.energy_mwh, found.mismatch) == (200 * WH, False)


def test_without_samples_the_register_difference_is_the_energy() -> None:
    assert session(5 * KWH, 15 * KWH, []) == Reconciled(
        energy_mwh=10 * KWH, residual_mwh=0, mismatch=False, findings=("no_samples",)
    )
    assert not session(0, 10**4 * KWH, [], seconds=1, max_power_w=None).mismatch


def test_without_samples_more_than_the_connector_can_give_is_flagged() -> None:
    assert not session(0, 22 * KWH, [], max_power_w=22_000).mismatch
    assert not session(0, 23 * KWH, [], max_power_w=22_000).mismatch  # mains at 240 V
    found = session(0, 30 * KWH, [], max_power_w=22_000)
    assert (found.mismatch, found.findings) == (True, ("residual", "no_samples"))
    assert session(0, KWH, [], seconds=0, max_power_w=22_000).mismatch  # a duration that the server had to invent


def test_sampling_slower_than_configured_is_the_charger_s_own_pace() -> None:
    found = session(0, 6 * KWH, steady(6_000, count=4, interval_s=900), interval_s=60)
    assert found.findings == ()


def test_car_that_rests_needs_no_samples() -> None:
    readings = [*steady(6_000, count=10), periodic(7200, 1_000 * WH)]
    assert session(0, 1_000 * WH, readings, seconds=7300).findings == ()


# ---- reconciliation: what is named (E08) ----------------------------------------------------------------------------


def test_gap_longer_than_three_intervals_is_named() -> None:  # E08
    held = [*steady(6_000, count=10), *steady(6_000, count=10, first_s=600 + 180)]
    assert session(0, 2_200 * WH, held, seconds=1320).findings == ()
    lost = [*steady(6_000, count=10), *steady(6_000, count=10, first_s=600 + 181)]
    found = session(0, 2_200 * WH, lost, seconds=1321)
    assert (found.findings, found.mismatch, found.residual_mwh) == (("gap",), True, 0)


@pytest.mark.parametrize("interval_s", [60, None])
def test_lost_end_of_the_samples_is_a_gap_even_where_power_explains_it(interval_s: int | None) -> None:  # E08
    found = session(0, 6 * KWH, steady(6_000, count=30), interval_s=interval_s)
    assert (found.findings, found.mismatch) == (("gap",), True)


def test_lost_beginning_of_the_samples_is_a_gap() -> None:  # E08
    found = session(0, 6 * KWH, steady(6_000, count=51, first_s=600))
    assert (found.findings, found.mismatch) == (("gap",), True)


@pytest.mark.parametrize("booted_inside", [False, True])
def test_register_that_starts_again_counts_its_rises_and_is_named(booted_inside: bool) -> None:  # E08, E09
    before = steady(6_000, count=10, start_mwh=900 * KWH)
    again = [periodic(600 + n * 60, n * 100 * WH) for n in range(11)]
    found = session(900 * KWH, 1_000 * WH, [*before, *again], seconds=1260, booted_inside=booted_inside)
    assert found.energy_mwh == 2 * KWH
    assert found.mismatch
    assert found.findings == ("register_reset", *(["boot_inside"] if booted_inside else []))


def test_stop_below_start_is_never_negative_nor_refused() -> None:  # E09
    found = session(900 * KWH, 5 * KWH, [])
    assert (found.energy_mwh, found.mismatch) == (0, True)
    assert found.findings == ("register_reset", "no_samples")


def test_boot_inside_that_lost_nothing_is_named_and_does_not_hold_the_bill() -> None:  # E08
    found = session(0, 1_000 * WH, steady(6_000, count=10), seconds=600, booted_inside=True)
    assert (found.findings, found.mismatch) == (("boot_inside",), False)


def test_boot_inside_without_any_sample_may_hide_a_reset() -> None:  # E08
    found = session(0, KWH, [], booted_inside=True)
    assert (found.findings, found.mismatch) == (("boot_inside", "no_samples"), True)


def test_unreadable_stop_takes_the_last_reading_and_waits_unless_it_is_the_end() -> None:  # X05, X17
    found = session(0, None, steady(6_000, count=10), seconds=600)
    assert (found.energy_mwh, found.findings, found.mismatch) == (1_000 * WH, ("unreadable_stop",), True)
    proven = session(0, None, [*steady(6_000, count=10), periodic(600, 1_000 * WH, END)], seconds=600)
    assert (proven.energy_mwh, proven.findings, proven.mismatch) == (1_000 * WH, ("unreadable_stop",), False)


def test_unreadable_start_takes_the_first_reading_and_waits_unless_it_is_the_beginning() -> None:
    found = session(None, 1_000 * WH, steady(6_000, count=10), seconds=600)
    assert (found.energy_mwh, found.findings, found.mismatch) == (900 * WH, ("unreadable_start",), True)
    proven = session(None, 1_000 * WH, [periodic(0, 0, BEGIN), *steady(6_000, count=10)], seconds=600)
    assert (proven.energy_mwh, proven.mismatch) == (1_000 * WH, False)


def test_nothing_readable_at_all_is_no_energy_and_waits() -> None:
    found = session(None, None, [])
    assert (found.energy_mwh, found.mismatch) == (0, True)
    assert found.findings == ("unreadable_start", "unreadable_stop", "no_samples")


def test_samples_in_kwh_that_say_wh_are_suspect() -> None:  # X16
    lying = [periodic(60 * n, 361 * WH + n * 100) for n in range(1, 11)]
    found = session(361 * KWH, 362 * KWH, lying, seconds=600)
    assert found.mismatch
    assert "unit_suspect" in found.findings
    assert found.findings[-1] == "samples_x1000"
    thousandfold = session(0, 10_000 * KWH, [], max_power_w=22_000)
    assert thousandfold.findings[-2:] == ("unit_suspect", "register_x0.001")


def drawn(power_w: int, *seconds: float, context: str = "Sample.Periodic") -> list[PowerReading]:
    return [PowerReading(after(second), power_w, context) for second in seconds]


def test_a_register_of_kwh_that_says_wh_is_betrayed_by_the_power_beside_it() -> None:  # X16, OpenEVSE #703
    """361 -> 362 "Wh" in seven minutes at 9,451 W; the start and the stop tell the same unit, so nothing else is odd."""
    readings = [periodic(0, 361 * WH), periodic(420, 362 * WH)]
    found = session(361 * WH, 362 * WH, readings, seconds=430, powers=drawn(9_451, 0, 420), interval_s=420)
    assert found.findings == ("unit_suspect", "register_x1000")
    assert not found.mismatch
    assert session(361 * WH, 362 * WH, readings, seconds=430, interval_s=420).findings == ()


@pytest.mark.parametrize(
    ("register_mwh", "power_w", "max_power_w", "finding"),
    [
        (1_100 * KWH, 6_600, 22_000, "register_x0.001"),  # Wh that say kWh
        (1_100 * WH, 7, 22_000, "power_x1000"),  # kW that say W: what the register tells is possible
        (1_100 * WH, 6_600_000, 22_000, "power_x0.001"),  # no connector delivers that
        (1_100, 6_600, 22_000, "register_x1000"),
        (1_100, 6_600, None, "register_x1000"),
        (1_100 * WH, 6_600, 22_000, None),
        (1_100 * WH, 600, 22_000, None),  # off, but by no unit
        (0, 6_600, 22_000, None),  # a register that stands still has no unit to lie about
        (20 * WH, 0, 22_000, None),
        (20, 6, 22_000, None),  # too little to say anything
    ],
)
def test_what_lies_by_a_thousand_is_named(  # X16
    register_mwh: int, power_w: int, max_power_w: int | None, finding: str | None
) -> None:
    readings = [periodic(60 * n, register_mwh * n // 10) for n in range(11)]
    powers = drawn(power_w, *range(0, 601, 60))
    found = session(0, register_mwh, readings, seconds=600, powers=powers, max_power_w=max_power_w)
    assert [name for name in found.findings if name in SCALES] == ([finding] if finding else [])
    assert ("unit_suspect" in found.findings) == (finding is not None)


def test_power_at_begin_and_end_is_no_witness() -> None:  # X16
    readings = [periodic(0, 0, BEGIN), periodic(3600, 10 * KWH, END)]
    idle = [*drawn(5, 0, context=BEGIN), *drawn(5, 3600, context=END)]
    assert session(0, 10 * KWH, readings, powers=idle, interval_s=None).findings == ()


def test_power_sampled_between_the_registers_readings_is_weighed_in_the_time_of_both() -> None:  # X16
    readings = [periodic(60 * n, 110 * n) for n in range(11)]
    found = session(0, 1_100, readings, seconds=600, powers=drawn(6_600, 30, 90, 150, 570, 900))
    assert found.findings == ("unit_suspect", "register_x1000")
    apart = session(0, 1_100, readings, seconds=600, powers=drawn(6_600, 700, 900))
    assert apart.findings == ()


@PATIENT
@given(st.integers(1_000, 350_000), st.lists(st.integers(1, 900), min_size=2, max_size=30), st.floats(0.1, 10))
def test_a_register_within_a_tenth_to_ten_times_its_power_is_never_suspect(  # X16
    power_w: int, steps: list[int], factor: float
) -> None:
    moments = list(accumulate(steps))
    readings = [periodic(at, round(power_w * factor * at / 3.6)) for at in moments]
    seconds, stop = moments[-1], readings[-1].energy_mwh
    found = session(0, stop, readings, seconds=seconds, powers=drawn(power_w, *moments), max_power_w=None)
    assert not {"unit_suspect", *SCALES} & set(found.findings) or power_w * factor > 350_000


def test_every_scale_is_a_finding_that_says_what_to_multiply_by_what() -> None:
    assert {f"{name.split('_x')[1]}" for name in SCALES} == {factor for _, factor in SCALES.values()}


# ---- reconciliation: times that cannot be trusted -------------------------------------------------------------------


def test_readings_out_of_order_are_put_in_order() -> None:
    readings = steady(6_000, count=10)
    assert session(0, 1_000 * WH, readings[::-1], seconds=600) == session(0, 1_000 * WH, readings, seconds=600)


def test_clock_that_jumps_back_on_the_way_is_no_register_reset() -> None:
    readings = steady(6_000, count=10)
    jumped = [
        *readings[:5],
        *(Reading(after(-86_400 * n), r.energy_mwh, r.context) for n, r in enumerate(readings[5:], 1)),
    ]
    found = session(0, 1_000 * WH, jumped, seconds=600)
    assert (found.energy_mwh, "register_reset" in found.findings) == (1_000 * WH, False)


@pytest.mark.parametrize(
    "offset", [timedelta(days=-3000), timedelta(hours=-1), timedelta(minutes=-15), timedelta(days=1)]
)
def test_samples_of_a_wrong_clock_beside_server_time_are_no_gap(offset: timedelta) -> None:  # F04, F05
    wrong = [Reading(after(60 * n) + offset, 100 * WH * n, "Sample.Periodic") for n in range(1, 61)]
    found = session(0, 6_050 * WH, wrong, seconds=3630)
    assert (found.energy_mwh, found.findings) == (6_050 * WH, ())
    lost = [*wrong[:20], *wrong[40:]]
    assert session(0, 6_050 * WH, lost, seconds=3630).findings == ("gap",)


def test_clock_that_is_set_right_on_the_way_is_no_gap() -> None:
    set_right = [*(Reading(after(60 * n - 10**8), 100 * WH * n, "Sample.Periodic") for n in range(1, 31)),
                 *(periodic(60 * n, 100 * WH * n) for n in range(31, 61))]  # fmt: skip
    assert session(0, 6_050 * WH, set_right, seconds=3630).findings == ()


def test_readings_without_a_time_count_where_they_arrived() -> None:
    timeless = [Reading(None, reading.energy_mwh, reading.context) for reading in steady(6_000, count=10)]
    found = session(0, 1_000 * WH, timeless, seconds=600)
    assert (found.energy_mwh, found.findings) == (1_000 * WH, ())
    mixed = [r if n % 2 else timeless[n] for n, r in enumerate(steady(6_000, count=10))]
    assert session(0, 1_000 * WH, mixed, seconds=600).energy_mwh == 1_000 * WH


# ---- properties -----------------------------------------------------------------------------------------------------

ENERGIES = st.integers(0, 10**9)
READINGS = st.lists(
    st.builds(
        Reading,
        st.none() | st.integers(-4000, 8000).map(after),
        ENERGIES,
        st.sampled_from(["Sample.Periodic", "Sample.Clock", BEGIN, END]),
    ),
    max_size=12,
)
MAYBE = st.none() | ENERGIES


@PATIENT
@given(
    MAYBE, MAYBE, READINGS, st.floats(0, 10_000), st.none() | st.integers(1, 900), st.none() | st.integers(0, 400_000)
)
def test_energy_and_residual_are_never_negative(
    start: int | None,
    stop: int | None,
    readings: list[Reading],
    seconds: float,
    interval_s: int | None,
    max_power_w: int | None,
) -> None:
    found = session(start, stop, readings, seconds=seconds, interval_s=interval_s, max_power_w=max_power_w)
    assert found.energy_mwh >= 0
    assert found.residual_mwh >= 0
    assert found.findings or not found.mismatch


@PATIENT
@given(MAYBE, MAYBE, READINGS, st.integers(0, 10**12))
def test_nothing_depends_on_the_absolute_register(  # E09
    start: int | None, stop: int | None, readings: list[Reading], shift: int
) -> None:
    shifted = [Reading(reading.at, reading.energy_mwh + shift, reading.context) for reading in readings]
    moved_start = None if start is None else start + shift
    moved_stop = None if stop is None else stop + shift
    assert session(moved_start, moved_stop, shifted) == session(start, stop, readings)


@PATIENT
@given(MAYBE, MAYBE, READINGS, st.data())
def test_readings_sent_again_change_nothing(  # E03
    start: int | None, stop: int | None, readings: list[Reading], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(readings), max_size=20)) if readings else []
    assert session(start, stop, [*readings, *again]) == session(start, stop, readings)


@PATIENT
@given(st.lists(ENERGIES, min_size=1, max_size=20))
def test_rises_make_at_least_the_whole_rise(points: list[int]) -> None:
    assert delivered(points) >= max(0, points[-1] - points[0])
