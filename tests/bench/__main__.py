"""`make bench`: each target with what was reached, on SQLite and on PostgreSQL, the library's own server in the same run."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import uvloop
from rich.console import Console

from tests.bench import (
    bus,
    cdrs,
    counting,
    fleet,
    lists,
    messages,
    page,
    postgres,
    pricing,
    remote_start,
    roles,
    table,
)
from tests.bench.calibration import Calibration
from tests.bench.load import Charger
from tests.bench.service import PASSWORD, serving
from tests.bench.table import Row, at_least, at_most


@dataclass(frozen=True, kw_only=True)
class Size:
    chargers: int
    messages: int
    stations: int
    seconds: float
    remote_starts: int
    stops: int


FULL = Size(chargers=100, messages=20_000, stations=10_000, seconds=20.0, remote_starts=200, stops=500)
QUICK = Size(chargers=50, messages=2_000, stations=500, seconds=15.0, remote_starts=40, stops=100)

Part = Callable[[Size, str | None, str], Sequence[Row]]  # size, URL of an empty database (None: a file), its kind


def of_messages(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    return messages.rows(size.chargers, size.messages, database_url, database)


def of_fleet(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    return fleet.rows(size.stations, size.seconds, database_url, database)


def of_remote_starts(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    with serving([Charger(0).station_id], database_url) as service:
        invitation = json.loads(service.roambridge("partner", "invite", "Bench"))
        found = uvloop.run(remote_start.latencies_ms(service.ocpp_url, PASSWORD, invitation, size.remote_starts))
    p99_ms = found[int(len(found) * 0.99)]
    what = f"START_SESSION to RemoteStartTransaction, {len(found)} times, p50 {found[len(found) // 2]:.1f} ms: p99"
    return [at_most(what, p99_ms, remote_start.TARGET_P99_MS, "ms", database=database)]


def of_cdrs(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    names = [Charger(number).station_id for number in range(size.stops)]
    with serving(names, database_url, tariff=cdrs.TARIFF) as service:
        invitation = json.loads(service.roambridge("partner", "invite", "Bench"))
        found = uvloop.run(cdrs.latencies_s(service.ocpp_url, PASSWORD, invitation, size.stops))
    p50_s, p99_s = found[len(found) // 2], found[int(len(found) * 0.99)]
    what = f"StopTransaction.conf to the CDR at its partner, {cdrs.STOPS_PER_S} stops/s, p50 {p50_s:.2f} s: p99"
    return [at_most(what, p99_s, cdrs.TARGET_P99_S, "s", database=database)]


def of_lists(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    found, calibration = [], Calibration()
    for module, measured in lists.measured(calibration).items():
        targets = lists.TARGETS.get(module, (None, None))
        for what, cost, target in zip(("unchanged", "all changed"), measured, targets, strict=True):
            name = f"OCPI GET of {lists.COUNT} {module}, {what}: CPU"
            if target is not None:
                found.append(at_most(name, cost, target, "ms", database="sqlite"))
            elif cost == cost:  # what never changes costs nothing to say so
                found.append(Row(what=name, reached=f"{cost:.4g} ms", database="sqlite"))
    return [*found, Row(what="beside the lists: a million turns of an empty loop", reached=str(calibration))]


def of_bus(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    return [] if database_url is None else bus.rows(200, size.messages, database_url)  # roles share a PostgreSQL


def of_pricing(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    name = f"sessions of {pricing.MINUTES} minutes priced, one core"
    return [at_least(name, pricing.sessions_per_second(), pricing.TARGET, "/s")]


def of_metrics(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    return [Row(what="a frame counted for /metrics: CPU", reached=f"{counting.microseconds_a_frame():.2f} us")]


def of_roles(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    assert database_url is not None
    return roles.rows(size.chargers, size.messages // 2, database_url)


EACH, POSTGRESQL, NONE = ("sqlite", "postgresql"), ("postgresql",), ("",)
PARTS: dict[str, tuple[Part, Sequence[str]]] = {  # (what measures it, on which databases)
    "messages": (of_messages, EACH),
    "fleet": (of_fleet, EACH),
    "remote-starts": (of_remote_starts, EACH),
    "cdrs": (of_cdrs, EACH),
    "lists": (of_lists, NONE),
    "bus": (of_bus, EACH),
    "roles": (of_roles, POSTGRESQL),
    "pricing": (of_pricing, NONE),
    "metrics": (of_metrics, NONE),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a short form, to see that it works: its figures say little"
    )
    parser.add_argument("--database-url", help="a PostgreSQL server to make databases on, instead of one of our own")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only on this one")
    parser.add_argument("--stations", type=int, help=f"of the fleet, {FULL.stations:,}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--page", action="store_true", help="put the table into docs/performance.md too")
    for name in PARTS:
        parser.add_argument(
            f"--{name}", action="append_const", const=name, dest="parts", help="only this part, or these"
        )
    options = parser.parse_args()
    size = QUICK if options.quick else FULL
    if options.stations:
        size = Size(**vars(size) | {"stations": options.stations})
    command = " ".join(["make bench", *([f'ARGS="{" ".join(sys.argv[1:])}"'] if sys.argv[1:] else [])])
    console = Console(width=None if sys.stdout.isatty() else 150)
    began = table.machine()
    rows = measured(options.parts or [*PARTS], size, options.database, options.database_url, console)
    console.print(table.printed(rows))
    console.print(began)
    told = table.as_json(rows, command, began)
    if options.json is not None:
        options.json.write_text(json.dumps(told, indent=2) + "\n")
    if options.page:
        page.write(told)
    return 0


def measured(parts: Sequence[str], size: Size, only: str | None, server: str | None, console: Console) -> Sequence[Row]:
    rows: list[Row] = []
    numbers = count(1)
    with ExitStack() as stack:
        for name in parts:
            part, databases = PARTS[name]
            for database in databases:
                if only is not None and database not in ("", only):
                    continue
                if database == "postgresql" and server is None:
                    try:
                        server = stack.enter_context(postgres.running())
                    except LookupError as missing:
                        rows.append(Row(what=name, reached=f"not measured: {missing}", database=database))
                        continue
                fresh = postgres.fresh(server or "", f"roambridge_bench_{os.getpid()}_{next(numbers)}")
                with console.status(f"{name} {database}"), fresh if database == "postgresql" else nullcontext() as url:
                    try:
                        rows += part(size, url, database)
                    except LookupError as missing:
                        rows.append(Row(what=name, reached=f"not measured: {missing}", database=database))
    return rows


if __name__ == "__main__":
    sys.exit(main())
