"""What happened in transactions reaches the CSMS in the order it happened: the next message waits for the last's answer."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from csms.simulator.wire import Exchange, Fate, Payload


@dataclass(frozen=True, kw_only=True)
class Queued:
    """`payload` is asked at each sending: an offline Stop learns its transaction's id only from the late Start's answer."""

    action: str
    payload: Callable[[], Payload]
    on_answer: Callable[[Payload], None] = lambda answer: None
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # answered, given up, or the line went down


class Outbox:
    """The retry rules of libocpp (X01-X03): a message that is refused or not answered in time is sent again with a new id,
    `attempts()` times in all, then dropped; a cut line costs no attempt."""

    def __init__(
        self,
        send: Callable[[str, Payload], Awaitable[Exchange]],
        *,
        attempts: Callable[[], int],
        retry_pause: Callable[[int], Awaitable[None]],
        lost_answers: int,
        record: Callable[[Exchange], None],
    ) -> None:
        self._send = send
        self._attempts = attempts
        self._retry_pause = retry_pause
        self._lost_answers = lost_answers
        self._record = record
        self._queue: deque[Queued] = deque()
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._line = asyncio.Event()
        self.dropped: list[Exchange] = []

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: Queued) -> None:
        self._queue.append(message)
        self._filled.set()
        self._emptied.clear()

    def open(self) -> None:
        """The CSMS has accepted us: deliver."""
        self._line.set()

    def shut(self) -> None:
        """The line is down: keep everything, and let nobody wait for it."""
        self._line.clear()
        for message in self._queue:
            message.moved.set()

    async def deliver(self, message: Queued, *, timeout_s: float) -> None:
        """Queue it and, on an open line, wait until it is answered or given up; afterwards it may still be queued."""
        self.put(message)
        if self._line.is_set():
            try:
                async with asyncio.timeout(timeout_s):
                    await message.moved.wait()
            except TimeoutError:
                pass

    async def drained(self, *, timeout_s: float) -> None:
        """Raises TimeoutError when messages are left."""
        async with asyncio.timeout(timeout_s):
            await self._emptied.wait()

    async def run(self) -> None:
        while True:
            await self._filled.wait()
            message = self._queue[0]
            if not await self._deliver(message):
                continue
            self._queue.popleft()
            message.moved.set()
            if not self._queue:
                self._filled.clear()
                self._emptied.set()

    async def _deliver(self, message: Queued) -> bool:
        """False: the line went down, begin again with this message when it is back."""
        failures = 0
        lost = 0
        while True:
            await self._line.wait()
            exchange = await self._send(message.action, message.payload())
            if exchange.fate is Fate.ANSWERED and lost < self._lost_answers:
                lost += 1
                self._record(replace(exchange, fate=Fate.LOST))
                continue
            self._record(exchange)
            if exchange.fate is Fate.CUT:
                self.shut()
                return False
            if exchange.fate is Fate.ANSWERED:
                message.on_answer(exchange.answer)
                return True
            failures += 1
            if failures >= self._attempts():
                self.dropped.append(exchange)
                return True
            await self._retry_pause(failures)
