"""A command finds the gateway that holds its station, and the station's answer comes back to whoever asked."""

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import msgspec
import structlog

from csms.bus import Send
from csms.bus.client import AWAY, Client
from csms.bus.entries import Answered, Asked, Displaced, raw
from csms.bus.outbox import Outbox
from csms.bus.where import gateway_of
from csms.commands import Answer, AnyCommand, Command, Outcome, answer_to

log = structlog.get_logger(__name__)

A = TypeVar("A", bound=Answer)

LOOK_AGAIN_S: Final = 0.2  # while Redis is away
REMEMBERED: Final = 10_000  # requests, since each may be written twice


class Asking:
    """The side that asks."""

    def __init__(self, client: Client, outbox: Outbox, *, process_id: str, now_s: Callable[[], float]) -> None:
        """`now_s`: by Redis's clock."""
        self._client = client
        self._outbox = outbox
        self._process_id = process_id
        self._now_s = now_s
        self._waiting: dict[str, tuple[Command[Any], asyncio.Future[Any]]] = {}

    async def send(self, command: Command[A], /, *, timeout_s: float) -> A:
        """bus.Send: OFFLINE when no living gateway holds the station, TIMEOUT when nothing came back in time."""
        try:
            async with asyncio.timeout(timeout_s):
                gateway = await self._gateway(command.station_id)
                if gateway is None:
                    return answer_to(command, Outcome.OFFLINE, "not connected")
                return await self._ask(gateway, command, timeout_s)
        except TimeoutError:
            return answer_to(command, Outcome.TIMEOUT, "no answer")

    def answered(self, message: Answered) -> None:
        command, answer = self._waiting.get(message.request_id, (None, None))
        if command is not None and answer is not None and not answer.done():
            answer.set_result(msgspec.msgpack.decode(message.answer, type=command.answer_type()))

    async def _gateway(self, station_id: str) -> str | None:
        while True:
            try:
                return await gateway_of(self._client, station_id)
            except AWAY:
                await asyncio.sleep(LOOK_AGAIN_S)

    async def _ask(self, gateway: str, command: Command[A], timeout_s: float) -> A:
        request_id = uuid.uuid4().hex
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = command, answer
        asked = Asked(request_id, cast(AnyCommand, command), timeout_s, self._process_id, self._now_s())
        self._outbox.tell(gateway, asked)
        try:
            return await answer
        finally:
            del self._waiting[request_id]


class Serving:
    """The side of a gateway: what others ask of its stations."""

    def __init__(
        self, outbox: Outbox, *, send: Send, displaced: Callable[[str, str, str], None], now_s: Callable[[], float]
    ) -> None:
        """`now_s`: by Redis's clock."""
        self._outbox = outbox
        self._now_s = now_s
        self._send = send
        self._displaced = displaced
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: OrderedDict[str, None] = OrderedDict()

    def displaced(self, message: Displaced) -> None:
        self._displaced(message.station_id, message.older, message.newer)

    def asked(self, message: Asked, age_s: float) -> None:
        """What has been under way for longer than its time is not done any more: nobody waits, and somebody was told so."""
        if message.request_id in self._known:
            return
        self._known[message.request_id] = None
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if message.asked_at_s:
            age_s = max(age_s, self._now_s() - message.asked_at_s)
        left_s = message.timeout_s - max(0.0, age_s)
        if left_s <= 0:
            log.warning("command_too_late", station_id=message.command.station_id, age_s=round(age_s, 1))
            return
        task = asyncio.get_running_loop().create_task(self._serve(message, left_s))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, message: Asked, left_s: float) -> None:
        command: Command[Answer] = message.command
        try:
            answer = await self._send(command, timeout_s=left_s)
        except Exception as error:
            log.exception("command_failed", station_id=command.station_id)
            answer = answer_to(command, Outcome.FAILED, f"{type(error).__name__} at its gateway")
        self._outbox.tell(message.reply_to, Answered(message.request_id, raw(answer)))
