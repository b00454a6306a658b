"""Sockets of gateways that are gone, with all that knew of them."""

from datetime import UTC, datetime, timedelta

import msgspec
from sqlalchemy import select

from csms import stations
from csms.bus import ConnectionClosed, ConnectionOpened
from csms.database import Database
from csms.lost_sockets import EVERY, LostSockets
from csms.models import Connection, Station
from csms.presence import write_news

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


class Gateways:
    def __init__(self, database: Database) -> None:
        self.now = NOON
        self.hold: set[str] = set()
        self._database = database
        self.lost = LostSockets(database, held=self._held, clock=lambda: self.now)

    async def _held(self) -> set[str]:
        return set(self.hold)

    def open(self, *station_ids: str) -> None:
        with self._database.write() as connection:
            for station_id in station_ids:
                stations.provision(connection, station_id, None, self.now)
            came = [
                ConnectionOpened(
                    connection_id=f"at-{station_id}",
                    station_id=station_id,
                    ocpp_version="ocpp1.6",
                    peer="10.0.0.1",
                    opened_at=self.now,
                )
                for station_id in station_ids
            ]
            write_news(connection, came, self.now)

    async def look(self) -> dict[str, bool]:
        """Who is online after another look."""
        self.now += EVERY + timedelta(seconds=1)
        await self.lost.look()
        with self._database.read() as connection:
            rows = connection.execute(select(Station.station_id, Station.connection_id)).all()
            return {station_id: connection_id is not None for station_id, connection_id in rows}


async def test_a_socket_that_nobody_holds_at_two_looks_is_closed(database: Database) -> None:  # B15
    gateways = Gateways(database)
    gateways.open("CP1", "CP2", "CP3")
    gateways.hold = {"at-CP1", "at-CP3"}
    assert await gateways.look() == {"CP1": True, "CP2": True, "CP3": True}
    gateways.hold = {"at-CP1"}  # Redis lost something, and its gateway has not told again yet
    assert await gateways.look() == {"CP1": True, "CP2": False, "CP3": True}
    gateways.hold = {"at-CP1", "at-CP3"}
    assert await gateways.look() == {"CP1": True, "CP2": False, "CP3": True}
    with database.read() as connection:
        closed = connection.execute(select(Connection.station_id, Connection.close_reason)).all()
    assert {tuple(row) for row in closed if row[1]} == {("CP2", "its gateway is gone")}


async def test_a_socket_that_has_just_opened_is_left_alone(database: Database) -> None:
    gateways = Gateways(database)
    gateways.open("CP1")
    await gateways.look()
    gateways.open("CP2")
    gateways.now += timedelta(seconds=1) - EVERY
    assert await gateways.look() == {"CP1": False, "CP2": True}


async def test_a_socket_told_once_more_takes_no_station_from_a_newer_one(database: Database) -> None:
    """A worker that was stopped for long writes late what another has written since: the station is here all the same."""
    gateways = Gateways(database)
    gateways.open("CP1")
    older = ConnectionOpened(
        connection_id="at-CP1", station_id="CP1", ocpp_version="ocpp1.6", peer="10.0.0.1", opened_at=NOON
    )
    newer = msgspec.structs.replace(older, connection_id="newer", opened_at=NOON + timedelta(seconds=5))
    gone = ConnectionClosed(connection_id="at-CP1", station_id="CP1", closed_at=NOON + timedelta(seconds=4))
    for news in ([gone], [newer], [older]):
        with database.write() as connection:
            write_news(connection, news, NOON)
    with database.read() as connection:
        assert connection.execute(select(Station.connection_id)).scalar_one() == "newer"
    gateways.hold = {"newer"}
    assert await gateways.look() == {"CP1": True}
    assert await gateways.look() == {"CP1": True}
    with database.read() as connection:
        open_ = select(Connection.connection_id).where(Connection.closed_at.is_(None))
        assert connection.execute(open_).scalars().all() == ["newer"]


async def test_a_socket_that_was_only_taken_for_dead_has_its_station_again(database: Database) -> None:
    gateways = Gateways(database)
    gateways.open("CP1")
    gone = ConnectionClosed(connection_id="at-CP1", station_id="CP1", closed_at=NOON, reason="its gateway died")
    with database.write() as connection:
        write_news(connection, [gone], NOON)
    gateways.open("CP1")
    gateways.hold = {"at-CP1"}
    assert await gateways.look() == {"CP1": True}
