"""One task, not one per socket, finds the chargers that fell silent and the reports that take too long (T7), and lets those
be read on that sent more than one may (X07)."""

import asyncio
import math
import time
from collections.abc import Collection, Sequence

import structlog

from csms.gateway.link import Link

log = structlog.get_logger(__name__)

AT_ONCE = 500  # a look at ten thousand in one go would keep all of them waiting for some 50 ms


class Sweeper:
    """An idle charger is pinged; one from which nothing at all comes within `pong_timeout_s` after that is dropped. Any
    frame counts as life, so a charger that ignores pings but talks survives."""

    def __init__(
        self,
        links: Collection[Link],
        *,
        pong_timeout_s: float,
        report_timeout_s: float,
        probe_grace_s: float,
        frames_per_s: int,
        tick_s: float,
    ) -> None:
        self._links = links
        self._pong_timeout_s = pong_timeout_s
        self._report_timeout_s = report_timeout_s
        self._probe_grace_s = probe_grace_s
        self._allowance = max(1, round(frames_per_s * tick_s))
        self._tick_s = tick_s

    async def run(self) -> None:
        """Looks at each link once in a tick, until cancelled."""
        while True:
            links = list(self._links)
            parts = max(1, math.ceil(len(links) / AT_ONCE))
            for part in range(parts):
                await asyncio.sleep(self._tick_s / parts)
                self._sweep(links[part * AT_ONCE : (part + 1) * AT_ONCE], time.monotonic())

    def _sweep(self, links: Sequence[Link], now: float) -> None:
        for link in links:
            try:
                self._look_at(link, now)
            except Exception:
                log.exception("sweep_failed", station_id=link.station_id)

    def _look_at(self, link: Link, now: float) -> None:
        if not link.opened and link.socket.is_open and now - link.since >= self._probe_grace_s:
            link.open()
        link.renew(self._allowance)
        if link.busy_since and not link.overdue and now - link.busy_since > self._report_timeout_s:
            link.give_up()
        if not link.socket.is_open:
            link.notify()
        elif link.pinged_at and link.last_life < link.pinged_at:
            if now - link.pinged_at > self._pong_timeout_s:
                log.info("station_silent", station_id=link.station_id, peer=link.peer)
                link.abort("no sign of life after a ping")
        elif now - link.last_life >= link.ping_after_s:
            link.pinged_at = now
            link.socket.ping_now()
        else:
            link.pinged_at = 0.0
