"""A session's energy in stretches of a quarter of an hour at most, cut wherever its price can change: what was told of a
running one stays true when it goes on."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

from csms.billing.parking import Stretch, is_parked
from csms.billing.restrictions import Restrictions, clock_changes, durations, levels
from csms.billing.tariffs import Period, Tariff
from csms.clock import SKEW_LIMIT
from csms.events import MeterSample
from csms.metering import current_readings, power_readings, register_readings

CUT = timedelta(minutes=15)
MICROSECOND = timedelta(microseconds=1)
NO_TIME = timedelta()

Point = tuple[datetime, int]  # a moment, and the mWh that had passed by then; or what the register showed
Seen = tuple[datetime, int, str]  # what the register showed, and the event that said so
Measured = Sequence[tuple[datetime, Decimal]]  # in order; each holds until the next, and the first from the start on


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Samples as they arrived together; `occurred_at` is their time as the core believed it."""

    received_at: datetime
    occurred_at: datetime
    samples: tuple[MeterSample, ...]
    event_id: str = ""


# ---- periods --------------------------------------------------------------------------------------------------------


def periods(
    started_at: datetime,
    until: datetime,
    points: Sequence[Point],
    *,
    tariff: Tariff | None = None,
    time_zone: str = "UTC",
    parked: Sequence[Stretch] = (),
    currents_a: Measured = (),
    powers_w: Measured = (),
) -> tuple[Period, ...]:
    """From the start to `until`, cut every quarter of an hour, where it begins or ends to be `parked`, and wherever an element
    of `tariff` may begin or cease to apply; at a cut the energy is interpolated between the readings around it.

    `points` are in order, cumulative since the start and never falling; the energy of the last is the sum of all periods.
    There is always one period, of no length where the session has none. With a last point at `until`, points that come
    later change none but the last period. A period has the current and power that were measured last by its start, where
    the tariff asks for them. ValueError: `until` is before the start (E11).
    """
    if until < started_at:
        raise ValueError(f"a session cannot end at {until} when it started at {started_at}")
    known = [(started_at, 0), *points]
    total = known[-1][1]
    cuts = {*_cuts(started_at, until), *(at for stretch in parked for at in stretch if started_at < at < until)}
    currents: Measured = ()
    powers: Measured = ()
    if tariff is not None:
        restrictions = [element.restrictions for element in tariff.elements if element.restrictions is not None]
        cuts |= clock_changes(restrictions, started_at, until, ZoneInfo(time_zone))
        cuts |= {at for limit in durations(restrictions) if started_at < (at := started_at + limit) < until}
        reached = [point for level in levels(restrictions) if (point := _reached(known, level)) is not None]
        cuts |= {at for at, _ in reached if started_at < at < until}
        known = sorted([*known, *reached])
        currents, powers = _where_it_matters(restrictions, currents_a, powers_w)
        cuts |= {at for at, _ in (*currents[1:], *powers[1:]) if started_at < at < until}
    in_order = sorted(cuts)
    passed = [0, *_levels([*known, (until, total)], in_order), total]
    starts = [started_at, *in_order]
    return tuple(
        Period(
            start=start,
            end=end,
            energy_mwh=after - before,
            parking=bool(parked) and is_parked(parked, start),
            current_a=current,
            power_w=None if power is None else int(power),
        )
        for (start, end), (before, after), current, power in zip(
            pairwise([*starts, until]),
            pairwise(passed),
            _holding(currents, starts),
            _holding(powers, starts),
            strict=True,
        )
    )


def closed(of_running: Sequence[Period]) -> tuple[Period, ...]:
    """Those of a running session that will not change any more: the last one still grows."""
    return tuple(of_running[:-1])


def asks_for_current(tariff: Tariff | None) -> bool:
    return tariff is not None and any(_limits(_of(tariff), "current"))


def asks_for_power(tariff: Tariff | None) -> bool:
    return tariff is not None and any(_limits(_of(tariff), "power"))


def _of(tariff: Tariff) -> list[Restrictions]:
    return [element.restrictions for element in tariff.elements if element.restrictions is not None]


def _limits(restrictions: Iterable[Restrictions], what: str) -> list[Decimal]:
    """At which values one may begin or cease to match, in order."""
    told = {getattr(r, f"{bound}_{what}") for r in restrictions for bound in ("min", "max")} - {None}
    return sorted(told)


def _where_it_matters(
    restrictions: Sequence[Restrictions], currents_a: Measured, powers_w: Measured
) -> tuple[Measured, Measured]:
    """Of each run of values that no restriction tells apart, the first."""
    in_kw = [limit * 1000 for limit in _limits(restrictions, "power")]
    return _first_of_each(currents_a, _limits(restrictions, "current")), _first_of_each(powers_w, in_kw)


def _first_of_each(values: Measured, limits: Sequence[Decimal]) -> Measured:
    if not limits:
        return ()
    sides = [bisect_right(limits, value) for _, value in values]
    return [one for one, side, before in zip(values, sides, [-1, *sides], strict=False) if side != before]


