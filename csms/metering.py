"""What the meter says was delivered: every reading as mWh, resets survived, and the total held against the samples (T5).

A register counts the life of a meter, so only its differences mean anything, and its fall is a reset, never a negative
amount (E09). Nothing here knows a database or a clock.
"""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import accumulate, pairwise
from statistics import median_low
from typing import NamedTuple

from csms.events import MeterSample, SampledValue

TOLERANCE_MWH = 100_000  # E07: 0.100 kWh passes
ROUNDING_MWH = 10_000  # start and stop are whole Wh, samples may be kWh of two digits: less than this is no step back
GAP_INTERVALS = 3  # E08
CLOCKS_AGREE = timedelta(minutes=1)  # a sample this far outside its session is still of the same clock
UNKNOWN_CONNECTOR_W = 350_000  # assumed where the connector's maximum is not known: nothing common is stronger
HEADROOM = 1.25  # over a whole session, mains voltage above nominal lifts a charger past its rated power
UNREADABLE_MWH = 10**15  # a TWh: no charger's register
UNREADABLE_W = 10**8  # a hundred MW: no charger's power, and over all phases still an integer of any database
THOUSANDFOLD = (300, 3000)  # a register of whole kWh that says Wh is seen in steps, so about a thousand is wide (X16)

SIGNED = "SignedData"
BEGIN = "Transaction.Begin"
END = "Transaction.End"


class Reading(NamedTuple):
    """A meter at a moment. `at` is whatever time its maker gave it; None where there is none."""

    at: datetime | None
    energy_mwh: int
    context: str


class PowerReading(NamedTuple):
    """As `Reading`, of the power that was drawn then."""

    at: datetime | None
    power_w: int
    context: str


class CurrentReading(NamedTuple):
    """As `Reading`, of the current over all phases."""

    at: datetime | None
    current_ma: int
    context: str


@dataclass(frozen=True)
class Reconciled:
    """`energy_mwh` is what the register saw pass, never negative. `residual_mwh` is the part of it that the samples do
    not explain. `mismatch`: a bill must wait (E07). `findings` name what was seen, mismatch or not (E08):
    register_reset, gap, boot_inside, residual, unreadable_start, unreadable_stop, no_samples, unit_suspect; with the last
    one of SCALES, which would put it right (X16)."""

    energy_mwh: int
    residual_mwh: int
    mismatch: bool
    findings: tuple[str, ...]


def to_mwh(value: str, unit: str | None, multiplier: int = 0) -> int | None:
    """The text of an energy as mWh, halves to even; None for what is no amount of energy: NaN, infinity, words, a
    negative number, another unit, more than a TWh (X17).

    Without a unit it is Wh; Wh, kWh and MWh in any case (E10); a comma may be the decimal point; `multiplier` is a power
    of ten beside the unit (OCPP 2.x).
    """
    return _scaled(value, unit or "Wh", _ENERGY_UNITS, multiplier)


def register_readings(samples: Iterable[MeterSample]) -> tuple[Reading, ...]:
    """The import register at the outlet, in the order given: the total over phases, one reading per sample and context.
    What cannot be read is left out."""
    return tuple(_readings(samples, "Energy.Active.Import.Register"))


def intervals(samples: Iterable[MeterSample]) -> tuple[Reading, ...]:
    """Amounts that each stand for the interval that ended at `at`; `as_register` makes them comparable."""
    return tuple(_readings(samples, "Energy.Active.Import.Interval"))


def as_register(amounts: Iterable[Reading], meter_start_mwh: int) -> tuple[Reading, ...]:
    """Interval amounts added up from the meter's start, each counted once however often it was sent (T5)."""
    total = meter_start_mwh
    readings = []
    for amount in sorted(dict.fromkeys(amounts), key=lambda amount: amount.at.timestamp() if amount.at else 0.0):
        total += amount.energy_mwh
        readings.append(Reading(amount.at, total, amount.context))
    return tuple(readings)


