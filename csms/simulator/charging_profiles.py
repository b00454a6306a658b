"""The charging profiles that a simulated charger holds, and what they allow together (OCPP 1.6 section 3.13)."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from csms.simulator.wire import Handled, Payload, status

if TYPE_CHECKING:
    from csms.simulator.charge_point import ChargePoint
    from csms.simulator.connector import Connector

MAX, DEFAULT, TX = "ChargePointMaxProfile", "TxDefaultProfile", "TxProfile"
RECURS = {"Daily": timedelta(days=1), "Weekly": timedelta(days=7)}
VOLTS, PHASES = 230, 3


class ChargingProfiles:
    def __init__(self) -> None:
        self.held: list[tuple[int, Payload]] = []  # (connectorId, csChargingProfiles)
        self.promised: dict[int, tuple[str, Payload]] = {}  # connectorId -> card and profile of a RemoteStart

    def put(self, connector: int, profile: Payload) -> None:
        """In place of one with its id, or with its purpose and level at the same connector."""
        place = (connector, profile["chargingProfilePurpose"], profile["stackLevel"])
        self.held = [
            (at, held)
            for at, held in self.held
            if held["chargingProfileId"] != profile["chargingProfileId"]
            and (at, held["chargingProfilePurpose"], held["stackLevel"]) != place
        ]
        self.held.append((connector, profile))

    def clear(self, wanted: Payload) -> int:
        """How many fitted every criterion."""
        kept = [(at, held) for at, held in self.held if not _fits(at, held, wanted)]
        cleared = len(self.held) - len(kept)
        self.held = kept
        return cleared

    def end_transaction(self, connector: int) -> None:
        self.held = [(at, held) for at, held in self.held if at != connector or held["chargingProfilePurpose"] != TX]

    def limit_w(self, connector: int, at: datetime, started_at: datetime | None) -> Decimal | None:
        """The lower of what the transaction's profile and the station's allow; None without any."""
        own = self._highest(TX, (connector,), at, started_at)
        if own is None:
            own = self._highest(DEFAULT, (connector, 0), at, started_at)
        limits = [limit for limit in (own, self._highest(MAX, (0,), at, started_at)) if limit is not None]
        return min(limits, default=None)

    def _highest(
        self, purpose: str, places: tuple[int, ...], at: datetime, started_at: datetime | None
    ) -> Decimal | None:
        """The connector's own profiles before the station's, the higher level before the lower."""
        of_purpose = [
            (place, held) for place, held in self.held if held["chargingProfilePurpose"] == purpose and place in places
        ]
        for _, held in sorted(of_purpose, key=lambda one: (places.index(one[0]), -one[1]["stackLevel"])):
            limit = _limit_w(held, at, started_at)
            if limit is not None:
                return limit
        return None


def set_charging_profile(charge_point: ChargePoint, payload: Payload) -> Handled:
    connector, profile = payload["connectorId"], payload["csChargingProfiles"]
    if connector not in (0, *charge_point.connectors):
        return status("Rejected")
    place = charge_point.connectors.get(connector)
    if not _may_hold(place, profile, charge_point.configuration.count("ChargeProfileMaxStackLevel")):
        return status("Rejected")
    charge_point.profiles.put(connector, profile)
    return status("Accepted")


def clear_charging_profile(charge_point: ChargePoint, payload: Payload) -> Handled:
    return status("Accepted" if charge_point.profiles.clear(payload) else "Unknown")


def get_composite_schedule(charge_point: ChargePoint, payload: Payload) -> Handled:
    """In steps of a minute; without a profile the charger's own power is the limit."""
    connector, unit = payload["connectorId"], payload.get("chargingRateUnit", "W")
    if connector not in (0, *charge_point.connectors):
        return status("Rejected")
    now = charge_point.clock.now()
    running = charge_point.connectors[connector].running if connector else None
    most = Decimal(charge_point.profile.max_power_w * (1 if connector else len(charge_point.connectors)))
    periods: list[Payload] = []
    for start_s in range(0, max(1, payload["duration"]), 60):
        at = now + timedelta(seconds=start_s)
        allowed = charge_point.profiles.limit_w(connector, at, running.started_at if running else None)
        limit = _in_unit(most if allowed is None else min(most, allowed), unit)
        if not periods or periods[-1]["limit"] != limit:
            periods.append({"startPeriod": start_s, "limit": limit})
    schedule = {
        "duration": payload["duration"],
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": periods,
    }
    stamp = charge_point.station_clock.stamp()
    told = {"connectorId": connector, "scheduleStart": stamp, "chargingSchedule": schedule}
    return Handled(result={"status": "Accepted", **told})


def _may_hold(place: Connector | None, profile: Payload, highest: int) -> bool:
    """`place` None is the whole charger."""
    if not 0 <= profile["stackLevel"] <= highest:
        return False
    if profile["chargingProfilePurpose"] == MAX:
        return place is None
    if profile["chargingProfilePurpose"] == DEFAULT:
        return True
    running = place.running if place else None
    return running is not None and profile.get("transactionId") in (None, running.transaction_id)


def _fits(at: int, held: Payload, wanted: Payload) -> bool:
    """OCPP 1.6 section 6.9: an id names one; without one each criterion that is given must fit."""
    if "id" in wanted:
        return bool(held["chargingProfileId"] == wanted["id"])
    own: dict[str, Any] = {
        "connectorId": at,
        "chargingProfilePurpose": held["chargingProfilePurpose"],
        "stackLevel": held["stackLevel"],
    }
    return all(own[name] == value for name, value in wanted.items())


def _limit_w(profile: Payload, at: datetime, started_at: datetime | None) -> Decimal | None:
    """None where the profile says nothing of that moment."""
    if not _moment(profile, "validFrom", at) <= at <= _moment(profile, "validTo", at):
        return None
    schedule = profile["chargingSchedule"]
    since = _since(profile, at, started_at)
    if since is None or since >= schedule.get("duration", float("inf")):
        return None
    limits = [p for p in schedule["chargingSchedulePeriod"] if p["startPeriod"] <= since]
    if not limits:
        return None
    limit = Decimal(str(limits[-1]["limit"]))
    if schedule["chargingRateUnit"] == "W":
        return limit
    return limit * VOLTS * int(limits[-1].get("numberPhases", PHASES))


def _since(profile: Payload, at: datetime, started_at: datetime | None) -> float | None:
    """Seconds into the schedule; None before it begins."""
    begins = _moment(profile["chargingSchedule"], "startSchedule", started_at or at)
    if profile["chargingProfileKind"] == "Relative":
        begins = started_at or at
    passed = at - begins
    if profile["chargingProfileKind"] == "Recurring":
        passed %= RECURS[profile.get("recurrencyKind", "Daily")]
    return passed.total_seconds() if passed >= timedelta() else None


def _moment(payload: Payload, name: str, otherwise: datetime) -> datetime:
    return datetime.fromisoformat(payload[name]) if name in payload else otherwise


def _in_unit(watts: Decimal, unit: str) -> float:
    return float(round(watts if unit == "W" else watts / VOLTS / PHASES, 1))
