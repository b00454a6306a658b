"""The bus over Redis: gateways, workers and APIs of one service in processes of their own, and nothing said is lost."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from csms.bus import names
from csms.bus.client import AWAY, Client
from csms.bus.consumer import Consumer
from csms.bus.entries import Message, NotHandled, Replied
from csms.bus.inbox import Inbox
from csms.bus.leases import Leases
from csms.bus.life import ALIVE_S, BEAT_S, Life
from csms.bus.outbox import Outbox
from csms.bus.reports import Reports
from csms.core import Csms

log = structlog.get_logger(__name__)

BOUND = 10_000


def utc_now() -> datetime:
    return datetime.now(UTC)


class RedisBus:
    """One for each process. `run` is its task and lasts as long as the process serves; a worker's `consume` is another, which
    ends first.

    A gateway reports by `report`. `process_id`: unique for each start of a process, without spaces.
    """

    def __init__(
        self,
        url: str,
        *,
        process_id: str,
        role: str,
        clock: Callable[[], datetime] = utc_now,
        streams: int = names.STREAMS,
        bound: int = BOUND,
    ) -> None:
        """`role`: "gateway", "worker" or "api". `bound`: entries that may wait in a stream before nothing more is added."""
        self.process_id = process_id
        self._streams = streams
        self._client = Client(url)
        self._outbox = Outbox(self._client)
        self._life = Life(self._client, role=role, process_id=process_id, streams=streams)
        self._inbox = Inbox(self._client, process_id=process_id, hear=self._hear)
        self._reports = Reports(
            self._outbox, self._life, process_id=process_id, streams=streams, bound=bound, clock=clock
        )
        self.report = self._reports.report

    @property
    def workers_alive(self) -> bool:
        """Whether anybody takes what is reported."""
        return bool(self._life.workers) and not self._life.away

    @property
    def overloaded(self) -> bool:
        """Redis is away, or the workers are so far behind that nobody more should be let in."""
        return self._reports.overloaded

    async def start(self) -> None:
        """When it returns, others know of this process. Raises redis.exceptions.RedisError or OSError."""
        await self._life.beat()

    async def run(self) -> None:
        """Carries what is said and what comes, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outbox.run())
            tasks.create_task(self._inbox.run())
            tasks.create_task(self._beat())

    async def consume(self, csms: Csms) -> None:
        """A worker's: feeds the core from the streams it holds, until cancelled; then finishes what it took."""
        leases = Leases(self._client, process_id=self.process_id, streams=self._streams)
        consumer = Consumer(self._client, self._outbox, leases, self._life, csms, process_id=self.process_id)
        await consumer.run()

    async def stop(self) -> None:
        """After `run` has ended."""
        await self._life.end()
        await self._client.close()

    async def _beat(self) -> None:
        """Once a second; after a second without an answer nobody is any wiser, so it asks again."""
        while True:
            await asyncio.sleep(BEAT_S)
            try:
                async with asyncio.timeout(ALIVE_S):
                    known = await self._life.beat()
            except AWAY as error:
                log.warning("redis_away", error=f"{type(error).__name__}: {error}"[:300])
                continue
            if not known:
                log.warning("redis_forgot_us")
                self._reports.say_again()

    def _hear(self, message: Message, entry_id: str) -> None:
        if isinstance(message, Replied | NotHandled):
            self._reports.replied(message)
