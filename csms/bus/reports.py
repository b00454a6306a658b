"""What a charger says goes into its station's stream, and the core's reply comes back to whoever waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, TypeVar, cast

from csms.bus import NotTaken, Told, names
from csms.bus.entries import NotHandled, Replied, Reported, entry_to_bytes, reply_from
from csms.bus.life import Life
from csms.bus.outbox import Outbox
from csms.events import AnyEvent, Event, HeartbeatReceived, HeartbeatReply

R = TypeVar("R")


class Waiting:
    """`stream` and `data` are kept so that it can be said again to a Redis that forgot it."""

    __slots__ = ("data", "event", "reply", "stream")

    def __init__(self, event: Event[Any], stream: str, data: bytes, reply: asyncio.Future[Any]) -> None:
        self.event = event
        self.stream = stream
        self.data = data
        self.reply = reply


class Reports:
    """`bound`: entries of one stream, beyond which nothing is added."""

    def __init__(
        self, outbox: Outbox, life: Life, *, process_id: str, streams: int, bound: int, clock: Callable[[], datetime]
    ) -> None:
        self._outbox = outbox
        self._life = life
        self._process_id = process_id
        self._streams = streams
        self._bound = bound
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}

    @property
    def overloaded(self) -> bool:
        """Redis is away, or the workers are so far behind that nobody more should be let in."""
        return self._life.away or max(self._life.depths) >= self._bound

    def report(self, event: Event[R], /) -> Awaitable[R]:
        """bus.Report. Waits for room in the stream and then for the reply, as long as its caller does; who gives up may
        report the same again. Raises NotTaken when the core could not handle it."""
        if isinstance(event, HeartbeatReceived):
            return Told(cast(R, HeartbeatReply(current_time=self._clock())))
        stream = names.stream_of(event.station_id, self._streams)
        if self._full(stream):
            return self._put_later(event, stream)
        return self._put(event, stream)

    def _full(self, stream: int) -> bool:
        return self._life.away or self._life.depths[stream] >= self._bound

    async def _put_later(self, event: Event[R], stream: int) -> R:
        while self._full(stream):
            self._life.beaten.clear()
            await self._life.beaten.wait()
        return await self._put(event, stream)

    def _put(self, event: Event[R], stream: int) -> asyncio.Future[R]:
        data = entry_to_bytes(Reported(cast(AnyEvent, event), self._process_id))
        reply: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiting = Waiting(event, names.events(stream), data, reply)
        self._waiting[event.event_id] = waiting
        reply.add_done_callback(lambda _: self._ended(waiting))
        self._say(waiting)
        return reply

    def _ended(self, waiting: Waiting) -> None:
        """It was answered, or who asked has given up; perhaps the same was reported again since."""
        if self._waiting.get(waiting.event.event_id) is waiting:
            del self._waiting[waiting.event.event_id]

    def say_again(self) -> None:
        """Redis may have lost what it held: everything that is unanswered, in its order. What it did not lose is handled
        once all the same."""
        for waiting in self._waiting.values():
            self._say(waiting)

    def replied(self, message: Replied | NotHandled) -> None:
        waiting = self._waiting.get(message.event_id)
        if waiting is None or waiting.reply.done():
            return  # who asked has given up
        if isinstance(message, NotHandled):
            waiting.reply.set_exception(NotTaken(message.error))
        else:
            waiting.reply.set_result(reply_from(message.reply, waiting.event))

    def _say(self, waiting: Waiting) -> None:
        self._outbox.put("XADD", waiting.stream, "*", "e", waiting.data)
