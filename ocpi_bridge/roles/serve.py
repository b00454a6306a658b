"""Everything in one process: chargers, the core, partners and pages, with nothing between them but a call."""

import asyncio

import structlog

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
from ocpi_bridge.web import WebServer, create_app

log = structlog.get_logger(__name__)


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
        self.web = WebServer(
            create_app(
                self.served.ocpi,
                database=self.database,
                metrics=self.metrics,
                listening=lambda: self._serving,
                files=self.served.files,
                api=self.served.api.mount(),
            ),
            settings,
        )
        measure(self.ground)
        self._serving = False

    async def start(self) -> None:
        """Migrates first. Raises when something cannot be started; nothing is left running then."""
        try:
            applied = await asyncio.to_thread(self.ground.migrate)
            if applied:
                log.info("database_migrated", revisions=applied)
            await asyncio.to_thread(self.csms.stations.close_stale)
            await asyncio.to_thread(self.partnership.read_roles)
            await asyncio.to_thread(self.core.keep_settings)
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
            await self.web.start()
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
        await self.web.stop()
        await self.csms.remote.stop()
        supervisor = self.ground.supervisor
        await supervisor.stop("deliveries", "callbacks", "token_sync", "hub_sync", "watch", "remote")
        await supervisor.stop()
        await self.csms.close()
        await self.partnership.guarded.aclose()
        self.database.dispose()
