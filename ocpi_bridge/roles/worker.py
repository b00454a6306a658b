"""The core and all that follows from it, fed by the gateways: restarted whenever one likes, beside as many others."""

from collections.abc import Mapping

from csms.bus.redis_streams import RedisBus
from csms.exclusive import Exclusive
from csms.lost_sockets import LostSockets
from ocpi_bridge.listener import WebServer
from ocpi_bridge.roles.between import ANSWERS_WITHIN_S, join, measure_bus, process_id, shared_wakes
from ocpi_bridge.roles.core import Core
from ocpi_bridge.roles.gauges import measure
from ocpi_bridge.roles.ground import Clock, Ground, utc_now
from ocpi_bridge.roles.partnership import Partnership
from ocpi_bridge.roles.quirks import known_quirks
from ocpi_bridge.roles.shown import Shown
from ocpi_bridge.settings import Settings
from ocpi_bridge.status import health_routes, status_app


class Worker:
    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.bus = RedisBus(
            settings.needed_for_roles(),
            process_id=process_id(),
            role="worker",
            clock=clock,
            bound=settings.event_backlog,
        )
        wake, due = shared_wakes(self.bus)
        self.ground = Ground(settings, clock=clock, wake=wake, due=due)
        database, metrics = self.ground.database, self.ground.metrics
        self.partnership = Partnership(self.ground)
        shown = Shown(self.ground)
        left_alone = known_quirks(settings).left_alone
        self.core = Core(self.ground, self.partnership, shown, send=self.bus.send, left_alone=left_alone, once=True)
        self.csms = self.core.csms
        lost = LostSockets(database, held=self.bus.connections, clock=clock)
        once = {**self.core.once(), **self.partnership.once(), "lost_sockets": lost.run}

        def lead() -> None:
            self.ground.start(once)
            wake.heard(None)

        self.exclusive = Exclusive(database, "worker", start=lead, stop=lambda: self.ground.supervisor.stop(*once))
        wake.heeded = lambda: self.exclusive.held  # the others' readers would find the same, and look once a second
        health = health_routes(database, self._missing)
        self.status = WebServer(status_app(health, metrics), settings.metrics_listen or settings.http_listen)
        measure(self.ground, here=lambda: self.exclusive.held)
        metrics.gauge("leads", "1 where what must run once runs", lambda: float(self.exclusive.held))
        measure_bus(self.ground, self.bus)
        self._serving = False

    @property
    def ports(self) -> Mapping[str, int]:
        return {"metrics": self.status.port}

    async def start(self) -> None:
        try:
            await self.ground.migrate()
            await join(self.bus)
            await self.partnership.read_roles()
            await self.core.keep_settings()
            self.ground.start(
                {
                    "bus": self.bus.run,
                    **self.core.tasks(),
                    **self.partnership.tasks(),
                    "streams": lambda: self.bus.consume(self.csms),
                    "exclusive": self.exclusive.run,
                }
            )
            await self.status.start()
        except BaseException:
            await self.stop()
            raise
        self._serving = True

    async def stop(self) -> None:
        """What was taken from the streams is done and answered; what was not is another worker's."""
        self._serving = False
        supervisor = self.ground.supervisor
        await supervisor.stop("streams")
        await supervisor.stop("exclusive", "remote", "after_boot")
        await self.csms.remote.stop(within_s=ANSWERS_WITHIN_S)
        await self.status.stop()
        await supervisor.stop()
        await self.csms.close()
        await self.bus.stop()
        await self.partnership.guarded.aclose()
        self.ground.database.dispose()

    def _missing(self) -> str | None:
        if not self._serving:
            return "worker"
        return "bus" if self.bus.away else None
