"""After a station connected: it is asked for the Boot it forgot and for its settings, and told those we count on."""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable, Container, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from itertools import count
from typing import TypeAlias

import structlog
from sqlalchemy import Connection, bindparam, select

from csms import boot_settings, configuration, lock_order
from csms.boot_settings import BootPlan
from csms.bus import ConnectionOpened, Send
from csms.commands import (
    Answer,
    ChangeConfiguration,
    ConfigurationAnswer,
    GetConfiguration,
    Outcome,
    TriggerKind,
    TriggerMessage,
)
from csms.database import Database
from csms.events import RegistrationStatus
from csms.models import Station
from csms.together import Together

log = structlog.get_logger(__name__)

BOOT_WITHIN_S = 30.0  # T1: some stations send no Boot when they reconnect
SETTLE_S = (3.0, 10.0)  # after the Boot, each at its own moment: ten thousand may have come at once
AT_ONCE = 20
REST_S = 0.4  # after so many: fifty stations in a second, which leaves room for those that are still coming (X07)
CROWD_PER_S = 100  # Boots: while more than that come, what follows them leaves them the room altogether
HELD_AT_MOST_S = 60.0
ANSWER_WITHIN_S = 10.0
READ_WITHIN_S = 30.0  # a station may have a hundred settings, and a slow line


LeftAlone: TypeAlias = Callable[[str, str, str | None], Container[str]]
"""By vendor, model and firmware: the settings that such a station ignores, so that writing them is in vain (Q03)."""


class Step(StrEnum):
    ASK_BOOT = "ask_boot"
    CONFIGURE = "configure"


