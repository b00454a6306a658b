"""One WebSocket towards a CSMS: our calls go out one at a time in order, its calls are answered as they come."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.typing import Subprotocol

SUBPROTOCOL = Subprotocol("ocpp1.6")
MAX_FRAME_BYTES = 1024 * 1024
CALL, CALL_RESULT, CALL_ERROR = 2, 3, 4

Payload = dict[str, Any]
OnFrame = Callable[[str, str], None]  # ("sent" or "received", the frame's text)
Spawn = Callable[[Coroutine[Any, Any, None]], None]  # runs it in the background, owned by the charger


class Fate(StrEnum):
    """What became of a call of ours."""

    ANSWERED = "answered"
    REFUSED = "refused"  # a CALLERROR
    SILENT = "silent"  # no answer in time
    CUT = "cut"  # the line went down before the answer
    LOST = "lost"  # answered, but the charger never saw it (Profile.lost_answers)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """A call and what came back. `answer` is empty unless answered or lost; `error` is the CALLERROR's code and text."""

    action: str
    message_id: str
    payload: Payload
    fate: Fate
    answer: Payload = field(default_factory=dict)
    error: str = ""
    latency_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Handled:
    """The answer to a call of the CSMS's, a result or an error code; `then` is what the charger does after sending it."""

    result: Payload = field(default_factory=dict)
    error: str = ""
    then: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, kw_only=True)
class CommandReceived:
    """A call of the CSMS's and the answer it got."""

    action: str
    payload: Any
    handled: Handled


def status(word: str, then: Callable[[], Awaitable[object]] | None = None) -> Handled:
    return Handled(result={"status": word}, then=then)


class Unserved(Exception):
    """The CSMS did not do for the charger what it needs."""


class NotConnected(Unserved):
    """There is no line, or the CSMS would not open one; the text says why."""


class NotAccepted(Unserved):
    """The Boot was answered Pending or Rejected."""


class NoAnswer(Unserved):
    """A call was refused, or nobody answered."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(f"{exchange.action}: {exchange.fate} {exchange.error}".rstrip())
        self.exchange = exchange


def address(url: str, station_id: str) -> str:
    """The identity is one path segment, whatever characters it has."""
    return f"{url.rstrip('/')}/{quote(station_id, safe='')}"


def basic_authorization(station_id: str, password: str | bytes) -> str:
    """Text or raw bytes: OCPP keys need not be UTF-8."""
    secret = password.encode() if isinstance(password, str) else password
    return "Basic " + base64.b64encode(station_id.encode() + b":" + secret).decode()


async def open_socket(url: str, station_id: str, password: str | bytes | None, *, timeout_s: float) -> ClientConnection:
    """Raises NotConnected with the reason: the HTTP status, a refused port, or a subprotocol that was not echoed."""
    headers = {} if password is None else {"Authorization": basic_authorization(station_id, password)}
    try:
        socket = await connect(
            address(url, station_id),
            subprotocols=[SUBPROTOCOL],
            additional_headers=headers,
            compression=None,
            proxy=None,
            ping_interval=None,
            open_timeout=timeout_s,
            close_timeout=2,
            max_size=MAX_FRAME_BYTES,
        )
    except InvalidStatus as refusal:
        raise NotConnected(f"{station_id}: the server answered HTTP {refusal.response.status_code}") from refusal
    except (OSError, TimeoutError, InvalidHandshake, InvalidURI) as failure:
        raise NotConnected(f"{station_id}: {failure or type(failure).__name__}") from failure
    if socket.subprotocol != SUBPROTOCOL:
        await socket.close()
        raise NotConnected(f"{station_id}: the server did not agree to {SUBPROTOCOL}")
    return socket


class Link:
    """`handle` answers the CSMS's calls; `strays` keeps frames that nobody asked for or could read."""

    def __init__(
        self,
        socket: ClientConnection,
        *,
        handle: Callable[[str, Any], Handled],
        spawn: Spawn,
        on_frame: OnFrame,
        answer_timeout_s: float,
        answer_delay_s: float,
    ) -> None:
        self._socket = socket
        self._handle = handle
        self._spawn = spawn
        self._on_frame = on_frame
        self._answer_timeout_s = answer_timeout_s
        self._answer_delay_s = answer_delay_s
        self._turn = asyncio.Lock()  # one call in flight, the others first in first out
        self._in_flight: tuple[str, asyncio.Future[tuple[Fate, Payload, str]]] | None = None
        self.strays: list[str] = []

    async def call(self, action: str, payload: Payload) -> Exchange:
        """Never raises for the CSMS's sake; every call has a message id of its own, a repeated one too (X02)."""
        async with self._turn:
            message_id = uuid.uuid4().hex
            answer: asyncio.Future[tuple[Fate, Payload, str]] = asyncio.get_running_loop().create_future()
            self._in_flight = message_id, answer
            began = time.perf_counter()
            try:
                async with asyncio.timeout(self._answer_timeout_s):
                    await self._send([CALL, message_id, action, payload])
                    fate, result, error = await answer
            except TimeoutError:
                fate, result, error = Fate.SILENT, {}, ""
            except ConnectionClosed:
                fate, result, error = Fate.CUT, {}, ""
            finally:
                self._in_flight = None
        return Exchange(
            action=action,
            message_id=message_id,
            payload=payload,
            fate=fate,
            answer=result,
            error=error,
            latency_s=time.perf_counter() - began,
        )

    async def run(self) -> None:
        """Receive until the line is down, then tell the call in flight."""
        try:
            async for frame in self._socket:
                text = frame if isinstance(frame, str) else frame.decode(errors="replace")
                self._on_frame("received", text)
                self._receive(text)
        except ConnectionClosed:
            pass
        finally:
            if self._in_flight and not self._in_flight[1].done():
                self._in_flight[1].set_result((Fate.CUT, {}, ""))

    async def close(self) -> None:
        await self._socket.close()

    def _receive(self, text: str) -> None:
        try:
            # Decimal, as the ocpp package's schemas of charging profiles want it.
            kind, message_id, *rest = json.loads(text, parse_float=Decimal)
        except (ValueError, TypeError):
            self.strays.append(text)
            return
        if kind == CALL and len(rest) == 2 and isinstance(rest[0], str):
            self._spawn(self._answer(message_id, rest[0], rest[1]))
        elif self._in_flight and self._in_flight[0] == message_id and not self._in_flight[1].done() and rest:
            if kind == CALL_RESULT and isinstance(rest[0], dict):
                self._in_flight[1].set_result((Fate.ANSWERED, rest[0], ""))
            elif kind == CALL_ERROR:
                self._in_flight[1].set_result((Fate.REFUSED, {}, " ".join(str(word) for word in rest[:2]).strip()))
            else:
                self.strays.append(text)
        else:
            self.strays.append(text)

    async def _answer(self, message_id: object, action: str, payload: Any) -> None:
        await asyncio.sleep(self._answer_delay_s)
        handled = self._handle(action, payload)
        try:
            if handled.error:
                await self._send([CALL_ERROR, message_id, handled.error, "", {}])
            else:
                await self._send([CALL_RESULT, message_id, handled.result])
        except ConnectionClosed:
            return  # the CSMS will ask again
        if handled.then is not None:
            await handled.then()

    async def _send(self, frame: list[Any]) -> None:
        text = json.dumps(frame, separators=(",", ":"))
        await self._socket.send(text)
        self._on_frame("sent", text)
