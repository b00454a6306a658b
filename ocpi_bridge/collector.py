"""What lives long is never looked through for garbage again: with ten thousand chargers one look holds all of them up."""

import asyncio
import gc
from collections.abc import Callable

from ocpi_bridge import memory

LOOK_EVERY_S = 5.0
WAVE = 200  # chargers that came since the last time


def spare_the_collector() -> None:
    """At the end of a start: what lives as long as the process, and what a message makes dies without being looked for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class Waves:
    """When enough chargers came and no more are coming, what they hold is set aside too. What is set aside is freed all the
    same when nobody holds it any more; a connection that ends leaves no cycle."""

    def __init__(self, connected: Callable[[], int]) -> None:
        self._connected = connected
        self._before = 0
        self._set_aside = 0

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            if self.over():
                gc.freeze()
                memory.give_back()

    def over(self) -> bool:
        """Asked at each look: whether a wave has just come to rest."""
        here, before = self._connected(), self._before
        self._before = here
        self._set_aside = min(self._set_aside, here)
        if here - self._set_aside < WAVE or here - before > WAVE // 10:
            return False
        self._set_aside = here
        return True
