"""Ten thousand chargers at one process: what they take of memory, how long they wait, and how soon all are back."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.bench.service import PASSWORD, Serving, serving
from tests.bench.table import Row, at_most

KB_A_CHARGER, MB_OF_ALL, ALL = 20, 250, 10_000
STORM_S, IN_STORM_MS = 20, 1_000
PER_S, ANSWER_MS = 1_000, 50
FIRST_COME_PER_S, COME_PER_S = 250, 500  # chargers that connect in a second, before anything is measured
STARTS_PER_S = 45  # charges that begin in a second, until all charge; what follows a Boot, 50 a second, is over then
STORM_LASTS_S = 10.0  # the fleet lives longer when the storm does
STAY = 0.02  # of all, while the others are cut


def rows(stations: int, seconds: float, database_url: str | None, database: str) -> Sequence[Row]:
    """Of fewer than ten thousand chargers what is measured is said of those that were there."""
    names = [f"SIM{number:05d}" for number in range(1, stations + 1)]
    many = f"{stations:,} chargers"
    per_s = PER_S * stations // ALL
    with serving(names, database_url) as service:
        starts_s = max(10.0, stations / STARTS_PER_S)
        idle = _live(
            service,
            stations,
            "--duration",
            "1",
            "--ramp",
            f"{max(2.0, stations / FIRST_COME_PER_S)}",
            "--charging",
            "0",
        )
        ramp = max(2.0, stations / COME_PER_S)
        rss = idle["server_mb"]
        storm = _live(
            service,
            stations,
            *("--duration", f"{STORM_LASTS_S}", "--ramp", f"{ramp}", "--charging", f"{STAY}", "--sample-interval", "1"),
            *("--storm-at", "3", "--storm-share", f"{1 - STAY}"),
        )
        steady = _live(
            service,
            stations,
            *(
                "--duration",
                f"{starts_s + seconds}",
                "--ramp",
                f"{ramp}",
                "--start-within",
                f"{starts_s}",
            ),
            *("--charging", "1", "--sample-interval", "10"),
        )
    each_kb = (rss["connected"] - rss["before"]) * 1024 / stations
    calm = steady["stages"].get("steady", {})
    back, others = storm["reconnects"] or {}, storm["in_storm"] or {}
    cut, returned = round(stations * (1 - STAY)), back.get("calls", 0)
    complete = returned == cut and not storm["losses"]
    missing = "" if returned == cut else f", of {cut:,} {returned:,}"
    reached = [
        at_most(
            "memory of an idle charger: connected, booted, not charging", each_kb, KB_A_CHARGER, "KB", database=database
        ),
        at_most(f"memory of the process with {many}", rss["connected"], MB_OF_ALL, "MB", database=database),
        at_most(
            f"{many}, {per_s:,} MeterValues/s, steady for {calm.get('lasted_s', 0):.0f} s: p99 answer",
            calm.get("answers", {}).get("MeterValues", {}).get("p99_ms", 0),
            ANSWER_MS,
            "ms",
            database=database,
            also=not steady["losses"],
        ),
        Row(
            what=f"the same, also while {STARTS_PER_S} charges begin each second, and to the end: p99 answer",
            reached=f"{steady['latencies'].get('MeterValues', {}).get('p99_ms', 0):,.4g} ms",
            database=database,
        ),
        _beside("in the steady part", calm, database),
        at_most(
            f"{many} cut at once: all booted again{missing}",
            back.get("longest_ms", 0) / 1000,
            STORM_S,
            "s",
            database=database,
            also=complete,
        ),
        at_most(
            "meanwhile, those who stayed: p99 answer", others.get("p99_ms", 0), IN_STORM_MS, "ms", database=database
        ),
        _beside("until all are back", storm["stages"].get("storm", {}), database),
    ]
    lost = [loss for told in (idle, steady, storm) for loss in told["losses"]]
    what = f"lost of {steady['transactions']:,} transactions and {steady['samples']:,} samples, by the database"
    return [
        *reached,
        Row(
            what=what,
            reached=f"{len(lost)} {'; '.join(lost[:2])}".strip(),
            target="0",
            ratio=0.0 if lost else 1.0,
            database=database,
        ),
    ]


def _beside(when: str, stage: dict[str, Any], database: str) -> Row:
    """What both processes took of the cores that they share, and how late the load itself was for what it measured."""
    lasted_s = stage.get("lasted_s") or 1.0
    cores = {name: seconds / lasted_s for name, seconds in stage.get("cpu_s", {}).items()}
    late_ms = stage.get("own_lag", {}).get("p99_ms", 0)
    return Row(
        what=f"{when}: cores of the service and of the load; the load's own loop late, p99",
        reached=f"{cores.get('csms', 0):.2f} and {cores.get('load', 0):.2f}; {late_ms:,.3g} ms",
        database=database,
    )


def _live(service: Serving, stations: int, *habits: str) -> dict[str, Any]:
    """The fleet's own report."""
    command = [
        *(sys.executable, "-m", "ocpi_bridge", "simulate", "fleet", "--json", "--stations", str(stations)),
        *("--url", service.ocpp_url, "--password", PASSWORD, "--token-prefix", "SIM", "--server-pid", str(service.pid)),
        *("--check-database", service.database_url, *habits),
    ]
    told = subprocess.run(command, env={**os.environ, **service.environment}, check=False, stdout=subprocess.PIPE)
    return dict(json.loads(told.stdout))
