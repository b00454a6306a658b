"""How long chargers wait while partners read lists and programs ask the operator API, as fast as they are answered."""

import asyncio
import base64
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import httpx
import uvloop

from ocpi_bridge.emsp_simulator import EmspSimulator
from tests.bench.load import Charger
from tests.bench.roles import deployed
from tests.bench.service import PASSWORD, START_LIMIT_S, Serving, serving
from tests.bench.table import Row, at_most

TARGET_P99_MS = 50.0
EVERY_S = 0.5  # each charger's MeterValues
CLIENTS = 4  # half of them partners
WARM_UP_S = 3.0
SINCE = "date_from=2020-01-01T00:00:00Z"
OF_PARTNERS = (("locations", "limit=100"), ("sessions", SINCE), ("cdrs", SINCE))
OF_OPERATORS = ("stations", "transactions", "messages")
UNLIMITED = {"ROAMBRIDGE_OCPI_REQUESTS_PER_MINUTE": "0"}


@dataclass(frozen=True, kw_only=True)
class Waits:
    """Of chargers, ascending, in milliseconds; and the API's answers a second meanwhile."""

    quiet_ms: Sequence[float]
    busy_ms: Sequence[float]
    asked_per_s: float


def rows(chargers: int, seconds: float, database_url: str | None, database: str) -> Sequence[Row]:
    """In one process."""
    names = [Charger(number).station_id for number in range(chargers)]
    with serving(names, database_url, settings=UNLIMITED) as service:
        return [_row(chargers, uvloop.run(_waits(service, chargers, seconds)), "one process", database)]


def rows_of_roles(chargers: int, seconds: float, database_url: str) -> Sequence[Row]:
    """With a gateway, a worker and an api, each a process of its own."""
    names = [Charger(number).station_id for number in range(chargers)]
    with deployed(database_url, names, {"worker": 1, "gateway": 1, "api": 1}, settings=UNLIMITED) as service:
        return [_row(chargers, uvloop.run(_waits(service, chargers, seconds)), "three roles", "postgresql")]


def _row(chargers: int, waits: Waits, of: str, database: str) -> Row:
    what = (
        f"{of}, {chargers} chargers, {chargers / EVERY_S:,.0f} MeterValues/s, the API busy with {CLIENTS} clients, "
        f"{waits.asked_per_s:.0f} answers/s: p99 answer (quiet {_p99(waits.quiet_ms):.3g} ms)"
    )
    return at_most(what, _p99(waits.busy_ms), TARGET_P99_MS, "ms", database=database)


def _p99(ascending: Sequence[float]) -> float:
    return ascending[int(len(ascending) * 0.99)]


async def _waits(service: Serving, chargers: int, seconds: float) -> Waits:
    invitation = json.loads(await asyncio.to_thread(service.roambridge, "partner", "invite", "Bench"))
    key = (await asyncio.to_thread(service.roambridge, "apikey", "create", "bench", "--role", "operator")).strip()
    fleet = [Charger(number) for number in range(chargers)]
    async with EmspSimulator(party=("NL", "BNC")) as emsp:
        await emsp.register(invitation["versions_url"], invitation["token"])
        asked = _of_partner(emsp), [(f"{service.public_url}/api/v1/{name}", f"Bearer {key}") for name in OF_OPERATORS]
        for charger in fleet:
            await charger.connect(service.ocpp_url, PASSWORD)
            await charger.start()
        await _talk(fleet, WARM_UP_S)
        quiet = await _talk(fleet, seconds)
        asking = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.busy_api"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert asking.stdin is not None
        assert asking.stdout is not None
        try:
            asking.stdin.write(json.dumps(asked).encode() + b"\n")
            async with asyncio.timeout(START_LIMIT_S):
                await asking.stdout.readline()  # each client had its first answers
            await _talk(fleet, WARM_UP_S)
            asking.stdin.write(b"count\n")
            busy = await _talk(fleet, seconds)
            asking.stdin.write(b"tell\n")
            told = json.loads(await asking.stdout.readline())
        finally:
            asking.kill()
            await asking.wait()
        await asyncio.gather(*(charger.close() for charger in fleet))
    if told["refused"]:
        raise RuntimeError(f"the API did not answer as it should: {told}")
    return Waits(quiet_ms=quiet, busy_ms=busy, asked_per_s=told["answers"] / seconds)


def _of_partner(emsp: EmspSimulator) -> list[tuple[str, str]]:
    header = "Token " + base64.b64encode(emsp.outbound.encode()).decode()
    return [(f"{emsp.cpo_endpoints[name, 'SENDER']}?{query}", header) for name, query in OF_PARTNERS]


async def _talk(fleet: Sequence[Charger], seconds: float) -> list[float]:
    """Each charger sends as often as it should, or when it is answered, if that is later."""
    waits: list[float] = []
    ends = perf_counter() + seconds

    async def talk(charger: Charger, share: float) -> None:
        due = perf_counter() + share * EVERY_S
        for payload in charger.payloads("MeterValues"):
            if due > ends:
                return
            await asyncio.sleep(due - perf_counter())
            began = perf_counter()
            await charger.call("MeterValues", payload)
            waits.append((perf_counter() - began) * 1000)
            due = max(due + EVERY_S, perf_counter())

    await asyncio.gather(*(talk(charger, number / len(fleet)) for number, charger in enumerate(fleet)))
    return sorted(waits)


# ---- the process that asks --------------------------------------------------------------------------------------------


async def ask() -> None:
    """Reads what to ask as JSON and prints a line when each client was answered; reads `count` and `tell`, and prints how many
    answers came between the two."""
    told: Sequence[Sequence[tuple[str, str]]] = json.loads(await asyncio.to_thread(sys.stdin.readline))
    counted: dict[str, Any] = {"answers": 0, "refused": 0, "last": ""}
    ready = [asyncio.Event() for _ in range(CLIENTS)]

    async def client(requests: Sequence[tuple[str, str]], answered: asyncio.Event) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
            while True:
                for url, authorization in requests:
                    answer = await http.get(url, headers=_headers(authorization))
                    counted["answers" if answer.status_code == 200 else "refused"] += 1
                    if answer.status_code != 200:
                        counted["last"] = f"{url} {answer.status_code}"
                answered.set()

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client(told[number % len(told)], ready[number])) for number in range(CLIENTS)]
        for answered in ready:
            await answered.wait()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        counted["answers"] = 0
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(counted), flush=True)
        for task in tasks:
            task.cancel()


def _headers(authorization: str) -> Mapping[str, str]:
    ids = {"X-Request-ID": "bench", "X-Correlation-ID": "bench"} if authorization.startswith("Token ") else {}
    return {"Authorization": authorization, **ids}


if __name__ == "__main__":
    uvloop.run(ask())
