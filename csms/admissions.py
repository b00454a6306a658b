"""Who may connect: asked by the gateway before it lets a station in."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast

from sqlalchemy import Connection, and_, bindparam, select

from csms.bus import Admission, ConnectionClosed, ConnectionOpened, Presence, StationCredentials
from csms.database import Database
from csms.models import Station, StationCertificate, StationSecurity
from csms.strangers import Knocking, waiting
from csms.together import Together


class Strangers(NamedTuple):
    """How many wait for adoption, and who of those that knock does by now."""

    waiting: int
    stored: Collection[str]


class Admissions:
    """bus.Credentials, from the database. Those who use it must tell it of the sockets that strangers open and close."""

    def __init__(self, database: Database, *, strangers: bool) -> None:
        self._database = database
        self._strangers_wait = strangers
        self._knocking = Knocking()
        self._together = Together(self._look_up)

    async def credentials(self, station_id: str, /) -> StationCredentials:
        known = await self._together.ask(station_id)
        if isinstance(known, StationCredentials):
            return known
        now = asyncio.get_running_loop().time()
        room = self._strangers_wait and self._knocking.let_in(
            station_id, now, waiting=known.waiting, stored=known.stored
        )
        return StationCredentials(admission=Admission.PENDING if room else Admission.UNKNOWN)

    def _look_up(self, station_ids: Sequence[str]) -> Mapping[str, StationCredentials | Strangers]:
        with self._database.read() as connection:
            rows: dict[str, list[Any]] = {station_id: [] for station_id in station_ids}
            for row in connection.execute(_CREDENTIALS, {"stations": station_ids}):
                rows[row.station_id].append(row)
            strangers = None if all(rows.values()) else self._strangers(connection)
        return {name: _credentials(found) if found else cast(Strangers, strangers) for name, found in rows.items()}

    def _strangers(self, connection: Connection) -> Strangers:
        knocking = self._knocking.names()
        stored = connection.execute(select(Station.station_id).where(Station.station_id.in_(knocking))).scalars()
        return Strangers(waiting(connection), set(stored))


class Doorkeeper(Admissions):
    """At a gateway whose core is elsewhere: who may connect is asked here, who is here is told to `presence`."""

    def __init__(self, database: Database, presence: Presence, *, strangers: bool) -> None:
        super().__init__(database, strangers=strangers)
        self._presence = presence

    def opened(self, connection: ConnectionOpened, /) -> None:
        self._knocking.opened(connection.station_id)
        self._presence.opened(connection)

    def closed(self, connection: ConnectionClosed, /) -> None:
        self._knocking.closed(connection.station_id)
        self._presence.closed(connection)

    def duplicate(self, station_id: str, older: str, newer: str, /) -> None:
        self._presence.duplicate(station_id, older, newer)

    def seen(self, station_id: str, at: datetime, /) -> None:
        self._presence.seen(station_id, at)


_CREDENTIALS = (  # of each station one row, or one for each certificate that was revoked
    select(
        Station.station_id,
        Station.admission,
        Station.password_hash,
        Station.vendor,
        Station.model,
        Station.serial_number,
        Station.firmware_version,
        Station.heartbeat_interval_s,
        StationSecurity.profile,
        StationSecurity.next_password_hash,
        StationCertificate.fingerprint.label("revoked"),
    )
    .outerjoin(StationSecurity, StationSecurity.station_id == Station.station_id)
    .outerjoin(
        StationCertificate,
        and_(StationCertificate.station_id == Station.station_id, StationCertificate.state == "revoked"),
    )
    .where(Station.station_id.in_(bindparam("stations", expanding=True)))
)


def _credentials(rows: Sequence[Any]) -> StationCredentials:
    row = rows[0]
    return StationCredentials(
        admission=Admission(row.admission),
        password_hash=row.password_hash,
        next_password_hash=row.next_password_hash,
        least_profile=row.profile or 0,
        revoked=frozenset(row.revoked for row in rows if row.revoked is not None),
        vendor=row.vendor or "",
        model=row.model or "",
        serial_number=row.serial_number or "",
        firmware_version=row.firmware_version or "",
        heartbeat_interval_s=row.heartbeat_interval_s,
    )
