"""`make chaos`: everything breaks, again and again, beneath a fleet that charges; exit code 1 when anything was lost."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.bench import kept, table
from tests.chaos.ground import ground
from tests.chaos.story import Plan, Report, live_through
from tests.postgres_cluster import PostgresCluster
from tests.redis_server import RedisServer


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--stations", type=int, default=50)
    parser.add_argument("--every", type=float, default=8.0, help="seconds between faults")
    parser.add_argument("--seed", type=int, default=0, help="of the order of faults")
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--page", action="store_true", help="keep the report, and put it into docs/chaos.md")
    asked = parser.parse_args()
    machine = table.machine()
    plan = Plan(stations=asked.stations, seconds=60 * asked.minutes, every_s=asked.every, seed=asked.seed)
    report = asyncio.run(_run(plan))
    if asked.page:
        kept.keep_chaos(kept.stamped(report.summary(plan), "chaos", None, machine))
    if asked.json:
        print(json.dumps(report.told(), indent=2))
    else:
        _show(report)
    return 1 if report.wrong else 0


async def _run(plan: Plan) -> Report:
    redis = RedisServer()
    cluster = PostgresCluster(synchronous_commit="on")
    try:
        await asyncio.to_thread(redis.start)
        await asyncio.to_thread(cluster.start)
        with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
            async with ground(Path(folder), cluster, redis) as field:
                return await live_through(field, plan)
    finally:
        cluster.remove()
        redis.remove()


def _show(report: Report) -> None:
    console = Console()
    for at, name, took in report.faults:
        console.print(f"{at:8.1f} s  {name}, mended after {took:.1f} s")
    tally = report.load.tally
    console.print(
        f"{len(report.faults)} faults; {tally.answered.total()} calls answered, {tally.cut} cut and sent again, "
        f"{len(tally.played)} charges, {report.bills} bills, {report.reviews} for a person to look at; "
        f"lost, doubled or different: {len(report.wrong)}"
    )
    for line in report.wrong:
        console.print(f"[red]{line}", soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