def meter_readings(samples: Sequence[MeterSample], meter_start_mwh: int | None) -> tuple[Reading, ...]:
    """The register's readings. Of a charger that tells only what passed in each interval, those amounts added up from where
    its meter stood (T5); nothing when that is not known."""
    readings = register_readings(samples)
    if readings or meter_start_mwh is None:
        return readings
    return as_register(intervals(samples), meter_start_mwh)


def power_readings(samples: Iterable[MeterSample]) -> tuple[PowerReading, ...]:
    """The import power at the outlet, in the order given: the total over phases. What cannot be read is left out."""
    return tuple(
        PowerReading(sample.occurred_at, power_w, context)
        for sample in samples
        for context, power_w in _totals(sample, "Power.Active.Import", _power_w)
    )


def current_readings(samples: Iterable[MeterSample]) -> tuple[CurrentReading, ...]:
    """The import current at the outlet, in the order given: the sum of the phases. What cannot be read is left out."""
    return tuple(
        CurrentReading(sample.occurred_at, current_ma, context)
        for sample in samples
        for context, current_ma in _totals(sample, "Current.Import", _current_ma)
    )


def latest_power_w(samples: Sequence[MeterSample]) -> int | None:
    """The last readable active import power at the outlet, total over phases."""
    for sample in reversed(samples):
        for _, power_w in _totals(sample, "Power.Active.Import", _power_w):
            return power_w
    return None


def delivered(points: Sequence[int]) -> int:
    """What passed between register readings in order: the sum of their rises. A fall is a reset and costs nobody."""
    return sum(max(0, after - before) for before, after in pairwise(points))


def reconcile(
    *,
    meter_start_mwh: int | None,
    meter_stop_mwh: int | None,
    readings: Sequence[Reading],
    started_at: datetime,
    ended_at: datetime,
    interval_s: int | None,
    max_power_w: int | None,
    booted_inside: bool,
    powers: Sequence[PowerReading] = (),
) -> Reconciled:
    """T5: the register's total from start through the readings to stop, and what of it the readings leave open.

    Between the start and the first reading, and between the last and the stop, at most the connector's maximum power times
    that time can have passed; a Transaction.Begin or Transaction.End reading leaves it no time. What exceeds that is the
    residual. So a fast charger is explained by its speed, and energy that no reading and no time account for is not.
    A gap counts when it is longer than three intervals (the longer of the one configured and the one the charger keeps)
    and the register moved in it: chargers stop sampling a car that rests. Without any readings the register's difference
    stands, unless it is physically impossible or a restart may hide a reset. The register is also held against the power
    that was sampled beside it: about a thousand times too much or too little is a unit that lies (X16).
    """
    duration_s = max(0.0, (ended_at - started_at).total_seconds())
    known = _in_order(readings)
    boundaries = (meter_start_mwh, *(reading.energy_mwh for reading in known), meter_stop_mwh)
    points = [point for point in boundaries if point is not None]
    reset = _is_reset(meter_start_mwh, known, meter_stop_mwh)
    energy_mwh = delivered(points) if reset else max(0, points[-1] - points[0]) if points else 0
    residual_mwh = _ends_residual(meter_start_mwh, known, meter_stop_mwh, started_at, ended_at, max_power_w)
    possible_mwh = _could_pass(max_power_w or UNKNOWN_CONNECTOR_W, duration_s * HEADROOM)
    if max_power_w is not None:
        residual_mwh = max(residual_mwh, energy_mwh - possible_mwh)

    begun = bool(known) and known[0].context == BEGIN
    ended = bool(known) and known[-1].context == END
    holds = {  # what makes a bill wait
        "register_reset": reset,
        "gap": _has_gap(meter_start_mwh, known, meter_stop_mwh, started_at, ended_at, interval_s),
        "residual": residual_mwh > TOLERANCE_MWH,
        "unreadable_start": meter_start_mwh is None and not begun,
        "unreadable_stop": meter_stop_mwh is None and not ended,
        "boot_inside": booted_inside and not known,
    }
    doubtful = reset or holds["residual"]
    misread = _misscaled_ends(meter_start_mwh, known, meter_stop_mwh) if doubtful else None
    misread = misread or _misscaled_by_power(known, powers, max_power_w or UNKNOWN_CONNECTOR_W)
    if misread is None and doubtful and energy_mwh > 100 * possible_mwh + TOLERANCE_MWH:
        misread = "register_x0.001"
    named = {
        **holds,
        "boot_inside": booted_inside,
        "unreadable_start": meter_start_mwh is None,
        "unreadable_stop": meter_stop_mwh is None,
        "no_samples": not known,
        "unit_suspect": misread is not None,
    }
    return Reconciled(
        energy_mwh=energy_mwh,
        residual_mwh=residual_mwh,
        mismatch=any(holds.values()),
        findings=(*(name for name, found in named.items() if found), *((misread,) if misread else ())),
    )


