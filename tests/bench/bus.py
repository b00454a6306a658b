"""What a message costs each role from a gateway's report to its reply, over Redis Streams and PostgreSQL, without sockets."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import uvloop

from csms.bus.redis_streams import RedisBus
from csms.database import Database
from csms.events import Event, MeterSample, MeterSampled, SampledValue
from csms.schema import migrate
from tests.bench.table import Row
from tests.csms.core_story import Story
from tests.redis_server import RedisServer

VALUES = 10
WARM_UP = 10  # messages of each station
TICKS = os.sysconf("SC_CLK_TCK")


def rows(chargers: int, messages: int, database_url: str) -> Sequence[Row]:
    """MeterValues of `chargers` stations, each waiting for its answer before it says the next."""
    each = max(1, messages // chargers)
    migrate(database_url)
    database = Database(database_url)
    Story(database).site(*(_name(n) for n in range(chargers)), evses=1)
    database.dispose()
    redis = RedisServer()
    redis.start()
    try:
        direct = _told(_process("direct", database_url, chargers, each))
        with _running("worker", redis.url, database_url) as worker:
            gateway = _process("gateway", redis.url, chargers, each)
            began = _line(gateway)
            before = [_cpu_s(worker.pid), _cpu_s(redis.pid)]
            assert gateway.stdin is not None
            gateway.stdin.write(b"go\n")
            gateway.stdin.flush()
            ended = _line(gateway)
            after = [_cpu_s(worker.pid), _cpu_s(redis.pid)]
            gateway.wait()
    finally:
        redis.remove()
    assert began["ready"]
    count = chargers * each
    worker_us, redis_us = ((late - early) / count * 1e6 for early, late in zip(before, after, strict=True))
    costs = {
        "gateway": ended["cpu_us"],
        "worker": worker_us,
        "Redis": redis_us,
        "core called directly": direct["cpu_us"],
    }
    what = f"the bus, MeterValues of {VALUES} values, {chargers} stations"
    told = [
        Row(what=f"{what}: CPU of {role}", reached=f"{cost:.0f} us", database="postgresql")
        for role, cost in costs.items()
    ]
    speed = f"{ended['per_second']:,.0f} /s, p50 {ended['p50_ms']:.1f} ms, p99 {ended['p99_ms']:.1f} ms"
    told.append(Row(what=f"{what}: one gateway, one worker", reached=speed, database="postgresql"))
    speed = f"{direct['per_second']:,.0f} /s, p50 {direct['p50_ms']:.1f} ms, p99 {direct['p99_ms']:.1f} ms"
    told.append(Row(what=f"{what}: core called directly", reached=speed, database="postgresql"))
    return told


# ---- the processes --------------------------------------------------------------------------------------------------


async def gateway(url: str, chargers: str, each: str) -> None:
    bus = RedisBus(url, process_id="bench-gateway", role="gateway")
    await bus.start()
    running = asyncio.create_task(bus.run())
    await _say(bus.report, int(chargers), WARM_UP)
    print(json.dumps({"ready": True}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(await _say(bus.report, int(chargers), int(each))), flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await bus.stop()


async def worker(url: str, database_url: str) -> None:
    bus = RedisBus(url, process_id="bench-worker", role="worker")
    await bus.start()
    csms = Story(Database(database_url), once=True).csms
    await asyncio.gather(bus.run(), csms.run(), bus.consume(csms))


async def direct(database_url: str, chargers: str, each: str) -> None:
    csms = Story(Database(database_url)).csms
    running = asyncio.create_task(csms.run())
    await _say(csms.report, int(chargers), WARM_UP)
    print(json.dumps(await _say(csms.report, int(chargers), int(each))), flush=True)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await csms.close()


async def _say(report: Any, chargers: int, each: int) -> dict[str, float]:
    took: list[float] = []

    async def charger(n: int) -> None:
        for _ in range(each):
            event = _event(_name(n))
            began = time.perf_counter()
            await report(event)
            took.append(time.perf_counter() - began)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(charger(n) for n in range(chargers)))
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    took.sort()
    return {
        "per_second": len(took) / wall,
        "cpu_us": cpu / len(took) * 1e6,
        "p50_ms": took[len(took) // 2] * 1e3,
        "p99_ms": took[int(len(took) * 0.99)] * 1e3,
    }


def _event(station_id: str) -> Event[Any]:
    now = datetime.now(UTC)
    samples = tuple(
        MeterSample(occurred_at=now + timedelta(seconds=n), values=(SampledValue(value=f"{n}.5", unit="Wh"),))
        for n in range(VALUES)
    )
    return MeterSampled(
        station_id=station_id, ocpp_version="1.6", received_at=now, occurred_at=now, evse=1, samples=samples
    )


def _name(number: int) -> str:
    return f"BENCH{number:05}"


def _process(*arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.bench.bus", *map(str, arguments)]
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=quiet)


@contextmanager
def _running(*arguments: object) -> Iterator[subprocess.Popen[bytes]]:
    process = _process(*arguments)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _told(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    told = _line(process)
    process.communicate()
    return told


def _line(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The next line of JSON; lines of the log are passed over."""
    assert process.stdout is not None
    while line := process.stdout.readline():
        if line.startswith(b"{"):
            return dict(json.loads(line))
    raise RuntimeError("it ended without a word")


def _cpu_s(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    uvloop.run({"gateway": gateway, "worker": worker, "direct": direct}[sys.argv[1]](*sys.argv[2:]))
