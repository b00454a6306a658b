"""A socket that the database holds for open and no gateway does is closed: its gateway died, and what knew of it died too."""

import asyncio
from collections.abc import Awaitable, Callable, Set
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from csms.bus import ConnectionClosed
from csms.database import Database
from csms.models import Connection
from csms.presence import write_news

log = structlog.get_logger(__name__)

EVERY = timedelta(seconds=60)


class LostSockets:
    """`held` tells the ids of the connections that gateways hold. Only what is missing there at two looks is closed: between
    them every gateway that lives has told again what it holds, should Redis have forgotten it."""

    def __init__(
        self,
        database: Database,
        *,
        held: Callable[[], Awaitable[Set[str]]],
        clock: Callable[[], datetime],
        every: timedelta = EVERY,
    ) -> None:
        self._database = database
        self._held = held
        self._clock = clock
        self._every = every
        self._missing: Set[str] = frozenset()

    async def run(self) -> None:
        """Looks until cancelled. A bus that is away is an exception: the supervisor starts it again."""
        while True:
            await asyncio.sleep(self._every.total_seconds())
            await self.look()

    async def look(self) -> None:
        held = await self._held()
        self._missing = await asyncio.to_thread(self._close, held, self._missing)

    def _close(self, held: Set[str], before: Set[str]) -> Set[str]:
        """What is missing for the first time."""
        now = self._clock()
        open_ = select(Connection.connection_id, Connection.station_id).where(
            Connection.closed_at.is_(None), Connection.opened_at < now - self._every
        )
        with self._database.read() as connection:
            missing = {id_: station_id for id_, station_id in connection.execute(open_) if id_ not in held}
        lost = [
            ConnectionClosed(connection_id=id_, station_id=missing[id_], closed_at=now, reason="its gateway is gone")
            for id_ in sorted(missing.keys() & before)
        ]
        if lost:
            log.warning("sockets_lost", sockets=len(lost))
            self._database.transact(lambda connection: write_news(connection, lost, now))
        return missing.keys() - before