class Told:
    """What a station answered after its Boot."""

    __slots__ = ("answers", "plan", "station_id")

    def __init__(self, station_id: str, plan: BootPlan, answers: Sequence[tuple[GetConfiguration, Answer]]) -> None:
        self.station_id = station_id
        self.plan = plan
        self.answers = answers


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
        rest_s: float = REST_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        left_alone: LeftAlone = lambda *_: (),
    ) -> None:
        self._database = database
        self._send = send
        self._boot_within_s = boot_within_s
        self._settle_s = settle_s
        self._clock = clock
        self._left_alone = left_alone
        self._at_once = at_once
        self._rest_s = rest_s
        self._room = asyncio.Semaphore(at_once)
        self._plans = Together(self._plans_of)
        self._changes = Together(self._to_change)
        self._next: dict[str, tuple[float, Step]] = {}
        self._queue: list[tuple[float, str]] = []
        self._changed = asyncio.Event()
        self._boots = 0  # so far
        self._steps: dict[Step, Callable[[str, BootPlan], Awaitable[None]]] = {
            Step.ASK_BOOT: self._ask_boot,
            Step.CONFIGURE: self._configure,
        }

    def opened(self, connection: ConnectionOpened) -> None:
        self._plan(connection.station_id, self._boot_within_s, Step.ASK_BOOT)

    def booted(self, station_id: str, status: RegistrationStatus) -> None:
        self._boots += 1
        if status is RegistrationStatus.ACCEPTED:
            self._plan(station_id, random.uniform(*self._settle_s), Step.CONFIGURE)  # noqa: S311
        else:
            self._next.pop(station_id, None)

    def _plan(self, station_id: str, delay_s: float, step: Step) -> None:
        due = asyncio.get_running_loop().time() + delay_s
        self._next[station_id] = (due, step)
        heapq.heappush(self._queue, (due, station_id))
        self._changed.set()

    async def run(self) -> None:
        """Takes the steps when they are due, `at_once` of them at a time, until cancelled. Those that are taken together
        share what is read and written."""
        async with asyncio.TaskGroup() as tasks:
            for taken in count(1):
                station_id, step = await self._next_due()
                await self._room.acquire()
                tasks.create_task(self._take(station_id, step))
                if taken % self._at_once == 0:
                    await self._rest()

    async def _rest(self) -> None:
        loop = asyncio.get_running_loop()
        held_until = loop.time() + HELD_AT_MOST_S
        crowded = True
        while crowded and loop.time() < held_until:
            boots = self._boots
            await asyncio.sleep(self._rest_s)
            crowded = self._boots - boots > CROWD_PER_S * self._rest_s

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
            plan = await self._plans.ask(station_id)
            if plan is not None:
                await self._steps[step](station_id, plan)
        except Exception:
            log.exception("follow_up_failed", station_id=station_id, step=step.value)
        finally:
            self._room.release()

    async def _ask_boot(self, station_id: str, _: BootPlan) -> None:
        command = TriggerMessage(station_id=station_id, kind=TriggerKind.BOOT)
        answer = await self._send(command, timeout_s=ANSWER_WITHIN_S)
        log.info("boot_asked_for", station_id=station_id, outcome=answer.outcome.value)

    async def _configure(self, station_id: str, plan: BootPlan) -> None:
        """B08, T7, C06, C09: what it has is kept, what it should have is set and read back."""
        answers = await self._ask(plan.questions)
        if all(not asked.keys and _understood([(asked, answer)]) and not _tells(answer) for asked, answer in answers):
            answers += await self._ask(await asyncio.to_thread(self._named, station_id))
        changes = await self._to_send(Told(station_id, plan, answers))
        taken = []
        for change in changes:
            answer = await self._send(change, timeout_s=ANSWER_WITHIN_S)
            log.info("setting_sent", station_id=station_id, key=change.key, outcome=answer.outcome.value)
            if await asyncio.to_thread(self._landed, change, answer):
                taken.append(change.key)
        if taken:
            await asyncio.to_thread(
                self._told, await self._ask(await asyncio.to_thread(self._about, station_id, taken))
            )

    async def _ask(self, questions: Sequence[GetConfiguration]) -> list[tuple[GetConfiguration, Answer]]:
        """As far as it answers: a station that left one question open is not asked the next."""
        answers: list[tuple[GetConfiguration, Answer]] = []
        for question in questions:
            answers.append((question, await self._send(question, timeout_s=READ_WITHIN_S)))
            if not _understood(answers[-1:]):
                break
        return answers

    async def _to_send(self, told: Told) -> Sequence[ChangeConfiguration]:
        try:
            return await self._changes.ask(told)
        except Exception:  # what one station told must not harm the others
            return (await asyncio.to_thread(self._to_change, [told]))[told]

    # ---- in a thread ------------------------------------------------------------------------------------------------

    def _plans_of(self, station_ids: Sequence[str]) -> Mapping[str, BootPlan | None]:
        with self._database.read() as connection:
            return boot_settings.boot_plans(connection, station_ids, self._clock())

    def _named(self, station_id: str) -> Sequence[GetConfiguration]:
        with self._database.read() as connection:
            return boot_settings.named(connection, station_id)

    def _about(self, station_id: str, keys: Sequence[str]) -> Sequence[GetConfiguration]:
        with self._database.read() as connection:
            return configuration.questions(connection, station_id, keys)

    def _to_change(self, told: Sequence[Told]) -> Mapping[Told, Sequence[ChangeConfiguration]]:
        def work(connection: Connection) -> Mapping[Told, Sequence[ChangeConfiguration]]:
            stations = {one.station_id for one in told}
            lock_order.stations(connection, stations)
            lock_order.sites_of(connection, stations)  # what it can do is told of its site
            return {one: self._change(connection, one) for one in sorted(told, key=lambda one: one.station_id)}

        return self._database.transact(work)

    def _change(self, connection: Connection, told: Told) -> Sequence[ChangeConfiguration]:
        said = connection.execute(_KIND, {"station": told.station_id}).one()
        return boot_settings.to_change(
            connection, told.station_id, told.plan, told.answers, self._clock(), self._left_alone(*said)
        )

    def _landed(self, change: ChangeConfiguration, answer: Answer) -> bool:
        with self._database.write() as connection:
            return configuration.landed(connection, change, answer, self._clock())

    def _told(self, answers: Sequence[tuple[GetConfiguration, Answer]]) -> None:
        with self._database.write() as connection:
            for question, answer in answers:
                if isinstance(answer, ConfigurationAnswer) and _understood([(question, answer)]):
                    configuration.told(connection, question.station_id, answer, self._clock())


_KIND = select(Station.vendor, Station.model, Station.firmware_version).where(
    Station.station_id == bindparam("station")
)


def _tells(answer: Answer) -> bool:
    return isinstance(answer, ConfigurationAnswer) and bool(answer.settings)


def _understood(answers: Sequence[tuple[GetConfiguration, Answer]]) -> bool:
    return all(answer.outcome is Outcome.ACCEPTED for _, answer in answers)
