"""`make bench`: each target with what was reached, on SQLite and on PostgreSQL, the library's own server in the same run."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import uvloop
from rich.console import Console

from tests.bench import (
    bus,
    busy_api,
    cdrs,
    counting,
    fleet,
    lists,
    messages,
    page,
    pricing,
    remote_start,
    roles,
    table,
    updates,
)
from tests.bench.calibration import Calibration
from tests.bench.load import Charger
from tests.bench.run import Done, Parts, each
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


def of_busy_api(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    return busy_api.rows(size.chargers, size.seconds / 2, database_url, database)


def of_busy_api_roles(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    assert database_url is not None
    return busy_api.rows_of_roles(size.chargers, size.seconds / 2, database_url)


def of_cdrs(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    names = [Charger(number).station_id for number in range(size.stops)]
    with serving(names, database_url, tariff=cdrs.TARIFF) as service:
        invitation = json.loads(service.roambridge("partner", "invite", "Bench"))
        found, cpu_ms = uvloop.run(cdrs.stops(service.ocpp_url, service.pid, PASSWORD, invitation, size.stops))
    p50_s, p99_s = found[len(found) // 2], found[int(len(found) * 0.99)]
    what = f"StopTransaction.conf to the CDR at its partner, {cdrs.STOPS_PER_S} stops/s, p50 {p50_s:.2f} s: p99"
    return [
        at_most(what, p99_s, cdrs.TARGET_P99_S, "s", database=database),
        Row(what="the service's CPU for a stop with all that follows", reached=f"{cpu_ms:.3g} ms", database=database),
    ]


def of_updates(size: Size, database_url: str | None, database: str) -> Sequence[Row]:
    return updates.rows(size.chargers, size.seconds / 2, database_url, database)


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
PARTS: Parts = {
    "pricing": (of_pricing, NONE),  # before any database server is there to tidy up beside it
    "metrics": (of_metrics, NONE),
    "messages": (of_messages, EACH),
    "fleet": (of_fleet, EACH),
    "remote-starts": (of_remote_starts, EACH),
    "cdrs": (of_cdrs, EACH),
    "updates": (of_updates, EACH),
    "busy-api": (of_busy_api, EACH),
    "busy-api-roles": (of_busy_api_roles, POSTGRESQL),
    "lists": (of_lists, NONE),
    "bus": (of_bus, EACH),
    "roles": (of_roles, POSTGRESQL),
}


def main(arguments: Sequence[str] | None = None, parts: Parts = PARTS) -> int:
    """0 when all parts were measured, whatever they came to; 1 when one broke."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="a short form, to see that it works: its figures say little"
    )
    parser.add_argument("--database-url", help="a PostgreSQL server to make databases on, instead of one of our own")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), help="only on this one")
    parser.add_argument("--stations", type=int, help=f"of the fleet, {FULL.stations:,}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table there too, after each part")
    parser.add_argument(
        "--page", action="store_true", help="put the table into docs/performance.md too, after each part"
    )
    for name in parts:
        parser.add_argument(
            f"--{name}", action="append_const", const=name, dest="parts", help="only this part, or these"
        )
    options = parser.parse_args(words)
    size = QUICK if options.quick else FULL
    if options.stations:
        size = Size(**vars(size) | {"stations": options.stations})
    command = " ".join(["make bench", *([f'ARGS="{" ".join(words)}"'] if words else [])])
    console = Console(width=None if sys.stdout.isatty() else 150)
    began, machine, done = monotonic(), table.machine(), list[Done]()

    def says(what: str) -> None:
        console.print(f"{monotonic() - began:6.0f} s  {what}", highlight=False)

    def write() -> None:
        told = table.as_json([row for part in done for row in part.rows], command, machine)
        told["parts"] = [part.told for part in done]
        if options.json is not None:
            options.json.write_text(json.dumps(told, indent=2) + "\n")
        if options.page:
            page.write(told)

    wanted = options.parts or list(parts)
    for part in each(
        parts,
        wanted,
        size,
        only=options.database,
        server=options.database_url,
        begins=lambda name, database: says(f"{name} {database}".strip()),
    ):
        done.append(part)
        says(f"{part.told['name']}: {len(part.rows)} rows in {part.took_s:.0f} s{', FAILED' if part.failed else ''}")
        write()
    console.print(table.printed([row for part in done for row in part.rows]))
    console.print(machine)
    return 1 if any(part.failed for part in done) else 0


if __name__ == "__main__":
    sys.exit(main())
