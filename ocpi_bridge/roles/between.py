"""What the processes of one service share: each has a name, wakes the others when there is news, and measures the bus."""

import asyncio
import os
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence, Set

from csms.bus.client import AWAY
from csms.bus.redis_streams import RedisBus
from csms.journal import Wake
from ocpi_bridge.roles.ground import Ground
from ocpi_bridge.settings import SettingsError

ANSWERS_WITHIN_S = 5.0  # of chargers that were asked by a process that leaves


def process_id() -> str:
    """Of this start of this process."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class SharedWake(Wake):
    """Heard by the other processes too, soon; whom it does not reach polls. Nobody here is woken while it is not `heeded`."""

    def __init__(self, bus: RedisBus, kind: str) -> None:
        super().__init__()
        self._bus = bus
        self._kind = kind
        self._loop = asyncio.get_running_loop()
        self.heeded: Callable[[], bool] = lambda: True

    def __call__(self, told: Set[str] | None = None) -> None:
        self.heard(told)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._bus.wake, self._kind, told)

    def heard(self, told: Set[str] | None) -> None:
        if self.heeded():
            super().__call__(told)


def shared_wakes(bus: RedisBus) -> tuple[SharedWake, SharedWake]:
    """That the journal grew, and that a partner must hear of something."""
    journal, due = SharedWake(bus, "journal"), SharedWake(bus, "due")
    kinds = {"journal": journal, "due": due}

    def heard(kind: str, told: Set[str] | None) -> None:
        if kind in kinds:  # a newer release may know more
            kinds[kind].heard(told)

    bus.on_wake(heard)
    return journal, due


async def join(bus: RedisBus) -> None:
    """From now on the others know of this process. Raises SettingsError when there is no such Redis."""
    try:
        await bus.start()
    except AWAY as error:
        raise SettingsError([f"ROAMBRIDGE_REDIS_URL: {error}"]) from error


def measure_bus(ground: Ground, bus: RedisBus) -> None:
    gauge, gauges = ground.metrics.gauge, ground.metrics.gauges

    def by_stream(values: Sequence[float]) -> Mapping[str, float]:
        return {str(stream): value for stream, value in enumerate(values)}

    gauges("bus_events", "Events that wait for workers", "stream", lambda: by_stream(bus.measures().depths))
    gauges("bus_oldest_seconds", "How long the first has waited", "stream", lambda: by_stream(bus.measures().oldest_s))
    gauge("bus_workers", "Workers that are alive", lambda: bus.measures().workers)
    gauge("bus_gateways", "Gateways that are alive", lambda: bus.measures().gateways)
    gauge("bus_dead_letters", "Events that the core could not handle", lambda: bus.measures().dead_letters)
    gauge("bus_away", "1 while Redis does not answer", lambda: float(bus.measures().away))
    gauge("bus_clock_ahead_seconds", "This host's clock ahead of Redis's", lambda: bus.measures().clock_ahead_s)
