"""CPU per message of the whole service with durable replies, beside the ocpp library's own server, in one run."""

import argparse
import asyncio
import json
import math
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import uvloop
import yaml
from rich.console import Console
from rich.table import Table

from tests.bench import lists
from tests.bench.load import Charger, Measured, measure
from tests.bench.pricing import MINUTES, TARGET, sessions_per_second
from tests.bench.remote_start import TARGET_P99_MS, latencies_ms

ACTIONS = ("Heartbeat", "StatusNotification", "MeterValues")
TARGETS = {"Heartbeat": (3, 4), "StatusNotification": (3, 4), "MeterValues": (6, 10)}  # at least, aim
PASSWORD = "bench-key"
START_LIMIT_S = 30.0
REMOTE_STARTS = 200


def network(chargers: int) -> str:
    """Stations with a card each, so that all of them can charge at once."""
    connector = {
        "id": "1",
        "standard": "IEC_62196_T2",
        "format": "CABLE",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 32,
    }
    names = [Charger(number).station_id for number in range(chargers)]
    stations = [
        {"id": name, "password": PASSWORD, "evses": [{"evse": 1, "uid": f"{name}-1", "connectors": [connector]}]}
        for name in names
    ]
    location = {
        "id": "BENCH",
        "name": "Bench",
        "address": "Street 1",
        "city": "Gent",
        "postal_code": "9000",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "time_zone": "Europe/Brussels",
        "publish": True,
        "stations": stations,
    }
    tokens = [{"uid": name, "contract_id": f"BE-BEC-{name}", "valid": True} for name in names]
    return yaml.safe_dump({"locations": [location], "tokens": tokens})


