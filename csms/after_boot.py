"""After a station connected: it is asked for the Boot it forgot, and told the intervals we count on, in its own time."""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any

import structlog
from sqlalchemy import select

from csms.bus import Admission, ConnectionOpened, Send
from csms.commands import ChangeConfiguration, ConfigurationAnswer, GetConfiguration, TriggerKind, TriggerMessage
from csms.database import Database
from csms.events import RegistrationStatus
from csms.models import Station

log = structlog.get_logger(__name__)

BOOT_WITHIN_S = 30.0  # T1: some stations send no Boot when they reconnect
SETTLE_S = (3.0, 10.0)  # after the Boot, each at its own moment: ten thousand may have come at once
AT_ONCE = 20
ANSWER_WITHIN_S = 10.0
HEARTBEAT = "HeartbeatInterval"
PING = "WebSocketPingInterval"
PING_S = 60  # T7: below every NAT's patience


class Step(StrEnum):
    ASK_BOOT = "ask_boot"
    SET_INTERVALS = "set_intervals"


class AfterBoot:
    """Holds at most one step for each station. Nothing waits for it, and a restart may forget it all."""

    def __init__(
        self,
        database: Database,
        *,
        send: Send,
        boot_within_s: float = BOOT_WITHIN_S,
        settle_s: tuple[float, float] = SETTLE_S,
        at_once: int = AT_ONCE,
    ) -> None:
        self._database = database
        self._send = send
        self._boot_within_s = boot_within_s
        self._settle_s = settle_s
        self._room = asyncio.Semaphore(at_once)
        self._next: dict[str, tuple[float, Step]] = {}
        self._queue: list[tuple[float, str]] = []
        self._changed = asyncio.Event()
        self._steps: dict[Step, Callable[[str, int], Awaitable[None]]] = {
            Step.ASK_BOOT: self._ask_boot,
            Step.SET_INTERVALS: self._set_intervals,
        }

    def opened(self, connection: ConnectionOpened) -> None:
        self._plan(connection.station_id, self._boot_within_s, Step.ASK_BOOT)

    def booted(self, station_id: str, status: RegistrationStatus) -> None:
        if status is RegistrationStatus.ACCEPTED:
            self._plan(station_id, random.uniform(*self._settle_s), Step.SET_INTERVALS)  # noqa: S311
        else:
            self._next.pop(station_id, None)

    def _plan(self, station_id: str, delay_s: float, step: Step) -> None:
        due = asyncio.get_running_loop().time() + delay_s
        self._next[station_id] = (due, step)
        heapq.heappush(self._queue, (due, station_id))
        self._changed.set()

    async def run(self) -> None:
        """Takes the steps when they are due, `at_once` of them at a time, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                station_id, step = await self._next_due()
                await self._room.acquire()
                tasks.create_task(self._take(station_id, step))

    async def _next_due(self) -> tuple[str, Step]:
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            while self._queue and self._next.get(self._queue[0][1], (None,))[0] != self._queue[0][0]:
                heapq.heappop(self._queue)  # planned anew since
            due = self._queue[0][0] if self._queue else None
            if due is not None and due <= loop.time():
                _, station_id = heapq.heappop(self._queue)
                return station_id, self._next.pop(station_id)[1]
            try:
                async with asyncio.timeout_at(due):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _take(self, station_id: str, step: Step) -> None:
        try:
            interval_s = await asyncio.to_thread(self._heartbeat_interval, station_id)
            if interval_s is not None:
                await self._steps[step](station_id, interval_s)
        except Exception:
            log.exception("follow_up_failed", station_id=station_id, step=step.value)
        finally:
            self._room.release()

    def _heartbeat_interval(self, station_id: str) -> int | None:
        """None when the station is not ours to ask."""
        query = select(Station.heartbeat_interval_s).where(
            Station.station_id == station_id, Station.admission == Admission.KNOWN.value
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar()

    async def _ask_boot(self, station_id: str, _interval_s: int) -> None:
        command = TriggerMessage(station_id=station_id, kind=TriggerKind.BOOT)
        answer = await self._send(command, timeout_s=ANSWER_WITHIN_S)
        log.info("boot_asked_for", station_id=station_id, outcome=answer.outcome.value)

    async def _set_intervals(self, station_id: str, interval_s: int) -> None:
        """B08, T7. A key the station does not have, or does not let us write, is left alone."""
        wanted = {HEARTBEAT: interval_s, PING: PING_S}
        asked = GetConfiguration(station_id=station_id, keys=tuple(wanted))
        has: ConfigurationAnswer = await self._send(asked, timeout_s=ANSWER_WITHIN_S)
        for setting in getattr(has, "settings", ()):
            value = wanted.get(setting.key)
            if value is None or setting.readonly or _number(setting.value) == value:
                continue
            change = ChangeConfiguration(station_id=station_id, key=setting.key, value=str(value))
            answer: Any = await self._send(change, timeout_s=ANSWER_WITHIN_S)
            log.info("interval_set", station_id=station_id, key=setting.key, outcome=answer.outcome.value)


def _number(text: str | None) -> int | None:
    stripped = (text or "").strip()
    return int(stripped) if stripped.isdecimal() and len(stripped) < 10 else None
