"""Two gateways and two workers over PostgreSQL and Redis: all is answered and stored once, and what each of them costs."""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import uvloop
from sqlalchemy import func, select

from csms.database import Database
from csms.models import MeterSampleRow, Transaction
from tests.bench.load import Charger, Measured, cpu_seconds, measure
from tests.bench.service import PASSWORD, free_port, open_network, server
from tests.bench.table import Row
from tests.redis_server import RedisServer

ACTION = "MeterValues"
ROLES = ("gateway", "worker")
OF_EACH = 2


def rows(chargers: int, messages: int, database_url: str) -> Sequence[Row]:
    """Raises LookupError where Redis is not installed."""
    names = [Charger(number).station_id for number in range(chargers)]
    open_network(database_url, names)
    with ExitStack() as stack:
        redis_url = stack.enter_context(_redis())
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        secret = secrets.token_urlsafe(32)
        pids: dict[str, list[int]] = {role: [] for role in ROLES}
        urls = []
        for role in ("worker", "gateway"):
            for _ in range(OF_EACH):
                port, metrics_port = free_port(), free_port()
                environment = {
                    "ROAMBRIDGE_DATABASE_URL": database_url,
                    "ROAMBRIDGE_REDIS_URL": redis_url,
                    "ROAMBRIDGE_DATA_DIR": folder,
                    "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{port}",
                    "ROAMBRIDGE_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
                    "ROAMBRIDGE_SECRET_KEY": secret,
                }
                listens = port if role == "gateway" else metrics_port
                command = [sys.executable, "-m", "ocpi_bridge", role]
                pids[role].append(stack.enter_context(server(command, listens, environment)))
                if role == "gateway":
                    urls.append(f"ws://127.0.0.1:{port}/ocpp")
        measured, cpu_us = uvloop.run(_run(urls, pids, chargers, messages))
    stored = _stored(database_url)
    same = stored == (chargers, measured.messages)
    what = f"two gateways and two workers: {measured.messages:,} {ACTION} of {chargers} transactions answered and stored once"
    each = ", ".join(f"{us:.0f} us in {role}s" for role, us in cpu_us.items())
    return [
        Row(
            what=what,
            target="all of them",
            reached=f"{stored[1]:,} of {stored[0]}",
            ratio=1.0 if same else 0.0,
            database="postgresql",
        ),
        Row(
            what=f"their CPU for one of them ({measured.per_second:,.0f}/s, p99 {measured.p99_ms:.0f} ms)",
            reached=each,
            database="postgresql",
        ),
    ]


async def _run(
    urls: Sequence[str], pids: dict[str, list[int]], chargers: int, messages: int
) -> tuple[Measured, dict[str, float]]:
    fleet = [Charger(number) for number in range(chargers)]
    for number, charger in enumerate(fleet):
        await charger.connect(urls[number % len(urls)], PASSWORD)
    await asyncio.gather(*(charger.start() for charger in fleet))
    before = {role: sum(map(cpu_seconds, pids[role])) for role in ROLES}
    measured = await measure(pids["worker"][0], fleet, ACTION, messages)
    cpu_us = {role: (sum(map(cpu_seconds, pids[role])) - before[role]) / measured.messages * 1e6 for role in ROLES}
    await asyncio.gather(*(charger.close() for charger in fleet))
    return measured, cpu_us


def _stored(database_url: str) -> tuple[int, int]:
    """Transactions and samples."""
    database = Database(database_url)
    try:
        with database.read() as connection:
            transactions = connection.execute(select(func.count()).select_from(Transaction)).scalar_one()
            samples = connection.execute(select(func.count()).select_from(MeterSampleRow)).scalar_one()
    finally:
        database.dispose()
    return transactions, samples


@contextmanager
def _redis() -> Iterator[str]:
    """One that flushes before it confirms."""
    if shutil.which("redis-server") is None:
        raise LookupError("no redis-server on PATH")
    redis = RedisServer()
    redis.start("--maxmemory-policy", "noeviction")
    try:
        yield redis.url
    finally:
        redis.remove()
