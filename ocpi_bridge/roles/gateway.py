"""The chargers' sockets, and nothing else: what a station says goes to the workers, and what they answer comes back."""

import asyncio
from collections.abc import Mapping

from csms.admissions import Doorkeeper
from csms.bus.redis_streams import RedisBus
from csms.gateway.alone import Alone
from csms.gateway.answering import POLICY_VIOLATION
from csms.gateway.connections import Connections
from ocpi_bridge.listener import WebServer
from ocpi_bridge.roles.between import join, measure_bus, process_id
from ocpi_bridge.roles.chargers import Chargers
from ocpi_bridge.roles.ground import Clock, Ground, utc_now
from ocpi_bridge.roles.quirks import known_quirks
from ocpi_bridge.settings import Settings
from ocpi_bridge.status import health_routes, status_app


class GatewayRole:
    """Of the database it reads who may connect, and writes the message log."""

    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.ground = Ground(settings, clock=clock)
        database, metrics = self.ground.database, self.ground.metrics
        self.connections = Connections()
        self.bus = RedisBus(
            settings.needed_for_roles(),
            process_id=process_id(),
            role="gateway",
            clock=clock,
            bound=settings.event_backlog,
        )
        door = Doorkeeper(database, self.bus.presence, strangers=settings.unknown_stations == "pending")
        self.alone = Alone(
            self.bus.report,
            credentials=door,
            worked=lambda: self.bus.workers_alive,
            rejected=lambda station_id: self.connections.close_station(station_id, POLICY_VIOLATION, "rejected"),
            clock=clock,
        )
        self.chargers = Chargers(
            self.ground,
            self.connections,
            known_quirks(settings),
            report=self.alone.report,
            credentials=door,
            presence=door,
            signed=asyncio.Event(),
            crowded=lambda: self.bus.overloaded,
        )
        self.gateway = self.chargers.gateway
        self.bus.serve_commands(send=self.connections.send, displaced=self.gateway.displaced)
        health = health_routes(database, self._missing)
        self.status = WebServer(status_app(health, metrics), settings.metrics_listen or settings.http_listen)
        measure_bus(self.ground, self.bus)
        self._serving = False

    @property
    def ports(self) -> Mapping[str, int]:
        return {"ocpp": self.gateway.port, "metrics": self.status.port}

    async def start(self) -> None:
        try:
            await self.ground.migrate()
            await join(self.bus)
            await self.chargers.trust_ours()
            self.ground.start({"bus": self.bus.run, **self.chargers.tasks()})
            await self.status.start()
            await self.gateway.start()
        except BaseException:
            await self.stop()
            raise
        self._serving = True

    async def stop(self) -> None:
        """Every charger is sent away and told to come back; what it said before is answered first."""
        self._serving = False
        await self.gateway.stop()
        await self.alone.stop()
        await self.status.stop()
        await self.ground.supervisor.stop()
        await self.bus.stop()
        self.ground.database.dispose()

    def _missing(self) -> str | None:
        if not self._serving:
            return "gateway"
        return "bus" if self.bus.overloaded else None
