"""How much a charger may draw and when, in words that no OCPP version owns; limits are exact and times aware UTC."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum

import msgspec


class ProfilePurpose(StrEnum):
    STATION_MAX = "station_max"  # the limit of the whole station; of all EVSEs together
    TX_DEFAULT = "tx_default"  # of every transaction that has no profile of its own
    TX = "tx"  # of one transaction


class ProfileKind(StrEnum):
    ABSOLUTE = "absolute"  # periods count from `starts_at`
    RECURRING = "recurring"  # the same, again each day or week
    RELATIVE = "relative"  # periods count from the start of the transaction


class Recurrency(StrEnum):
    DAILY = "daily"
    WEEKLY = "weekly"


class RateUnit(StrEnum):
    WATT = "W"
    AMPERE = "A"  # per phase


class SchedulePeriod(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """From `start_s` seconds after the schedule's start on, at most `limit`. `phases` None: 3 on AC."""

    start_s: int
    limit: Decimal
    phases: int | None = None


class ChargingSchedule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`periods` begin at 0 and ascend. `duration_s` None: the last period never ends, or until the transaction does."""

    unit: RateUnit
    periods: tuple[SchedulePeriod, ...]
    starts_at: datetime | None = None
    duration_s: int | None = None
    min_rate: Decimal | None = None


class ChargingProfile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`stack_level`: of two valid profiles of one purpose the higher wins. `transaction_ref`: the id by which the charger
    knows the transaction; only with purpose TX."""

    profile_id: int
    stack_level: int
    purpose: ProfilePurpose
    kind: ProfileKind
    schedule: ChargingSchedule
    recurrency: Recurrency | None = None
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    transaction_ref: str | None = None
