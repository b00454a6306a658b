"""A station that samples more finely than it should is told of once a day, by a rule of the watch."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from sqlalchemy import Connection, func, select

from csms.alerts import Alarm, raise_alarms
from csms.configuration import SAMPLES_WELL_S
from csms.events import MeterSample
from csms.journal import Fact
from csms.models import MeterSampleRow

LOOKED_AT = timedelta(minutes=10)
SUSPICIOUS = 24  # messages of one EVSE in that time; every 30 s are 20


def sampled_too_often(connection: Connection, now: datetime) -> Sequence[Fact]:
    """C06: told once a day. By the station's own times, so that one which delivers what it kept is not accused."""
    row = MeterSampleRow
    recent = (row.received_at > now - LOOKED_AT, row.late.is_(False))
    many = select(row.station_id, row.evse).where(*recent).group_by(row.station_id, row.evse)
    alarms = []
    for station_id, evse in connection.execute(many.having(func.count() > SUSPICIOUS)).all():
        query = select(row.samples, row.received_at).where(*recent, row.station_id == station_id, row.evse == evse)
        taken = sorted(_taken_at(samples) or received_at for samples, received_at in connection.execute(query))
        every_s = (taken[-1] - taken[0]).total_seconds() / (len(taken) - 1)
        if every_s < SAMPLES_WELL_S.start - 1:
            per_s = round(len(taken) / LOOKED_AT.total_seconds(), 3)
            detail = {"evse": evse, "every_s": round(every_s, 1), "messages_per_s": per_s}
            alarms.append(Alarm(kind="samples_too_often", subject=station_id, station_id=station_id, detail=detail))
    raise_alarms(connection, alarms, now)
    return []


def _taken_at(samples: str) -> datetime | None:
    read_samples = msgspec.json.decode(samples, type=list[MeterSample])
    return read_samples[0].occurred_at if read_samples else None
