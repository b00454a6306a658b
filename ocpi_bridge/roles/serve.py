"""Everything in one process: chargers, the core, partners and pages, with nothing between them but a call."""

import asyncio
from collections.abc import Mapping

from csms.gateway.connections import Connections
from ocpi_bridge.roles.chargers import Chargers
from ocpi_bridge.roles.core import Core
from ocpi_bridge.roles.gauges import measure
from ocpi_bridge.roles.ground import Clock, Ground, utc_now
from ocpi_bridge.roles.partnership import Partnership
from ocpi_bridge.roles.quirks import known_quirks
from ocpi_bridge.roles.served import Served
from ocpi_bridge.roles.shown import Shown
from ocpi_bridge.settings import Settings
from ocpi_bridge.status import health_routes


class Service:
    """`start` returns when chargers and partners are served, `stop` when all that was acknowledged is written."""

    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.clock = clock
        self.ground = Ground(settings, clock=clock)
        self.database, self.metrics, self.wake = self.ground.database, self.ground.metrics, self.ground.wake
        self.quirks = known_quirks(settings)
        self.connections = Connections()
        self.partnership = Partnership(self.ground)
        self.partners, self.registration = self.partnership.partners, self.partnership.registration
        self.shown = Shown(self.ground)
        self.core = Core(
            self.ground,
            self.partnership,
            self.shown,
            send=self.connections.send,
            left_alone=self.quirks.left_alone,
        )
        self.csms = self.core.csms
        self.chargers = Chargers(
            self.ground,
            self.connections,
            self.quirks,
            report=self.csms.report,
            credentials=self.csms.stations,
            presence=self.csms.stations,
            signed=self.core.signed,
        )
        self.gateway = self.chargers.gateway
        self.served = Served(self.ground, self.partnership, self.shown, self.quirks, remote=self.csms.remote)
        health = health_routes(self.database, lambda: None if self._serving else "gateway")
        self.web, self.status = self.served.listeners(health)
        measure(self.ground)
        self._serving = False

    @property
    def ports(self) -> Mapping[str, int]:
        return {"ocpp": self.gateway.port, "http": self.web.port}

    async def start(self) -> None:
        """Migrates first. Raises when something cannot be started; nothing is left running then."""
        try:
            await self.ground.migrate()
            await asyncio.to_thread(self.csms.stations.close_stale)
            await self.partnership.read_roles()
            await self.core.keep_settings()
            await self.chargers.trust_ours()
            for tasks in (
                self.core.tasks(),
                self.core.once(),
                self.chargers.tasks(),
                self.partnership.tasks(),
                self.partnership.once(),
                self.served.once(),
            ):
                self.ground.start(tasks)
            for listener in (self.web, *self.status):
                await listener.start()
            await self.gateway.start()
        except BaseException:
            await self.stop()
            raise
        self._serving = True

    async def stop(self) -> None:
        """Doors first, then those who write what came through them."""
        self._serving = False
        await self.gateway.stop()
        await self.served.api.close()  # whoever reads the message log live would hold the listener open
        for listener in (self.web, *self.status):
            await listener.stop()
        await self.csms.remote.stop()
        supervisor = self.ground.supervisor
        await supervisor.stop("deliveries", "callbacks", "token_sync", "hub_sync", "watch", "remote")
        await supervisor.stop()
        await self.csms.close()
        await self.partnership.guarded.aclose()
        self.database.dispose()
