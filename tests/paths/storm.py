"""A fleet that comes back at once, beside chargers that stay: how long it takes, and how long those who stay wait."""

import asyncio
import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter

import orjson

from tests.bench.load import Charger

BOOT = {"chargePointVendor": "Bench", "chargePointModel": "B1"}
STATUSES = [{"connectorId": number, "errorCode": "NoError", "status": "Available"} for number in (0, 1)]
TRY_AGAIN_S = 1.0
TALK_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Weathered:
    """`seconds` until the last of those who came was answered; `refusals` how often one was told to come later; `answers` to
    those who stayed, and the milliseconds until them; `rss_kb` of the server when all are there."""

    seconds: float
    refusals: int
    answers: int
    p50_ms: float
    p99_ms: float
    rss_kb: int


class Returning:
    """A charger's socket made of nothing but a stream: ten thousand of them fit beside the server on one machine."""

    def __init__(self, station_id: str, password: str) -> None:
        self.station_id = station_id
        self.refusals = 0
        self._head = "\r\n".join(
            (
                f"GET /ocpp/{station_id} HTTP/1.1",
                "Host: bench",
                "Upgrade: websocket",
                "Connection: Upgrade",
                f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Protocol: ocpp1.6",
                f"Authorization: Basic {base64.b64encode(f'{station_id}:{password}'.encode()).decode()}",
                "\r\n",
            )
        )

    async def come(self, host: str, port: int) -> None:
        """Until it is connected and has its Boot and its statuses answered."""
        while not await self._connected(host, port):
            self.refusals += 1
            await asyncio.sleep(TRY_AGAIN_S)
        boot = await self.call("BootNotification", BOOT)
        if boot["status"] != "Accepted":
            raise AssertionError(boot)
        for status in STATUSES:
            await self.call("StatusNotification", status)

    async def _connected(self, host: str, port: int) -> bool:
        try:
            self._reader, self._writer = await asyncio.open_connection(host, port, limit=1 << 14)
        except OSError:
            return False
        try:
            self._writer.write(self._head.encode())
            head = await self._reader.readuntil(b"\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            head = b""
        if b" 101 " in head[:16]:
            return True
        self._writer.close()
        if head and b" 503 " not in head[:16]:
            raise AssertionError(head)
        return False

    async def call(self, action: str, payload: object) -> dict[str, str]:
        frame = orjson.dumps([2, action, action, payload])
        head = b"\x81" + (bytes([0x80 | len(frame)]) if len(frame) < 126 else b"\xfe" + len(frame).to_bytes(2, "big"))
        self._writer.write(head + bytes(4) + frame)  # masked by zeros
        while True:
            answer = orjson.loads(await self._frame())
            if answer[0] == 3 and answer[1] == action:
                return dict(answer[2])

    async def _frame(self) -> bytes:
        first, size = await self._reader.readexactly(2)
        if first == 0x88:
            raise ConnectionResetError(f"{self.station_id} was sent away")
        if size == 126:
            size = int.from_bytes(await self._reader.readexactly(2), "big")
        return await self._reader.readexactly(size)

    def close(self) -> None:
        self._writer.close()


async def weather(
    port: int, pid: int, staying: list[Charger], coming: Iterable[Returning], *, host: str = "127.0.0.1"
) -> Weathered:
    """`staying` are connected, in a transaction, and send a MeterValues every half second until all of `coming` are there."""
    latencies: list[float] = []
    over = asyncio.Event()

    async def stay(charger: Charger) -> None:
        for payload in charger.payloads("MeterValues"):
            if over.is_set():
                return
            began = perf_counter()
            await charger.call("MeterValues", payload)
            latencies.append(perf_counter() - began)
            await asyncio.sleep(TALK_EVERY_S)

    talking = [asyncio.create_task(stay(charger)) for charger in staying]
    fleet = list(coming)
    began = perf_counter()
    await asyncio.gather(*(charger.come(host, port) for charger in fleet))
    seconds = perf_counter() - began
    rss_kb = resident_kb(pid)
    over.set()
    await asyncio.gather(*talking)
    for charger in fleet:
        charger.close()
    latencies.sort()
    return Weathered(
        seconds=seconds,
        refusals=sum(charger.refusals for charger in fleet),
        answers=len(latencies),
        p50_ms=latencies[len(latencies) // 2] * 1000,
        p99_ms=latencies[int(len(latencies) * 0.99)] * 1000,
        rss_kb=rss_kb,
    )


def resident_kb(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))
