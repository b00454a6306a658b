"""What the database holds, read beside the running service; and hours that go by, which only stored times can say."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from csms.database import Database
from csms.models import Connection, RemoteRequest, Station

PATIENCE_S = 30.0


class Records:
    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, query: Any) -> Sequence[Any]:
        with self._database.read() as connection:
            return connection.execute(query).all()

    async def until(self, query: Any, enough: Callable[[Sequence[Any]], object] = bool) -> Sequence[Any]:
        """The rows, once they are enough."""
        until = time.monotonic() + PATIENCE_S
        while not enough(found := await asyncio.to_thread(self.rows, query)):
            assert time.monotonic() < until, f"the database holds {found}"
            await asyncio.sleep(0.03)
        return found

    def lose_patience(self) -> None:
        """What was asked of stations should have been answered a minute ago."""
        with self._database.write() as connection:
            minute = timedelta(minutes=1)
            for row in connection.execute(select(RemoteRequest.id, RemoteRequest.deadline_at)).all():
                one = RemoteRequest.id == row.id
                connection.execute(update(RemoteRequest).where(one).values(deadline_at=row.deadline_at - minute))

    async def away_for(self, station_id: str, away: timedelta) -> None:
        """The station has left; from now on that was `away` ago."""
        of_station = Connection.station_id == station_id
        await self.until(select(Connection.closed_at).where(of_station), lambda rows: rows and all(r[0] for r in rows))
        with self._database.write() as connection:
            for row in connection.execute(select(Connection.__table__).where(of_station)).all():
                earlier = {
                    name: getattr(row, name) - away
                    for name in ("opened_at", "closed_at", "last_frame_at")
                    if getattr(row, name) is not None
                }
                one = Connection.connection_id == row.connection_id
                connection.execute(update(Connection).where(one).values(**earlier))
            seen = update(Station).where(Station.station_id == station_id, Station.last_seen_at.is_not(None))
            connection.execute(seen.values(last_seen_at=row.closed_at - away, offline_since=row.closed_at - away))


@contextmanager
def records_of(database_url: str) -> Iterator[Records]:
    database = Database(database_url)
    try:
        yield Records(database)
    finally:
        database.dispose()
