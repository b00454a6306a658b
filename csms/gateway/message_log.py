"""Every frame in and out is handed to a sink in batches, and no charger ever waits for that."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

import structlog

from csms.bus import LoggedFrame

log = structlog.get_logger(__name__)

Sink: TypeAlias = Callable[[Sequence[LoggedFrame]], None]


class MessageLogWriter:
    """`record` (bus.MessageLog) only appends; `run` writes. When the sink cannot follow, the oldest rows are dropped,
    counted in `dropped` and warned of once per batch: the log gives way, never the charger."""

    def __init__(
        self, sink: Sink, *, capacity: int = 100_000, batch_size: int = 4_000, interval_s: float = 0.3
    ) -> None:
        self.dropped = 0
        self.written = 0
        self._sink = sink
        self._buffer: deque[LoggedFrame] = deque(maxlen=capacity)
        self._capacity = capacity
        self._batch_size = batch_size
        self._interval_s = interval_s
        self._warned_of = 0
        self._writing = asyncio.Lock()

    def record(self, frame: LoggedFrame, /) -> None:
        if len(self._buffer) == self._capacity:
            self.dropped += 1
        self._buffer.append(frame)

    async def run(self) -> None:
        """Writes until cancelled, then writes what is left."""
        try:
            while True:
                await asyncio.sleep(self._interval_s)
                await asyncio.shield(self.flush())  # a batch that a thread is writing cannot be called back
        finally:
            await self.flush()

    async def flush(self) -> None:
        """Hands everything recorded so far to the sink. A batch the sink refuses is dropped and counted."""
        if self.dropped > self._warned_of:
            log.warning("message_log_overflow", dropped=self.dropped - self._warned_of, total=self.dropped)
            self._warned_of = self.dropped
        async with self._writing:
            while self._buffer:
                count = min(self._batch_size, len(self._buffer))
                batch = [self._buffer.popleft() for _ in range(count)]
                try:
                    await asyncio.to_thread(self._sink, batch)
                except Exception as error:
                    self.dropped += count
                    self._warned_of = self.dropped
                    # No traceback: it may be so several times a second, and whoever formats it keeps the chargers waiting.
                    log.error("message_log_batch_lost", rows=count, error=repr(error)[:300])
                else:
                    self.written += count
