"""Who may connect: asked by the gateway before it lets a station in."""

import asyncio
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, select

from csms.bus import Admission, ConnectionClosed, ConnectionOpened, Presence, StationCredentials
from csms.database import Database
from csms.models import Station, StationCertificate, StationSecurity
from csms.strangers import Knocking, waiting


class Admissions:
    """bus.Credentials, from the database. Those who use it must tell it of the sockets that strangers open and close."""

    def __init__(self, database: Database, *, strangers: bool) -> None:
        self._database = database
        self._strangers_wait = strangers
        self._knocking = Knocking()

    async def credentials(self, station_id: str, /) -> StationCredentials:
        known = await asyncio.to_thread(self._look_up, station_id, self._knocking.names())
        if isinstance(known, StationCredentials):
            return known
        waits, stored = known
        now = asyncio.get_running_loop().time()
        room = self._strangers_wait and self._knocking.let_in(station_id, now, waiting=waits, stored=stored)
        return StationCredentials(admission=Admission.PENDING if room else Admission.UNKNOWN)

    def _look_up(self, station_id: str, knocking: Collection[str]) -> StationCredentials | tuple[int, Collection[str]]:
        """Of a stranger: how many wait for adoption, and who of `knocking` does by now."""
        with self._database.read() as connection:
            found = connection.execute(_CREDENTIALS, {"the_station": station_id}).all()
            if found:
                return _credentials(found)
            stored = connection.execute(select(Station.station_id).where(Station.station_id.in_(knocking))).scalars()
            return waiting(connection), set(stored)


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


_CREDENTIALS = (  # one row, or one for each certificate that was revoked
    select(
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
    .where(Station.station_id == bindparam("the_station"))
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
