"""A session's energy in stretches of a quarter of an hour: what was told of a running one stays true when it goes on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from csms.billing.tariffs import Period
from csms.clock import SKEW_LIMIT
from csms.events import MeterSample
from csms.metering import register_readings

CUT = timedelta(minutes=15)
MICROSECOND = timedelta(microseconds=1)

Point = tuple[datetime, int]  # a moment, and the mWh that had passed by then; or what the register showed


@dataclass(frozen=True, kw_only=True)
class Frame:
    """Samples as they arrived together; `occurred_at` is their time as the core believed it."""

    received_at: datetime
    occurred_at: datetime
    samples: tuple[MeterSample, ...]


# ---- periods --------------------------------------------------------------------------------------------------------


def periods(started_at: datetime, until: datetime, points: Sequence[Point]) -> tuple[Period, ...]:
    """From the start to `until`, cut every quarter of an hour; at a cut the energy is interpolated.

    `points` are in order, cumulative since the start and never falling; the energy of the last is the sum of all periods.
    There is always one period, of no length where the session has none. With a last point at `until`, points that come
    later change none but the last period. ValueError: `until` is before the start (E11).
    """
    if until < started_at:
        raise ValueError(f"a session cannot end at {until} when it started at {started_at}")
    known = [(started_at, 0), *points]
    total = known[-1][1]
    cuts = _cuts(started_at, until)
    levels = [0, *_levels([*known, (until, total)], cuts), total]
    return tuple(
        Period(start=start, end=end, energy_mwh=after - before)
        for (start, end), (before, after) in zip(pairwise([started_at, *cuts, until]), pairwise(levels), strict=True)
    )


def closed(of_running: Sequence[Period]) -> tuple[Period, ...]:
    """Those of a running session that will not change any more: the last one still grows."""
    return tuple(of_running[:-1])


def _cuts(started_at: datetime, until: datetime) -> list[datetime]:
    return [started_at + CUT * number for number in range(1, -((started_at - until) // CUT))]


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
    readings: dict[tuple[datetime, int, str], Point] = {}
    for frame in frames:
        shift = _shift(frame, started_at)
        for reading in register_readings(frame.samples):
            at = frame.occurred_at if reading.at is None else reading.at + shift
            identity = (reading.at or frame.occurred_at, reading.energy_mwh, reading.context)
            readings.setdefault(identity, (at, reading.energy_mwh))
    arrived = tuple(readings.values())
    timed = tuple(sorted(arrived, key=lambda point: point[0]))
    return min(timed, arrived, key=_falls)


def points_from(
    readings: Sequence[Point], *, started_at: datetime, until: datetime, meter_start_mwh: int | None, energy_mwh: int
) -> tuple[Point, ...]:
    """What had passed at each reading: the rises of the register, its falls being resets.

    `energy_mwh` is what was delivered in all: it is what the last point says, no point says more, and what the readings do
    not explain passed after the last of them. Times lie within the session and never step back.
    """
    points = [(started_at, 0)]
    register, passed = meter_start_mwh, 0
    for at, shown in readings:
        passed += max(0, shown - register) if register is not None else 0
        register = shown
        points.append((min(max(at, points[-1][0]), until), min(passed, energy_mwh)))
    return (*points, (until, energy_mwh))


def _shift(frame: Frame, started_at: datetime) -> timedelta:
    """Nothing where the samples' own times are believed (T2: near their reception, or inside their session). Else they keep
    their distances, and the last stands where the core put the frame."""
    claims = [sample.occurred_at for sample in frame.samples if sample.occurred_at is not None]
    if not claims:
        return timedelta()
    last = claims[-1]
    live = abs(frame.received_at - last) <= SKEW_LIMIT
    inside = started_at <= last <= frame.received_at
    return timedelta() if live or inside else frame.occurred_at - last


def _falls(points: Sequence[Point]) -> int:
    return sum(after < before for (_, before), (_, after) in pairwise(points))
