"""How the partner answers: OCPI's envelope, and the faults instead of it."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Send

from ocpi_bridge.emsp_simulator.book import Fault

JSON = "application/json; charset=utf-8"
DRIP_S = 0.05
HUGE_BYTES = 300 * 2**20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`data` None is left out of the envelope (TR-16)."""

    data: Any = None
    code: int = 1000
    message: str = "Success"
    http: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class NotSo(Exception):
    """A request that is refused whether strict or not; carries the answer."""

    def __init__(self, http: int, code: int, message: str) -> None:
        super().__init__(message)
        self.answer = Answer(http=http, code=code, message=message)


def exact_json(body: Any) -> bytes:
    """JSON in which a Decimal stays the number it is."""
    return orjson.dumps(body, default=_number)


def _number(value: object) -> object:
    if isinstance(value, Decimal):
        return orjson.Fragment(format(value, "f").encode())
    raise TypeError(type(value).__name__)


def enveloped(answer: Answer, headers: Mapping[str, str]) -> Response:
    body = {
        "status_code": answer.code,
        "status_message": answer.message,
        "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if answer.data is not None:
        body["data"] = answer.data
    return Response(exact_json(body), answer.http, {**headers, **answer.headers, "Content-Type": JSON})


def _refusal(code: int) -> bytes:
    return exact_json({"status_code": code, "status_message": "As told", "timestamp": "2026-01-01T00:00:00Z"})


# Faults that are a fixed answer: status, headers, body.
FIXED: dict[Fault, tuple[int, dict[str, str], bytes]] = {
    Fault.ERROR_401: (401, {}, b"Unauthorized"),
    Fault.ERROR_404: (404, {}, b"Not Found"),
    Fault.ERROR_429: (429, {"Retry-After": "0"}, b"Too Many Requests"),
    Fault.ERROR_500: (500, {}, b"Internal Server Error"),
    Fault.ERROR_2001: (200, {"Content-Type": JSON}, _refusal(2001)),
    Fault.ERROR_3000: (200, {"Content-Type": JSON}, _refusal(3000)),
    Fault.ERROR_3001: (200, {"Content-Type": JSON}, _refusal(3001)),
    Fault.STALE_TOKEN: (401, {"Content-Type": JSON}, _refusal(2001)),
    Fault.WRONG_ENVELOPE: (200, {"Content-Type": JSON}, b'{"code": 1000, "message": "Success", "data": {}}'),
    Fault.A_LIST: (200, {"Content-Type": JSON}, b"[1000]"),
    Fault.REDIRECT: (307, {"Location": "/elsewhere"}, b""),
    Fault.GARBAGE: (200, {"Content-Type": JSON}, b"<html>\xff\x00 this is no JSON"),
}


async def gone(receive: Receive, closing: asyncio.Event) -> None:
    """Returns when the client has left or the simulator is closing."""

    async def left() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    waiting = [asyncio.ensure_future(left()), asyncio.ensure_future(closing.wait())]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def misbehave(
    fault: Fault, receive: Receive, send: Send, *, closing: asyncio.Event, abort: Callable[[], None]
) -> None:
    """Plays a fault that is no fixed answer, until the client leaves or the simulator closes."""
    if fault is Fault.DISCONNECT:
        abort()
    if fault not in (Fault.DRIP, Fault.HUGE):
        await gone(receive, closing)
        return
    leaving = asyncio.ensure_future(gone(receive, closing))
    length = HUGE_BYTES if fault is Fault.HUGE else 10_000
    piece = b" " * (2**18 if fault is Fault.HUGE else 1)
    headers = [(b"content-type", JSON.encode()), (b"content-length", str(length).encode())]
    try:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(length // len(piece)):
            if leaving.done():
                return
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if fault is Fault.DRIP:
                await asyncio.wait([leaving], timeout=DRIP_S)
    finally:
        leaving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await leaving
