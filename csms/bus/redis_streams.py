"""The bus over Redis: gateways, workers and APIs of one service in processes of their own, and nothing said is lost."""

import asyncio
from collections.abc import Callable, Set
from datetime import UTC, datetime

import structlog

from csms.bus import Presence, Send, names
from csms.bus.calls import Asking, Serving
from csms.bus.client import AWAY, Client
from csms.bus.consumer import Consumer
from csms.bus.durability import doubts
from csms.bus.entries import Answered, Asked, Displaced, Message, NotHandled, Replied
from csms.bus.inbox import Inbox
from csms.bus.leases import Leases
from csms.bus.life import ALIVE_S, BEAT_S, Life, Measures
from csms.bus.outbox import Outbox
from csms.bus.reports import Reports
from csms.bus.wakes import Wakes
from csms.bus.where import Arrivals, give_up, held
from csms.core import Csms

log = structlog.get_logger(__name__)

BOUND = 10_000
AT_REST = "at_rest"  # a worker that takes nothing: the others share its streams
STOP_S = 5.0


def utc_now() -> datetime:
    return datetime.now(UTC)


class RedisBus:
    """One for each process. `run` is its task and lasts as long as the process serves; a worker's `consume` is another, which
    ends first.

    A gateway has `report` and `presence`, and serves commands. A worker consumes; its core must be one that handles each
    event `once`. Whoever asks chargers has `send`; all have `wake` and `on_wake`. `process_id`: unique for each start of a
    process, without spaces.
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
        self._role = role
        self._streams = streams
        self._clock = clock
        self._client = Client(url)
        self._outbox = Outbox(self._client)
        self._life = Life(
            self._client, role=AT_REST if role == "worker" else role, process_id=process_id, streams=streams
        )
        self._inbox = Inbox(self._client, process_id=process_id, hear=self._hear)
        self._reports = Reports(
            self._outbox, self._life, process_id=process_id, streams=streams, bound=bound, clock=clock
        )
        self._arrivals = Arrivals(self._outbox, process_id=process_id, streams=streams, away=lambda: self._life.away)
        self._asking = Asking(self._client, self._outbox, process_id=process_id, now_s=self._life.now_s)
        self._serving: Serving | None = None
        self._wakes = Wakes(self._client, process_id=process_id)
        self.report = self._reports.report
        self.presence: Presence = self._arrivals
        self.send: Send = self._asking.send
        self.wake = self._wakes.wake

    # ---- what a process may rely on ---------------------------------------------------------------------------------

    @property
    def away(self) -> bool:
        """Redis has not answered for some seconds."""
        return self._life.away

    @property
    def workers_alive(self) -> bool:
        """Whether anybody takes what is reported."""
        return bool(self._life.workers) and not self._life.away

    @property
    def overloaded(self) -> bool:
        """Redis is away, or the workers are so far behind that nobody more should be let in."""
        return self._reports.overloaded

    async def connections(self) -> frozenset[str]:
        """The ids of those that gateways hold. Raises redis.exceptions.RedisError or OSError."""
        return await held(self._client)

    def measures(self) -> Measures:
        """As of the last second."""
        return self._life.measures()

    def serve_commands(self, *, send: Send, displaced: Callable[[str, str, str], None]) -> None:
        """A gateway's. `send`: to the sockets that are here. `displaced(station_id, older, newer)`: the station came back to
        another gateway, and its connection `older`, if it is still here, is to be probed and closed (T9)."""
        self._serving = Serving(self._outbox, send=send, displaced=displaced, now_s=self._life.now_s)

    def on_wake(self, heard: Callable[[str, Set[str] | None], None]) -> None:
        """`heard(kind, types)` is called on the loop for every wake of another process; `types` None: of any."""
        self._wakes.hear_by(heard)

    # ---- its life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """When it returns, others know of this process. Raises redis.exceptions.RedisError or OSError."""
        for doubt in await doubts(self._client):
            log.warning("redis_may_lose", advice=doubt)
        await self._life.beat()

    async def run(self) -> None:
        """Carries what is said and what comes, until cancelled; what was said by then is still written."""
        async with asyncio.TaskGroup() as tasks:
            parts = (
                self._outbox.run,
                self._inbox.run,
                self._beat,
                self._give_up,
                self._arrivals.run,
                self._wakes.tell,
                self._wakes.listen,
            )
            for part in parts:
                tasks.create_task(part())
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                if self._serving is not None:
                    await self._serving.stop()
                await self._outbox.emptied(STOP_S)

    async def consume(self, csms: Csms) -> None:
        """A worker's: feeds the core from the streams it holds, until cancelled; then finishes what it took."""
        leases = Leases(self._client, process_id=self.process_id, streams=self._streams)
        consumer = Consumer(self._client, self._outbox, leases, self._life, csms, process_id=self.process_id)
        await self._life.become("worker")
        try:
            await consumer.run()
        finally:
            await self._life.become(AT_REST)

    async def stop(self) -> None:
        """After `run` has ended."""
        await self._life.end()
        await self._client.close()

    async def _beat(self) -> None:
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
                self._inbox.doubt()
                self._arrivals.say_again()
                self._reports.say_again()

    async def _give_up(self) -> None:
        """One worker is enough; beside the beat, since a gateway may have held many stations."""
        while True:
            await asyncio.sleep(BEAT_S)
            if self._life.workers[:1] != (self.process_id,):
                continue
            for gateway in self._life.silent_gateways:
                try:
                    await give_up(self._client, gateway, streams=self._streams, clock=self._clock)
                except AWAY as error:
                    log.warning("gateway_not_given_up", gateway=gateway, error=f"{type(error).__name__}: {error}"[:300])

    def _hear(self, message: Message, entry_id: str) -> None:
        match message:
            case Replied() | NotHandled():
                self._reports.replied(message)
            case Answered():
                self._asking.answered(message)
            case Asked() if self._serving is not None:
                self._serving.asked(message, self._life.age_s(entry_id))
            case Displaced() if self._serving is not None:
                self._serving.displaced(message)
            case _:
                log.warning("message_not_for_us", role=self._role, kind=type(message).__name__)