# ---- from samples to readings ---------------------------------------------------------------------------------------

_ENERGY_UNITS = {"wh": 3, "kwh": 6, "mwh": 9}  # powers of ten to mWh
_POWER_UNITS = {"w": 0, "kw": 3, "mw": 6}
_CURRENT_UNITS = {"a": 3}
_SURELY_READABLE = 15  # digits, and so less than UNREADABLE_MWH
_NUMBER = re.compile(r"\s*\+?-?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d{1,3})?\s*", re.ASCII)
_PHASES = (("L1", "L2", "L3"), ("L1-N", "L2-N", "L3-N"))


def _scaled(value: str, unit: str, units: dict[str, int], multiplier: int) -> int | None:
    exponent = units.get(unit.strip().lower())
    if exponent is None or abs(multiplier) > 12:
        return None
    if not multiplier and len(value) + exponent <= _SURELY_READABLE and value.isascii() and value.isdecimal():
        return int(value + "0" * exponent)  # as nearly all are written
    if not _NUMBER.fullmatch(value):
        return None
    number = Decimal(value.strip().replace(",", "."))
    shift = exponent + multiplier
    if number <= 0 or number.adjusted() + shift > 20:  # the size of "1e999" is seen before it is made an integer
        return 0 if not number else None
    scaled = int(number.scaleb(shift).to_integral_value(ROUND_HALF_EVEN))
    return scaled if scaled <= UNREADABLE_MWH else None


def _energy_mwh(value: SampledValue) -> int | None:
    return to_mwh(value.value, value.unit, value.multiplier)


def _power_w(value: SampledValue) -> int | None:
    watts = _scaled(value.value, value.unit or "W", _POWER_UNITS, value.multiplier)
    return watts if watts is None or watts <= UNREADABLE_W else None


def _current_ma(value: SampledValue) -> int | None:
    return _scaled(value.value, value.unit or "A", _CURRENT_UNITS, value.multiplier)


def _readings(samples: Iterable[MeterSample], measurand: str) -> Iterable[Reading]:
    for sample in samples:
        for context, energy_mwh in _totals(sample, measurand, _energy_mwh):
            yield Reading(sample.occurred_at, energy_mwh, context)


def _totals(
    sample: MeterSample, measurand: str, amount: Callable[[SampledValue], int | None]
) -> Iterable[tuple[str, int]]:
    """Per context, in the order met: the value without a phase, else the sum of the phases if all of them can be read.
    Values at the inlet or in the body count what the charger itself consumes, and are no driver's."""
    wanted = [value for value in sample.values if value.measurand == measurand and _is_outlets(value)]
    if len(wanted) == 1 and wanted[0].phase is None:  # as nearly all are told
        if (total := amount(wanted[0])) is not None:
            yield wanted[0].context, total
        return
    contexts: dict[str, dict[str | None, int | None]] = {}
    for value in wanted:
        by_phase = contexts.setdefault(value.context, {})
        if by_phase.get(value.phase) is None:
            by_phase[value.phase] = amount(value)
    for context, by_phase in contexts.items():
        total = by_phase.get(None)
        for phases in _PHASES:
            if total is None:
                parts = [by_phase[phase] for phase in phases if phase in by_phase]
                readable = [part for part in parts if part is not None]
                total = sum(readable) if readable and len(readable) == len(parts) else None
        if total is not None:
            yield context, total


