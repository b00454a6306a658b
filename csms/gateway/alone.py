"""While no worker answers, a station hears from its gateway what needs none: its Heartbeat, and its Boot when it is known."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import structlog

from csms.bus import Admission, Credentials, Report, Told
from csms.events import BootReply, Event, HeartbeatReceived, HeartbeatReply, RegistrationStatus, StationBooted

log = structlog.get_logger(__name__)

R = TypeVar("R")

LOOK_EVERY_S = 1.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class Alone:
    """A Report in front of one that may take long. All but Heartbeats is handed on; what is handed on is stored there,
    whoever answers. Nothing else is answered here: whether a card may charge is the core's to say (B15)."""

    def __init__(
        self,
        report: Report,
        *,
        credentials: Credentials,
        worked: Callable[[], bool],
        rejected: Callable[[str], None],
        clock: Callable[[], datetime] = utc_now,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        """`worked`: whether any worker is there. `rejected` is told of a station that was answered here and that the core
        rejects afterwards."""
        self._report = report
        self._credentials = credentials
        self._worked = worked
        self._rejected = rejected
        self._clock = clock
        self._look_every_s = look_every_s
        self._judged_later: dict[str, asyncio.Future[Any]] = {}  # of each station its last Boot only

    def report(self, event: Event[R], /) -> Awaitable[R]:
        if isinstance(event, HeartbeatReceived):  # the sign of life itself is Presence.seen
            return Told(cast(R, HeartbeatReply(current_time=self._clock())))
        if isinstance(event, StationBooted):
            return cast(Awaitable[R], self._boot(event))
        return self._report(event)

    async def stop(self) -> None:
        waiting = list(self._judged_later.values())
        for told in waiting:
            told.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    async def _boot(self, event: StationBooted) -> BootReply:
        told = asyncio.ensure_future(self._report(event))
        try:
            while not told.done():
                if not self._worked():
                    answer = await self._instead(event.station_id)
                    if answer is not None:
                        self._judge_later(event.station_id, told)
                        return answer
                await asyncio.wait([told], timeout=self._look_every_s)
            return told.result()
        except asyncio.CancelledError:
            told.cancel()
            raise

    async def _instead(self, station_id: str) -> BootReply | None:
        """What a station that is known hears at every Boot; None for all others, and when nobody can say who it is."""
        try:
            known = await self._credentials.credentials(station_id)
        except Exception:
            log.warning("boot_not_answered_alone", station_id=station_id)
            return None
        if known.admission is not Admission.KNOWN:
            return None
        log.info("boot_answered_alone", station_id=station_id)
        return BootReply(
            status=RegistrationStatus.ACCEPTED,
            current_time=self._clock(),
            interval_s=known.heartbeat_interval_s,
        )

    def _judge_later(self, station_id: str, told: asyncio.Future[BootReply]) -> None:
        older = self._judged_later.pop(station_id, None)
        if older is not None:
            older.cancel()
        self._judged_later[station_id] = told
        told.add_done_callback(lambda told: self._judged(station_id, told))

    def _judged(self, station_id: str, told: asyncio.Future[BootReply]) -> None:
        if self._judged_later.get(station_id) is told:
            del self._judged_later[station_id]
        if not told.cancelled() and told.exception() is None and told.result().close:
            self._rejected(station_id)
