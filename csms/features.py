"""Which parts of the protocol beside its core a station says that it has, and who hears when it says something else."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, func, select, update

from csms import lock_order
from csms.journal import Fact, FactType, append
from csms.models import ActualSetting, Evse, Location

SETTING = "SupportedFeatureProfiles"
RESERVATION = "reservation"
SMART_CHARGING = "smartcharging"

Features = frozenset[str]  # casefolded


def features_of(connection: Connection, stations: Collection[str]) -> dict[str, Features]:
    """Without an entry for a station that has not told."""
    row = ActualSetting
    query = select(row.station_id, row.value).where(
        func.lower(row.key) == SETTING.casefold(), row.station_id.in_(stations)
    )
    return {station_id: read(value) for station_id, value in connection.execute(query) if value is not None}


def read(value: str) -> Features:
    return frozenset(name for part in value.split(",") if (name := part.strip().casefold()))


def changed(connection: Connection, station_id: str, before: str | None, told: str | None, now: datetime) -> None:
    """What the setting said, and what it says now; None: nothing. Where that differs its EVSEs can something else now, and
    whoever knows their location must hear of it."""
    if told is None or (before is not None and read(before) == read(told)):
        return
    lock_order.stations(connection, [station_id])
    mine = Evse.station_id == station_id, Evse.removed.is_(False)
    sites = sorted(set(connection.execute(select(Evse.__table__.c.location_row).where(*mine)).scalars()))
    lock_order.sites(connection, sites)
    connection.execute(update(Evse).where(*mine).values(last_updated=now))
    connection.execute(update(Location).where(Location.id.in_(sites)).values(last_updated=now))
    append(connection, [Fact(type=FactType.LOCATION_CHANGED, subject=str(site)) for site in sites], now=now)