def _is_outlets(value: SampledValue) -> bool:
    return value.location == "Outlet" and value.format != SIGNED


# ---- reconciliation -------------------------------------------------------------------------------------------------

_CONTEXT_ORDER = {BEGIN: 0, END: 2}


def _in_order(readings: Sequence[Reading]) -> list[Reading]:
    """Each reading once, by time: the stop repeats what was sent before. A clock that jumped on the way makes time a
    worse witness than arrival; then arrival has fewer steps back and is believed."""
    arrived = list(dict.fromkeys(readings))
    times = []
    latest: datetime | None = None
    for reading in arrived:  # a reading without a time stands beside the one it came after
        latest = reading.at or latest
        times.append(latest)
    timed = [
        reading
        for _, reading in sorted(
            zip(times, arrived, strict=True),
            key=lambda pair: (
                _CONTEXT_ORDER.get(pair[1].context, 1),
                pair[0].timestamp() if pair[0] else float("-inf"),
            ),
        )
    ]
    return min(timed, arrived, key=_falls)


def _falls(readings: Sequence[Reading]) -> int:
    return sum(after.energy_mwh < before.energy_mwh for before, after in pairwise(readings))


def _is_reset(start: int | None, readings: Sequence[Reading], stop: int | None) -> bool:
    if not readings:
        return start is not None and stop is not None and stop < start
    first, last = readings[0].energy_mwh, readings[-1].energy_mwh
    return (
        _falls(readings) > 0
        or (start is not None and start - first >= ROUNDING_MWH)
        or (stop is not None and last - stop >= ROUNDING_MWH)
        or (start is not None and stop is not None and stop < start)
    )


def _ends_residual(
    start: int | None,
    readings: Sequence[Reading],
    stop: int | None,
    started_at: datetime,
    ended_at: datetime,
    max_power_w: int | None,
) -> int:
    if not readings:
        return 0
    power_w = max_power_w or UNKNOWN_CONNECTOR_W
    duration_s = max(0.0, (ended_at - started_at).total_seconds())
    first, last = readings[0], readings[-1]
    head_s = 0.0 if first.context == BEGIN else _elapsed_s(started_at, first.at, duration_s)
    tail_s = 0.0 if last.context == END else _elapsed_s(last.at, ended_at, duration_s)
    head = 0 if start is None else first.energy_mwh - start - _could_pass(power_w, head_s)
    tail = 0 if stop is None else stop - last.energy_mwh - _could_pass(power_w, tail_s)
    return max(0, head) + max(0, tail)


def _could_pass(power_w: int, seconds: float) -> int:
    return round(power_w * seconds * 1000 / 3600)


def _elapsed_s(since: datetime | None, until: datetime | None, duration_s: float) -> float:
    """Within the session. A time that is missing or makes no sense may have been anywhere in it."""
    if since is None or until is None:
        return duration_s
    if until < since - CLOCKS_AGREE:
        return duration_s
    return min(max(0.0, (until - since).total_seconds()), duration_s)


def _has_gap(
    start: int | None,
    readings: Sequence[Reading],
    stop: int | None,
    started_at: datetime,
    ended_at: datetime,
    interval_s: int | None,
) -> bool:
    """Samples keep the charger's time, start and end may be ours (F05): readings outside the session stand on another
    clock and are compared among themselves only, and a step longer than the session is the clock's."""
    timed = [(reading.at, reading.energy_mwh) for reading in readings if reading.at is not None]
    if not timed:
        return False
    spacings = [(after - before).total_seconds() for (before, _), (after, _) in pairwise(timed)]
    kept_s = median_low(spacings) if len(spacings) >= 3 else 0.0
    limit_s = GAP_INTERVALS * max(interval_s or 0, kept_s)
    if limit_s <= 0:
        return False
    same_clock = started_at - CLOCKS_AGREE <= timed[0][0] and timed[-1][0] <= ended_at + CLOCKS_AGREE
    head = [(started_at, start)] if same_clock and start is not None else []
    tail = [(ended_at, stop)] if same_clock and stop is not None else []
    longest_s = (ended_at - started_at + CLOCKS_AGREE).total_seconds()
    return any(
        limit_s < (until - since).total_seconds() <= longest_s and abs(after - before) >= ROUNDING_MWH
        for (since, before), (until, after) in pairwise([*head, *timed, *tail])
    )


