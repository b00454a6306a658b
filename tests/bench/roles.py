"""Two gateways and two workers over PostgreSQL and Redis: all is answered and stored once, and what each of them costs, of it
what it costs while nobody says anything."""

import asyncio
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import redis
import uvloop
from sqlalchemy import func, select

from csms.database import Database
from csms.models import MeterSampleRow, Transaction
from tests.bench.load import Charger, Measured, cpu_seconds, measure
from tests.bench.service import PASSWORD, Serving, free_port, open_network, server
from tests.bench.table import Row
from tests.redis_server import RedisServer

ACTION = "MeterValues"
OF_EACH = 2
STANDING_S = 10.0
SETTLED_S = 5.0  # after the start, and after what went before


class Costs(NamedTuple):
    """By role, of all its processes."""

    idle_ms: dict[str, float]  # in a second
    message_us: dict[str, float]  # standing and all
    net_us: dict[str, float]  # without what they would have cost anyway


def rows(chargers: int, messages: int, database_url: str) -> Sequence[Row]:
    """Raises LookupError where Redis is not installed."""
    names = [Charger(number).station_id for number in range(chargers)]
    with deployed(database_url, names, dict.fromkeys(("worker", "gateway"), OF_EACH)) as running:
        measured, costs = uvloop.run(_run(running.ocpp_urls, running.pids, chargers, messages))
    stored = _stored(database_url)
    told = measured.messages + messages // 10 // chargers * chargers  # those it warmed up with too
    same = stored == (chargers, told)
    what = f"two gateways and two workers: {told:,} {ACTION} of {chargers} transactions answered and stored once"
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
            reached=_told(costs.message_us, "us"),
            database="postgresql",
        ),
        Row(
            what="the same without what is standing",
            reached=_told(costs.net_us, "us"),
            database="postgresql",
        ),
        Row(
            what="what is standing: their CPU for a second in which nobody says anything",
            reached=_told(costs.idle_ms, "ms"),
            database="postgresql",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Deployed(Serving):
    """`ocpp_urls`: of each gateway. `pids`: by role, and of Redis."""

    ocpp_urls: Sequence[str]
    pids: dict[str, list[int]]


@contextmanager
def deployed(
    database_url: str, names: Sequence[str], roles: Mapping[str, int], *, settings: Mapping[str, str] | None = None
) -> Iterator[Deployed]:
    """So many processes of each role, started in this order, over a Redis of their own. Raises LookupError where Redis is not
    installed."""
    with ExitStack() as stack:
        redis_url = stack.enter_context(_redis())
        with redis.Redis.from_url(redis_url) as client:
            redis_pid = int(client.info("server")["process_id"])
        open_network(database_url, names)
        http_port = free_port()
        common = {
            "ROAMBRIDGE_DATABASE_URL": database_url,
            "ROAMBRIDGE_REDIS_URL": redis_url,
            "ROAMBRIDGE_DATA_DIR": stack.enter_context(tempfile.TemporaryDirectory()),
            "ROAMBRIDGE_SECRET_KEY": secrets.token_urlsafe(32),
            "ROAMBRIDGE_PUBLIC_URL": f"http://127.0.0.1:{http_port}",
            "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8",
            **(settings or {}),
        }
        pids: dict[str, list[int]] = {role: [] for role in roles}
        urls = []
        for role in (role for role, count in roles.items() for _ in range(count)):
            port, metrics_port = free_port(), free_port()
            own = {
                "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{port}",
                "ROAMBRIDGE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
                "ROAMBRIDGE_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
            }
            listens = {"gateway": port, "worker": metrics_port, "api": http_port}[role]
            command = [sys.executable, "-m", "ocpi_bridge", role]
            pids[role].append(stack.enter_context(server(command, listens, common | own)))
            if role == "gateway":
                urls.append(f"ws://127.0.0.1:{port}/ocpp")
        yield Deployed(
            pid=pids["worker"][0],
            ocpp_url=urls[0],
            public_url=common["ROAMBRIDGE_PUBLIC_URL"],
            database_url=database_url,
            environment=common,
            ocpp_urls=urls,
            pids=pids | {"Redis": [redis_pid]},
        )


def _told(costs: dict[str, float], unit: str) -> str:
    many = {"gateway": "gateways", "worker": "workers"}
    return ", ".join(f"{cost:.0f} {unit} in {many.get(role, role)}" for role, cost in costs.items())


async def _run(urls: Sequence[str], pids: dict[str, list[int]], chargers: int, messages: int) -> tuple[Measured, Costs]:
    fleet = [Charger(number) for number in range(chargers)]
    for number, charger in enumerate(fleet):
        await charger.connect(urls[number % len(urls)], PASSWORD)
    await asyncio.gather(*(charger.start() for charger in fleet))
    await measure(pids["worker"][0], fleet, ACTION, messages // 10)
    await asyncio.sleep(SETTLED_S)
    began, before = perf_counter(), _used(pids)
    await asyncio.sleep(STANDING_S)
    standing = _since(before, pids, per=perf_counter() - began)
    began, before = perf_counter(), _used(pids)
    measured = await measure(pids["worker"][0], fleet, ACTION, messages)
    lasted_s = perf_counter() - began
    whole = _since(before, pids, per=measured.messages)
    await asyncio.gather(*(charger.close() for charger in fleet))
    net = {role: cost - standing[role] * lasted_s / measured.messages for role, cost in whole.items()}
    return measured, Costs(
        idle_ms={role: cost * 1e3 for role, cost in standing.items()},
        message_us={role: cost * 1e6 for role, cost in whole.items()},
        net_us={role: cost * 1e6 for role, cost in net.items()},
    )


def _used(pids: dict[str, list[int]]) -> dict[str, float]:
    return {role: sum(map(cpu_seconds, those)) for role, those in pids.items()}


def _since(before: dict[str, float], pids: dict[str, list[int]], *, per: float) -> dict[str, float]:
    return {role: (used - before[role]) / per for role, used in _used(pids).items()}


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