def _holding(values: Measured, starts: Sequence[datetime]) -> Iterable[Decimal | None]:
    """What held at each of `starts`, which are in order."""
    if not values:
        yield from (None for _ in starts)
        return
    number = 0
    for start in starts:
        while number + 1 < len(values) and values[number + 1][0] <= start:
            number += 1
        yield values[number][1]


def _cuts(started_at: datetime, until: datetime) -> list[datetime]:
    return [started_at + CUT * number for number in range(1, -((started_at - until) // CUT))]


def _reached(points: Sequence[Point], level: int) -> Point | None:
    """When so much had passed, between the readings before and after; None: it never had."""
    for (since, before), (at, after) in pairwise(points):
        if before < level < after:
            return since + MICROSECOND * ((at - since) // MICROSECOND * (level - before) // (after - before)), level
        if level == after:
            return at, level
    return None


def _levels(points: Sequence[Point], cuts: Sequence[datetime]) -> Iterable[int]:
    """What had passed at each of `cuts`, which lie within `points`. Where the energy jumps at a cut, what was before it."""
    reached = 1
    for cut in cuts:
        while points[reached][0] < cut:
            reached += 1
        (since, before), (at, after) = points[reached - 1], points[reached]
        yield before + (after - before) * ((cut - since) // MICROSECOND) // ((at - since) // MICROSECOND)


# ---- points ---------------------------------------------------------------------------------------------------------


def in_order(frames: Iterable[Frame], started_at: datetime) -> tuple[Point, ...]:
    """Every register reading once, by its believed time: the stop repeats what was sent before.

    A clock that jumped on the way makes time a worse witness than arrival; then the order of arrival is kept.
    """
    return tuple((at, shown) for at, shown, _ in seen(frames, started_at))


def seen(frames: Iterable[Frame], started_at: datetime) -> tuple[Seen, ...]:
    """As `in_order`, with the event that told each reading first."""
    readings: dict[tuple[datetime, int, str], Seen] = {}
    for frame in frames:
        shift = _shift(frame, started_at)
        for reading in register_readings(frame.samples):
            told = reading.at or frame.occurred_at
            at = told if reading.at is None or shift is NO_TIME else told + shift
            readings.setdefault((told, reading.energy_mwh, reading.context), (at, reading.energy_mwh, frame.event_id))
    arrived = tuple(readings.values())
    if all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(arrived)):
        return arrived
    timed = tuple(sorted(arrived, key=lambda point: point[0]))
    return min(timed, arrived, key=_falls)


def currents_a(frames: Iterable[Frame], started_at: datetime) -> Measured:
    """The current over all phases as it was sampled, by its believed time."""
    return _measured(
        (frame, started_at, ((one.at, Decimal(one.current_ma).scaleb(-3)) for one in current_readings(frame.samples)))
        for frame in frames
    )


def powers_w(frames: Iterable[Frame], started_at: datetime) -> Measured:
    return _measured(
        (frame, started_at, ((one.at, Decimal(one.power_w)) for one in power_readings(frame.samples)))
        for frame in frames
    )


def _measured(told: Iterable[tuple[Frame, datetime, Iterable[tuple[datetime | None, Decimal]]]]) -> Measured:
    """Of several values at one moment the last that came holds."""
    found: dict[datetime, Decimal] = {}
    for frame, started_at, values in told:
        shift = _shift(frame, started_at)
        for at, value in values:
            found[frame.occurred_at if at is None else at + shift] = value
    return sorted(found.items())


def points_from(
    readings: Sequence[Point], *, started_at: datetime, until: datetime, meter_start_mwh: int | None, energy_mwh: int
) -> tuple[Point, ...]:
    """What had passed at each reading: the rises of the register, its falls being resets.

    `energy_mwh` is what was delivered in all: it is what the last point says, no point says more, and what the readings do
    not explain passed after the last of them. Times lie within the session and never step back.
    """
    points = [(started_at, 0)]
    register, passed, latest = meter_start_mwh, 0, started_at
    for at, shown in readings:
        if register is not None and shown > register:
            passed += shown - register
        register = shown
        if at > latest:
            latest = at if at < until else until
        points.append((latest, passed if passed < energy_mwh else energy_mwh))
    return (*points, (until, energy_mwh))


def _shift(frame: Frame, started_at: datetime) -> timedelta:
    """Nothing where the samples' own times are believed (T2: near their reception, or inside their session). Else they keep
    their distances, and the last stands where the core put the frame."""
    last = frame.samples[-1].occurred_at if frame.samples else None
    if last is None:
        last = next((sample.occurred_at for sample in reversed(frame.samples) if sample.occurred_at is not None), None)
    if last is None or started_at <= last <= frame.received_at or abs(frame.received_at - last) <= SKEW_LIMIT:
        return NO_TIME
    return frame.occurred_at - last


def _falls(points: Sequence[Seen]) -> int:
    return sum(after[1] < before[1] for before, after in pairwise(points))
