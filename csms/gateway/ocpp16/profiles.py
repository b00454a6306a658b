"""Charging profiles between our words and OCPP 1.6's, both ways; on the wire a limit has at most one decimal."""

from decimal import ROUND_DOWN, Decimal, InvalidOperation

import msgspec

from csms import clock
from csms.commands import ClearChargingProfile, GetCompositeSchedule, Outcome, ScheduleAnswer, SetChargingProfile
from csms.gateway.frames import Json
from csms.gateway.ocpp16.answers import time_text
from csms.gateway.ocpp16.outcomes import ACCEPTED_OR_NOT, status_of
from csms.gateway.ocpp16.salvage import number, text, whole
from csms.smart_charging.profile import (
    ChargingProfile,
    ChargingSchedule,
    ProfileKind,
    ProfilePurpose,
    RateUnit,
    Recurrency,
    SchedulePeriod,
)

PURPOSE = {
    ProfilePurpose.STATION_MAX: "ChargePointMaxProfile",
    ProfilePurpose.TX_DEFAULT: "TxDefaultProfile",
    ProfilePurpose.TX: "TxProfile",
}
KIND = {ProfileKind.ABSOLUTE: "Absolute", ProfileKind.RECURRING: "Recurring", ProfileKind.RELATIVE: "Relative"}
RECURRENCY = {Recurrency.DAILY: "Daily", Recurrency.WEEKLY: "Weekly"}
UNIT = {RateUnit.WATT: "W", RateUnit.AMPERE: "A"}
_UNIT_IN_ANY_CASE = {word.casefold(): unit for unit, word in UNIT.items()}

FINEST = Decimal("0.1")
HIGHEST_LIMIT = 10**9  # W or A; what is above, or below nothing, is nonsense
LONGEST_S = 366 * 24 * 3600


def set_charging_profile(command: SetChargingProfile) -> dict[str, Json]:
    return {"connectorId": command.evse, "csChargingProfiles": profile_payload(command.profile)}


def clear_charging_profile(command: ClearChargingProfile) -> dict[str, Json]:
    payload: dict[str, Json] = {}
    if command.profile_id is not None:
        payload["id"] = command.profile_id
    if command.evse is not None:
        payload["connectorId"] = command.evse
    if command.purpose is not None:
        payload["chargingProfilePurpose"] = PURPOSE[command.purpose]
    if command.stack_level is not None:
        payload["stackLevel"] = command.stack_level
    return payload


def get_composite_schedule(command: GetCompositeSchedule) -> dict[str, Json]:
    payload: dict[str, Json] = {"connectorId": command.evse, "duration": command.duration_s}
    return payload if command.unit is None else payload | {"chargingRateUnit": UNIT[command.unit]}


def composite_schedule(payload: Json) -> ScheduleAnswer:
    """Without a schedule that can be read the station has told none, whatever its status."""
    answer = status_of(payload, ACCEPTED_OR_NOT, ScheduleAnswer)
    if answer.outcome is not Outcome.ACCEPTED:
        return answer
    schedule = schedule_from(payload.get("chargingSchedule"))
    starts_at = clock.read(payload.get("scheduleStart")) or (schedule.starts_at if schedule else None)
    evse = whole(payload.get("connectorId"))
    return msgspec.structs.replace(answer, evse=evse, starts_at=starts_at, schedule=schedule)


def profile_payload(profile: ChargingProfile) -> dict[str, Json]:
    payload: dict[str, Json] = {
        "chargingProfileId": profile.profile_id,
        "stackLevel": profile.stack_level,
        "chargingProfilePurpose": PURPOSE[profile.purpose],
        "chargingProfileKind": KIND[profile.kind],
        "chargingSchedule": _schedule(profile.schedule),
    }
    if profile.transaction_ref is not None:
        payload["transactionId"] = int(profile.transaction_ref)
    if profile.recurrency is not None:
        payload["recurrencyKind"] = RECURRENCY[profile.recurrency]
    if profile.valid_from is not None:
        payload["validFrom"] = time_text(profile.valid_from)
    if profile.valid_to is not None:
        payload["validTo"] = time_text(profile.valid_to)
    return payload


def schedule_from(payload: Json) -> ChargingSchedule | None:
    """None when it has no unit we know, or no period that can be read."""
    if not isinstance(payload, dict):
        return None
    unit = _UNIT_IN_ANY_CASE.get((text(payload.get("chargingRateUnit")) or "").casefold())
    rows = payload.get("chargingSchedulePeriod")
    rows = [rows] if isinstance(rows, dict) else rows
    periods = [_period_from(row) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    readable = sorted((period for period in periods if period is not None), key=lambda period: period.start_s)
    if unit is None or not readable:
        return None
    return ChargingSchedule(
        unit=unit,
        periods=tuple(readable),
        starts_at=clock.read(payload.get("startSchedule")),
        duration_s=_seconds(payload.get("duration")),
        min_rate=_decimal(payload.get("minChargingRate")),
    )


def _schedule(schedule: ChargingSchedule) -> dict[str, Json]:
    payload: dict[str, Json] = {
        "chargingRateUnit": UNIT[schedule.unit],
        "chargingSchedulePeriod": [_period(period) for period in schedule.periods],
    }
    if schedule.starts_at is not None:
        payload["startSchedule"] = time_text(schedule.starts_at)
    if schedule.duration_s is not None:
        payload["duration"] = schedule.duration_s
    if schedule.min_rate is not None:
        payload["minChargingRate"] = _rate(schedule.min_rate)
    return payload


def _period(period: SchedulePeriod) -> dict[str, Json]:
    payload: dict[str, Json] = {"startPeriod": period.start_s, "limit": _rate(period.limit)}
    return payload if period.phases is None else payload | {"numberPhases": period.phases}


def _period_from(payload: dict[str, Json]) -> SchedulePeriod | None:
    start_s, limit = _seconds(payload.get("startPeriod")), _decimal(payload.get("limit"))
    if start_s is None or limit is None or not 0 <= limit <= HIGHEST_LIMIT:
        return None
    phases = whole(payload.get("numberPhases"))
    return SchedulePeriod(start_s=start_s, limit=limit, phases=phases if phases in (1, 2, 3) else None)


def _seconds(value: Json) -> int | None:
    """None also for more than a year: no schedule is so long, and no time can be reckoned with it."""
    read = whole(value)
    return read if read is not None and 0 <= read <= LONGEST_S else None


def _rate(limit: Decimal) -> int | float:
    """Down, never up: what does not fit the wire must not exceed what was meant."""
    if not limit.is_finite():
        raise ValueError(f"a limit of {limit}")
    tenths = limit.quantize(FINEST, rounding=ROUND_DOWN)
    return int(tenths) if tenths == tenths.to_integral_value() else float(tenths)


def _decimal(value: Json) -> Decimal | None:
    read = number(value)
    try:
        return None if read is None else Decimal(str(read))
    except InvalidOperation:
        return None