@contextmanager
def server(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """A process that listens on `port`; its pid."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)  # its log
    try:
        _wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = datetime.now(UTC).timestamp() + START_LIMIT_S
    while datetime.now(UTC).timestamp() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise SystemExit(f"nothing listens on port {port}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def run(url: str, pid: int, chargers: int, messages: int) -> dict[str, Measured]:
    fleet = [Charger(number) for number in range(chargers)]
    for charger in fleet:
        await charger.connect(url, PASSWORD)
    await asyncio.gather(*(charger.start() for charger in fleet))
    await measure(pid, fleet, "Heartbeat", chargers * 5)  # warm up
    results = {action: await measure(pid, fleet, action, messages) for action in ACTIONS}
    await asyncio.gather(*(charger.close() for charger in fleet))
    return results


def ours(chargers: int, messages: int, database_url: str | None) -> dict[str, Measured]:
    with serving(chargers, database_url) as (port, pid, _):
        return uvloop.run(run(f"ws://127.0.0.1:{port}/ocpp", pid, chargers, messages))


def remote_starts(count: int, database_url: str | None) -> list[float]:
    with serving(1, database_url) as (port, _, roambridge):
        invitation = json.loads(roambridge("partner", "invite", "Bench"))
        return uvloop.run(latencies_ms(f"ws://127.0.0.1:{port}/ocpp", PASSWORD, invitation, count))


@contextmanager
def serving(chargers: int, database_url: str | None) -> Iterator[tuple[int, int, Callable[..., str]]]:
    """A service with its network: the chargers' port, its process, and its command line, which answers with what it prints."""
    with tempfile.TemporaryDirectory() as folder:
        port, http_port = free_port(), free_port()
        environment = {
            "ROAMBRIDGE_DATABASE_URL": database_url or f"sqlite:///{folder}/bench.db",
            "ROAMBRIDGE_DATA_DIR": folder,
            "ROAMBRIDGE_OCPP_LISTEN": f"127.0.0.1:{port}",
            "ROAMBRIDGE_HTTP_LISTEN": f"127.0.0.1:{http_port}",
            "ROAMBRIDGE_PUBLIC_URL": f"http://127.0.0.1:{http_port}",
            "ROAMBRIDGE_OUTBOUND_ALLOW": "127.0.0.0/8",
            "ROAMBRIDGE_SECRET_KEY": secrets.token_urlsafe(32),
        }
        file = Path(folder, "network.yaml")
        file.write_text(network(chargers))
        command = [sys.executable, "-m", "ocpi_bridge"]

        def roambridge(*words: str) -> str:
            everything = {**os.environ, **environment}
            return subprocess.run(
                [*command, *words], env=everything, check=True, stdout=subprocess.PIPE, text=True
            ).stdout

        roambridge("migrate")
        roambridge("import", str(file))
        with server([*command, "serve"], port, environment) as pid:
            yield port, pid, roambridge


def baseline(chargers: int, messages: int) -> dict[str, Measured]:
    port = free_port()
    with server([sys.executable, "-m", "tests.bench.baseline", str(port)], port, {}) as pid:
        return uvloop.run(run(f"ws://127.0.0.1:{port}", pid, chargers, messages))


def tell_remote_starts(console: Console, database_url: str | None) -> None:
    found = remote_starts(REMOTE_STARTS, database_url)
    p50, p99 = found[len(found) // 2], found[int(len(found) * 0.99)]
    met = "[green]met" if p99 <= TARGET_P99_MS else "[red]missed"
    console.print(
        f"START_SESSION to RemoteStartTransaction on the socket, {len(found)} times: p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"target p99 <= {TARGET_P99_MS:.0f} ms: {met}"
    )


def costs_of_lists() -> Table:
    table = Table(title=f"OCPI GET of {lists.COUNT} objects, ms of CPU", title_justify="left")
    for column in ("module", "unchanged", "all changed", "target"):
        table.add_column(column, justify="left" if column == "module" else "right")
    for module, measured in lists.measured().items():
        targets = lists.TARGETS.get(module)
        met = "" if targets is None else "[green]met" if all(map(float.__le__, measured, targets)) else "[red]missed"
        due = "" if targets is None else f"<= {targets[0]:g} and {targets[1]:g}: {met}"
        unchanged, changed = measured
        table.add_row(module, f"{unchanged:.2f}", "-" if math.isnan(changed) else f"{changed:.1f}", due)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--chargers", type=int, default=100)
    parser.add_argument("--messages", type=int, default=20_000, help="of each kind")
    parser.add_argument("--database-url", help="an empty PostgreSQL database instead of a SQLite file")
    parser.add_argument("--pricing", action="store_true", help="only how many sessions are priced in a second")
    parser.add_argument("--remote-starts", action="store_true", help="only how soon a START_SESSION is at its charger")
    parser.add_argument("--lists", action="store_true", help="only what a page of a hundred objects costs")
    options = parser.parse_args()
    console = Console(width=120)
    if options.remote_starts:
        tell_remote_starts(console, options.database_url)
        return
    if not options.pricing:
        console.print(costs_of_lists())
    if options.lists:
        return
    rate = sessions_per_second()
    met = "[green]met" if rate >= TARGET else "[red]missed"
    console.print(f"Sessions of {MINUTES} minutes priced per second on one core: {rate:,.0f}, target {TARGET:,}: {met}")
    if options.pricing:
        return
    tell_remote_starts(console, options.database_url)
    theirs = baseline(options.chargers, max(options.messages // 4, options.chargers))
    mine = ours(options.chargers, options.messages, options.database_url)
    table = Table(title=f"{options.chargers} chargers, {options.messages} messages of each kind", title_justify="left")
    for column in ("message", "ocpp library\nus CPU", "roambridge\nus CPU", "ratio", "target", "per s", "p50 / p99 ms"):
        table.add_column(column, justify="left" if column == "message" else "right")
    for action in ACTIONS:
        ratio = theirs[action].cpu_us / mine[action].cpu_us
        least, aim = TARGETS[action]
        met = "[green]met" if ratio >= aim else "[yellow]least met" if ratio >= least else "[red]missed"
        table.add_row(
            action,
            f"{theirs[action].cpu_us:.0f}",
            f"{mine[action].cpu_us:.0f}",
            f"{ratio:.1f}x",
            f">= {least}x, aim {aim}x: {met}",
            f"{mine[action].per_second:,.0f}",
            f"{mine[action].p50_ms:.1f} / {mine[action].p99_ms:.1f}",
        )
    console.print(table)
    console.print(
        "The library's server validates and stores nothing; ours journals, logs both frames and replies after the commit."
    )


if __name__ == "__main__":
    main()
