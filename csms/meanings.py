"""What a charger's states mean to drivers is the operator's to say; EVSEs that look different for it are told anew."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, delete, insert, select

from csms import lock_order
from csms.availability import AVAILABILITY, Availability
from csms.events import ConnectorStatus
from csms.journal import append
from csms.locations import Meanings, touch_evses
from csms.models import Evse, StatusMeaning


def meanings(told: Mapping[ConnectorStatus, Availability]) -> Meanings:
    """Every state, by what the operator told and else by AVAILABILITY."""
    return {**AVAILABILITY, **told}


def keep(connection: Connection, told: Mapping[ConnectorStatus, Availability], now: datetime) -> int:
    """From now on this holds; returns how many EVSEs look different for it."""
    rows = connection.execute(select(StatusMeaning.status, StatusMeaning.availability))
    before = meanings({ConnectorStatus(row.status): Availability(row.availability) for row in rows})
    after = meanings(told)
    connection.execute(delete(StatusMeaning))
    if told:
        values = [{"status": status.value, "availability": told[status].value} for status in sorted(told)]
        connection.execute(insert(StatusMeaning), values)
    changed = [status.value for status in ConnectorStatus if before[status] is not after[status]]
    if not changed:
        return 0
    lock_order.stations(
        connection, connection.execute(select(Evse.station_id).where(Evse.status.in_(changed))).scalars()
    )
    facts = touch_evses(connection, now, Evse.status.in_(changed))
    append(connection, facts, now=now)
    return len(facts)
