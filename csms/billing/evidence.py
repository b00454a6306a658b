"""What a bill was made of, kept with it: the readings around each cut, the samples and statuses behind each period, and what
the charger claimed of its times."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from csms.billing import parking
from csms.billing.periods import Frame, Point, Seen
from csms.billing.sessions import Known, Priced, time_zone_of
from csms.metering import SIGNED

TOLD = (
    "started_at",
    "started_claimed_at",
    "started_received_at",
    "started_rule",
    "ended_at",
    "ended_claimed_at",
    "ended_received_at",
    "ended_rule",
    "meter_start_mwh",
    "meter_stop_mwh",
    "energy_mwh",
    "cause",
    "flags",
    "findings",
)


def evidence_of(transaction: Any, known: Known, found: Priced) -> dict[str, Any]:
    """As JSON. `session` is what the transaction said when it was billed; all else is what made the price.

    `cuts` has one entry for each border between two periods: what had passed there, and the known points around it as
    {at, passed_mwh, shown_mwh, event}, the last two None where it is the start or the end itself. `samples` has for each
    period the readings that lie in it, as [event, at, what the register showed]. `reservation` is there where one was priced.
    """
    tariff, stretches = known.tariff, found.price.periods
    end = stretches[-1].end if stretches else transaction.ended_at
    evidence = {
        "rounding": {"decimals": known.rounding.decimals, "to_even": known.rounding.to_even},
        "time_zone": time_zone_of(transaction),
        "tariff": {"id": tariff.id, "version": tariff.version} if tariff is not None else None,
        "cuts": _cuts(found),
        "samples": _samples(found),
        "statuses": [
            {"at": change.at, "status": change.status, "event": change.event_id}
            for change in parking.behind(known.statuses, transaction.started_at, end, transaction.started_rule)
        ],
        "session": {name: getattr(transaction, name) for name in TOLD},
    }
    if (kept := found.price.reservation) is not None:
        number = transaction.snapshot["reservation"]["number"]
        evidence["reservation"] = {"number": number, "start": kept.start, "end": kept.end}
    told: dict[str, Any] = msgspec.to_builtins(evidence)
    return told


def is_gone(record: Any, known: Known, *, samples: bool = True) -> bool:
    """Whether what a charge record was made of is deleted by its age: its statuses and, if they are asked for, its samples."""
    evidence: Mapping[str, Any] = record.evidence or {}
    told = {status["event"] for status in evidence.get("statuses") or ()}
    if samples:
        told |= {event for readings in evidence.get("samples") or () for event, _, _ in readings}
    return not told <= {frame.event_id for frame in known.frames} | {change.event_id for change in known.statuses}


def signed_values(frames: Sequence[Frame]) -> list[dict[str, Any]] | None:
    """What the meter signed, each once, as it was sent: {at, context, value}. None where it signed nothing."""
    found: dict[tuple[str, str], Any] = {}
    for frame in frames:
        for sample in frame.samples:
            for value in sample.values:
                if value.format == SIGNED:
                    told = {"at": sample.occurred_at, "context": value.context, "value": value.value}
                    found.setdefault((value.context, value.value), told)
    return msgspec.to_builtins(list(found.values())) if found else None


def _cuts(found: Priced) -> list[dict[str, Any]]:
    stretches, points = found.price.periods, found.points
    passed = accumulate(period.energy_mwh for period in stretches)
    moments = [at for at, _ in points]
    cuts = []
    for period, so_far in zip(stretches[:-1], passed, strict=False):
        after = min(max(bisect_left(moments, period.end), 1), len(points) - 1)
        cuts.append(
            {
                "at": period.end,
                "passed_mwh": so_far,
                "before": _shown(points, found.readings, after - 1),
                "after": _shown(points, found.readings, after),
            }
        )
    return cuts


def _shown(points: Sequence[Point], readings: Sequence[Seen], number: int) -> dict[str, Any]:
    """The first point is the start and the last the end; between them each is a reading's."""
    at, passed = points[number]
    told = readings[number - 1] if 0 < number <= len(readings) else None
    return {
        "at": at,
        "passed_mwh": passed,
        "shown_mwh": told[1] if told else None,
        "event": told[2] if told else None,
    }


def _samples(found: Priced) -> list[list[Any]]:
    """A reading on a border belongs to the period that it ends."""
    ends = [period.end for period in found.price.periods]
    starts = ends[:-1]
    behind: list[list[Any]] = [[] for _ in ends]
    for (at, _), (_, shown_mwh, event) in zip(found.points[1:-1], found.readings, strict=True):
        behind[bisect_left(starts, at)].append((event, at, shown_mwh))
    return behind
