"""CPU per message of the whole service with durable replies, beside the ocpp library's own server, and messages a second."""

import asyncio
import sys
from collections.abc import Sequence

import uvloop

from tests.bench import stored
from tests.bench.load import Charger, Measured, measure
from tests.bench.service import PASSWORD, free_port, server, serving
from tests.bench.table import Row, at_least

ACTIONS = ("Heartbeat", "StatusNotification", "MeterValues")
LEAST = {"Heartbeat": 3, "StatusNotification": 3, "MeterValues": 6}  # times less CPU than the library's server
AIM = {"Heartbeat": 4, "StatusNotification": 4, "MeterValues": 10}
DURABLE_PER_S = 5_000
SETTLING = 25  # half seconds: what the service asks after a Boot is asked within ten seconds, and is no message's cost


def rows(chargers: int, messages: int, database_url: str | None, database: str) -> Sequence[Row]:
    theirs = _baseline(chargers, max(messages // 4, chargers))
    with serving([Charger(number).station_id for number in range(chargers)], database_url) as service:
        mine = uvloop.run(_run(service.ocpp_url, service.pid, chargers, messages))
        sizes = stored.bytes_a_row(service.database_url)
    found = []
    for action in ACTIONS:
        ours, library = mine[action], theirs[action]
        times = library.cpu_us / ours.cpu_us
        what = f"{action}: CPU against the ocpp library, {library.cpu_us:.0f} to {ours.cpu_us:.0f} us"
        row = at_least(what, times, LEAST[action], "x", database=database, aim=f", aim {AIM[action]} x")
        found.append(row)
    per_second = mine["MeterValues"].per_second
    found.append(
        at_least("durable MeterValues of 10 values, one process", per_second, DURABLE_PER_S, "/s", database=database)
    )
    told = ", ".join(f"{size:,.0f} of a {what}" for what, size in sizes.items())
    found.append(Row(what="stored, with all indexes: bytes", reached=told, database=database))
    return found


async def _run(url: str, pid: int, chargers: int, messages: int) -> dict[str, Measured]:
    fleet = [Charger(number) for number in range(chargers)]
    for charger in fleet:
        await charger.connect(url, PASSWORD)
    await asyncio.gather(*(charger.start() for charger in fleet))
    for _ in range(SETTLING):
        await measure(pid, fleet, "Heartbeat", chargers, wait_s=0.5)
    results = {action: await measure(pid, fleet, action, messages) for action in ACTIONS}
    await asyncio.gather(*(charger.close() for charger in fleet))
    return results


def _baseline(chargers: int, messages: int) -> dict[str, Measured]:
    """It validates and stores nothing."""
    port = free_port()
    with server([sys.executable, "-m", "tests.bench.baseline", str(port)], port, {}) as pid:
        return uvloop.run(_run(f"ws://127.0.0.1:{port}", pid, chargers, messages))
