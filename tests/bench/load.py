"""Chargers that wait for each answer before they send the next message, as raw frames, so that the server is the cost."""

import asyncio
import base64
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter

import orjson
from websockets.asyncio.client import ClientConnection, connect

MEASURANDS = (
    ("Energy.Active.Import.Register", "Wh", None),
    ("Power.Active.Import", "W", None),
    ("Voltage", "V", "L1"),
    ("Voltage", "V", "L2"),
    ("Voltage", "V", "L3"),
    ("Current.Import", "A", "L1"),
    ("Current.Import", "A", "L2"),
    ("Current.Import", "A", "L3"),
    ("SoC", "Percent", None),
    ("Temperature", "Celsius", None),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """`cpu_us` is the server's processor time per message, user and system, all its threads."""

    messages: int
    seconds: float
    cpu_us: float
    p50_ms: float
    p99_ms: float

    @property
    def per_second(self) -> float:
        return self.messages / self.seconds


def cpu_seconds(pid: int) -> float:
    """Processor time that the process has used."""
    with open(f"/proc/{pid}/stat", "rb") as stat:
        fields = stat.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Charger:
    def __init__(self, number: int) -> None:
        self.station_id = f"BENCH{number:04d}"
        self.transaction_id = 0
        self._sent = 0
        self._connection: ClientConnection | None = None

    async def connect(self, url: str, password: str) -> None:
        credentials = base64.b64encode(f"{self.station_id}:{password}".encode()).decode()
        self._connection = await connect(
            f"{url}/{self.station_id}",
            subprotocols=["ocpp1.6"],  # type: ignore[list-item]
            additional_headers={"Authorization": f"Basic {credentials}"},
            compression=None,
            ping_interval=None,
        )
        await self.call("BootNotification", {"chargePointVendor": "Bench", "chargePointModel": "B1"})

    async def start(self) -> None:
        now = datetime.now(UTC).isoformat()
        payload = {"connectorId": 1, "idTag": self.station_id, "meterStart": 0, "timestamp": now}
        self.transaction_id = (await self.call("StartTransaction", payload))["transactionId"]

    async def call(self, action: str, payload: object) -> dict[str, int]:
        """The answer's payload; an answer that is none is a failed measurement."""
        assert self._connection is not None
        self._sent += 1
        await self._connection.send(orjson.dumps([2, str(self._sent), action, payload]).decode())
        while True:
            frame = orjson.loads(await self._connection.recv())
            if frame[0] == 2:  # the server asks something: the library's way of saying no
                await self._connection.send(orjson.dumps([4, frame[1], "NotImplemented", "", {}]).decode())
            elif frame[0] == 3:
                return dict(frame[2])
            else:
                raise AssertionError(frame)

    @property
    def socket(self) -> ClientConnection:
        assert self._connection is not None
        return self._connection

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    def payloads(self, action: str) -> Iterator[object]:
        """Each a new one: a repeated meter sample would be recognised and cost less."""
        at = datetime.now(UTC)
        number = 0
        while True:
            number += 1
            at += timedelta(milliseconds=1)
            if action == "Heartbeat":
                yield {}
            elif action == "StatusNotification":
                status = ("Preparing", "Charging", "Finishing", "Available")[number % 4]
                yield {"connectorId": 1, "errorCode": "NoError", "status": status, "timestamp": at.isoformat()}
            else:
                values = [
                    {"value": str(1000 + number), "context": "Sample.Periodic", "measurand": name, "unit": unit}
                    | ({"phase": phase} if phase else {})
                    for name, unit, phase in MEASURANDS
                ]
                samples = [{"timestamp": at.isoformat(), "sampledValue": values}]
                yield {"connectorId": 1, "transactionId": self.transaction_id, "meterValue": samples}


async def measure(pid: int, chargers: list[Charger], action: str, messages: int, *, wait_s: float = 1.0) -> Measured:
    """Every charger sends its share, each message when the one before is answered."""
    latencies: list[float] = []
    share = messages // len(chargers)

    async def send(charger: Charger) -> None:
        payloads = charger.payloads(action)
        for _ in range(share):
            payload = next(payloads)
            began = perf_counter()
            await charger.call(action, payload)
            latencies.append(perf_counter() - began)

    cpu, began = cpu_seconds(pid), perf_counter()
    await asyncio.gather(*(send(charger) for charger in chargers))
    seconds = perf_counter() - began
    await asyncio.sleep(wait_s)  # what the server still writes belongs to the message too
    used = cpu_seconds(pid) - cpu
    latencies.sort()
    count = len(latencies)
    return Measured(
        messages=count,
        seconds=seconds,
        cpu_us=used / count * 1e6,
        p50_ms=latencies[count // 2] * 1000,
        p99_ms=latencies[int(count * 0.99)] * 1000,
    )
