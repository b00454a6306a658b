"""The HTTP side alone: partners, people and files; what they ask of a charger goes to the gateway that holds it."""

from collections.abc import Mapping

from csms.bus.redis_streams import RedisBus
from csms.exclusive import Exclusive
from csms.remote import RemoteControl
from ocpi_bridge.roles.between import ANSWERS_WITHIN_S, join, measure_bus, process_id, shared_wakes
from ocpi_bridge.roles.ground import Clock, Ground, utc_now
from ocpi_bridge.roles.partnership import Partnership
from ocpi_bridge.roles.quirks import known_quirks
from ocpi_bridge.roles.served import Served
from ocpi_bridge.roles.shown import Shown
from ocpi_bridge.settings import Settings
from ocpi_bridge.status import health_routes


class Api:
    def __init__(self, settings: Settings, *, clock: Clock = utc_now) -> None:
        self.settings = settings
        self.bus = RedisBus(settings.needed_for_roles(), process_id=process_id(), role="api", clock=clock)
        wake, due = shared_wakes(self.bus)
        self.ground = Ground(settings, clock=clock, wake=wake, due=due)
        database = self.ground.database
        self.partnership = Partnership(self.ground)
        self.remote = RemoteControl(
            database,
            send=self.bus.send,
            wake=self.ground.wake,
            clock=clock,
            vault=self.partnership.vault,
            owner=self.partnership.token_owner,
        )
        self.served = Served(
            self.ground, self.partnership, Shown(self.ground), known_quirks(settings), remote=self.remote
        )
        once = self.served.once()
        self.exclusive = Exclusive(
            database,
            "files",
            start=lambda: self.ground.start(once),
            stop=lambda: self.ground.supervisor.stop(*once),
        )
        health = health_routes(database, lambda: None if self._serving else "api")
        self.web, self.status = self.served.listeners(health)
        measure_bus(self.ground, self.bus)
        self._serving = False

    @property
    def ports(self) -> Mapping[str, int]:
        return {"http": self.web.port}

    async def start(self) -> None:
        try:
            await self.ground.migrate()
            await join(self.bus)
            await self.partnership.read_roles()
            self.ground.start({"bus": self.bus.run, **self.partnership.tasks(), "exclusive": self.exclusive.run})
            for listener in (self.web, *self.status):
                await listener.start()
        except BaseException:
            await self.stop()
            raise
        self._serving = True

    async def stop(self) -> None:
        """Requests that are here are answered, and chargers that were asked have a moment to answer too."""
        self._serving = False
        await self.served.api.close()  # whoever reads the message log live would hold the listener open
        for listener in (self.web, *self.status):
            await listener.stop()
        await self.remote.stop(within_s=ANSWERS_WITHIN_S)
        await self.ground.supervisor.stop("exclusive")
        await self.ground.supervisor.stop()
        await self.bus.stop()
        await self.partnership.guarded.aclose()
        self.ground.database.dispose()