# ---- units that lie (X16) -------------------------------------------------------------------------------------------

SCALES: dict[str, tuple[str, str]] = {  # the finding: what is to be multiplied, by what
    "register_x1000": ("the energy register, wherever it is told,", "1000"),
    "register_x0.001": ("the energy register, wherever it is told,", "0.001"),
    "samples_x1000": ("the energy register in the samples only", "1000"),
    "samples_x0.001": ("the energy register in the samples only", "0.001"),
    "power_x1000": ("the power in the samples", "1000"),
    "power_x0.001": ("the power in the samples", "0.001"),
}


def _misscaled_ends(start: int | None, readings: Sequence[Reading], stop: int | None) -> str | None:
    """Start and stop tell about a thousand times more, or less, than the readings between them, which see not quite all
    of it."""
    if start is None or stop is None or len(readings) < 2:
        return None
    outer, inner = stop - start, readings[-1].energy_mwh - readings[0].energy_mwh
    if _thousandfold(outer, inner):
        return "samples_x1000"
    return "samples_x0.001" if _thousandfold(inner, outer) else None


def _misscaled_by_power(readings: Sequence[Reading], powers: Sequence[PowerReading], max_power_w: int) -> str | None:
    """The register held against the power over time, while both were told. Which of the two lies is seen from what the
    connector can deliver. Power at the very begin or end is that of a car which does not charge yet, or no more."""
    told = sorted((p.at, p.power_w) for p in powers if p.at is not None and p.context not in (BEGIN, END))
    register = _passed(readings)
    if len(told) < 2 or len(register) < 2:
        return None
    since, until = max(told[0][0], register[0][0]), min(told[-1][0], register[-1][0])
    if since >= until:
        return None
    seen_mwh = _between(register, until) - _between(register, since)
    expected_mwh = _integral(told, since, until) * 1000 / 3600
    possible_mwh = _could_pass(max_power_w, (until - since).total_seconds() * HEADROOM)
    if seen_mwh >= TOLERANCE_MWH and _thousandfold(seen_mwh, expected_mwh):
        return "register_x0.001" if seen_mwh > possible_mwh else "power_x1000"
    if expected_mwh >= TOLERANCE_MWH and _thousandfold(expected_mwh, seen_mwh):
        return "power_x0.001" if expected_mwh > possible_mwh else "register_x1000"
    return None


def _thousandfold(more: float, less: float) -> bool:
    low, high = THOUSANDFOLD
    return less > 0 and low * less <= more <= high * less


def _passed(readings: Sequence[Reading]) -> list[tuple[datetime, int]]:
    """What had passed by each moment: the rises of the register, in order of time."""
    timed = [(reading.at, reading.energy_mwh) for reading in readings if reading.at is not None]
    timed.sort(key=lambda point: point[0])
    rises = [0, *(max(0, after - before) for (_, before), (_, after) in pairwise(timed))]
    return list(zip((at for at, _ in timed), accumulate(rises), strict=False))


def _between(points: Sequence[tuple[datetime, int]], at: datetime) -> float:
    """The value at a moment within `points`, on the line between its neighbours."""
    after = bisect_left(points, at, key=lambda point: point[0])
    (_, value), moment = points[after], points[after][0]
    if after == 0 or moment == at:
        return value
    since, before = points[after - 1]
    return before + (value - before) * ((at - since) / (moment - since))


def _integral(points: Sequence[tuple[datetime, int]], since: datetime, until: datetime) -> float:
    """Of the line through `points`, in their unit times seconds."""
    moments = [since, *(at for at, _ in points if since < at < until), until]
    return sum(
        (_between(points, begin) + _between(points, end)) / 2 * (end - begin).total_seconds()
        for begin, end in pairwise(moments)
    )
