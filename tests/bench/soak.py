"""`make soak`: the service under a fleet for as long as one likes, and whether its memory grows meanwhile."""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from csms.simulator.server_memory import of_process
from tests.bench import kept, postgres, table
from tests.bench.service import PASSWORD, Serving, serving

SAMPLES = 600  # of the memory, in a run
OFTEN_S = 0.2
WARM_UP = 0.2  # of the run: what grows then is what it needs
SURE = 2.0  # so many errors above the limit a slope must be


def slope(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Least squares over (x, y): the slope and its standard error, which is infinite for fewer than three points."""
    count = len(points)
    if count < 3:
        return 0.0, math.inf
    x_mean = sum(x for x, _ in points) / count
    y_mean = sum(y for _, y in points) / count
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    found = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    left = sum((y - y_mean - found * (x - x_mean)) ** 2 for x, y in points)
    return found, math.sqrt(left / (count - 2) / spread)


def watched(service: Serving, fleet: Sequence[str], seconds: float) -> tuple[dict[str, Any], list[tuple[float, float]]]:
    """The fleet's report, and (hours, MB of the service) while the fleet was there."""
    memory, points = of_process(service.pid), []
    with tempfile.TemporaryFile() as report:
        living = subprocess.Popen(fleet, env={**os.environ, **service.environment}, stdout=report)
        began = time.monotonic()
        try:
            while living.poll() is None:
                points.append(((time.monotonic() - began) / 3600, memory()))
                time.sleep(max(OFTEN_S, seconds / SAMPLES))
        finally:
            living.kill()
            living.wait()
        report.seek(0)
        told = json.load(report)
    begins, ends = (told["up_s"] + told["lasted_s"] * WARM_UP) / 3600, (told["up_s"] + told["lasted_s"]) / 3600
    return told, [(x, y) for x, y in points if begins <= x <= ends]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--stations", type=int, default=200)
    parser.add_argument("--heartbeat", type=float, default=30.0, help="seconds between them")
    parser.add_argument("--charging", type=float, default=0.5, help="share that charges")
    parser.add_argument("--sample-interval", type=float, default=10.0, help="seconds")
    parser.add_argument("--charge", type=float, default=300.0, help="seconds of a charge; the next begins after it")
    parser.add_argument("--limit", type=float, default=10.0, help="MB an hour; 1 is returned for surely more")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there too")
    parser.add_argument("--page", action="store_true", help="keep what was found, and put it into docs/performance.md")
    options = parser.parse_args(arguments)
    machine = table.machine()
    names = [f"SIM{number:05d}" for number in range(1, options.stations + 1)]
    seconds = options.minutes * 60
    with ExitStack() as stack:
        url: str | None = None
        if options.database == "postgresql":
            url = stack.enter_context(postgres.fresh(stack.enter_context(postgres.running()), "roambridge_soak"))
        service = stack.enter_context(serving(names, url))
        fleet = [
            *(sys.executable, "-m", "ocpi_bridge", "simulate", "fleet", "--json", "--stations", str(options.stations)),
            *("--url", service.ocpp_url, "--password", PASSWORD, "--token-prefix", "SIM"),
            *("--duration", f"{seconds}", "--ramp", f"{min(30.0, seconds / 4)}", "--heartbeat", f"{options.heartbeat}"),
            *("--charging", f"{options.charging}", "--sample-interval", f"{options.sample_interval}"),
            *("--charge", f"{options.charge}", "--check-database", service.database_url),
        ]
        told, points = watched(service, fleet, seconds)
    mb_an_hour, error = slope(points)
    latencies = told["latencies"].get("MeterValues", {})
    found = {
        "minutes": options.minutes,
        "stations": options.stations,
        "database": options.database,
        "mb_an_hour": mb_an_hour,
        "error": error if math.isfinite(error) else None,
        "mb": [points[0][1], points[-1][1]] if points else [],
        "calls": told["calls"],
        "p99_ms": latencies.get("p99_ms"),
        "losses": told["losses"],
    }
    console = Console(soft_wrap=True)
    console.print(
        f"memory of the service: {mb_an_hour:+.2f} MB an hour, standard error {error:.2f}, {len(points)} samples"
    )
    console.print(
        f"calls: {told['calls']}; MeterValues p99 {latencies.get('p99_ms', 0):g} ms; losses: {told['losses'] or 0}"
    )
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    if options.page:
        kept.keep_soak(kept.stamped(found, "soak", arguments, machine))
    grows = mb_an_hour - SURE * error > options.limit
    return 1 if grows or told["losses"] else 0


if __name__ == "__main__":
    sys.exit(main())
