"""A partner's charging profile as ours, and what a charger will do as an ActiveChargingProfile (mod_charging_profiles)."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from adapters.datatypes import Unreadable, moment, number, plain, present, read_moment
from csms.commands import Outcome
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    SchedulePeriod,
)

ACCEPTED = "ACCEPTED"
NOT_SUPPORTED = "NOT_SUPPORTED"
REJECTED = "REJECTED"
TOO_OFTEN = "TOO_OFTEN"
UNKNOWN_SESSION = "UNKNOWN_SESSION"

# What came of it at the charger, in the three words that there are.
RESULT = dict.fromkeys(Outcome, "REJECTED") | {Outcome.ACCEPTED: "ACCEPTED", Outcome.NOT_FOUND: "UNKNOWN"}

UNIT = {unit.value: unit for unit in RateUnit}
TENTH = Decimal("0.1")

Limits = Iterable[tuple[int, Decimal | None]]


def profile_response(result: str, *, timeout_s: int = 0) -> dict[str, Any]:
    """The ChargingProfileResponse at once. `timeout_s`: the result comes before it ends; 0 where none will come."""
    return {"result": result, "timeout": timeout_s}


def profile_result(outcome: Outcome, active: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """ActiveChargingProfileResult, ChargingProfileResult or ClearProfileResult: only the first has a profile."""
    return present({"result": RESULT[outcome], "profile": active})


def profile_from_ocpi(sent: Mapping[str, Any]) -> ChargingProfile:
    """Of one transaction. Without a start_date_time it counts from the start of charging, without a duration it holds until
    the end. A limit of more than one decimal is cut, since it is a maximum (CP-09). Raises Unreadable."""
    start = sent.get("start_date_time")
    starts_at = None if start is None else read_moment(start, "start_date_time")
    periods = sent.get("charging_profile_period") or ()
    minimum = sent.get("min_charging_rate")
    schedule = ChargingSchedule(
        unit=UNIT[_word(sent)],
        periods=tuple(_period(period) for period in periods),
        starts_at=starts_at,
        duration_s=sent.get("duration"),
        min_rate=None if minimum is None else _limit(minimum, "min_charging_rate"),
    )
    return ChargingProfile(
        profile_id=0,
        stack_level=0,
        purpose=ProfilePurpose.TX,
        kind=ProfileKind.RELATIVE if starts_at is None else ProfileKind.ABSOLUTE,
        schedule=schedule,
    )


def active_profile(
    starts_at: datetime, unit: RateUnit, limits: Limits, *, duration_s: int | None, maximum: Decimal
) -> dict[str, Any]:
    """`limits` from each second on, None where nothing but the EVSE itself limits: its `maximum` is shown there, and where
    more is allowed than that (CP-07)."""
    shown = [(second, maximum if limit is None else min(limit, maximum)) for second, limit in limits]
    periods = [
        {"start_period": second, "limit": plain(limit.quantize(TENTH, ROUND_DOWN))}
        for place, (second, limit) in enumerate(shown)
        if place == 0 or limit != shown[place - 1][1]
    ]
    return {
        "start_date_time": moment(starts_at),
        "charging_profile": present(
            {
                "start_date_time": moment(starts_at),
                "duration": duration_s,
                "charging_rate_unit": unit.value,
                "charging_profile_period": periods,
            }
        ),
    }


def _period(sent: Mapping[str, Any]) -> SchedulePeriod:
    return SchedulePeriod(start_s=int(sent["start_period"]), limit=_limit(sent["limit"], "limit"))


def _limit(value: Any, field: str) -> Decimal:
    limit = number(value, field)
    if limit < 0:
        raise Unreadable(field, "less than 0")
    return plain(limit.quantize(TENTH, ROUND_DOWN))


def _word(sent: Mapping[str, Any]) -> str:
    word = str(sent.get("charging_rate_unit"))
    if word not in UNIT:
        raise Unreadable("charging_rate_unit", "neither W nor A")
    return word
