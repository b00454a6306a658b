"""A short life in which everything breaks once; `make chaos` is a long one."""

from pathlib import Path

import pytest

from tests.bench import kept
from tests.chaos.faults import FAULTS
from tests.chaos.ground import ground
from tests.chaos.story import Plan, live_through
from tests.conftest import postgres_cluster
from tests.redis_server import RedisServer

PLAN = Plan(stations=12, seconds=75.0, faults=list(FAULTS))


@pytest.mark.timeout(500)
async def test_whatever_breaks_what_was_acknowledged_is_kept_once_and_billed_once(  # B15
    tmp_path: Path, redis_server: RedisServer
) -> None:
    cluster = postgres_cluster(synchronous_commit="on")
    try:
        cluster.start()
        async with ground(tmp_path, cluster, redis_server) as field:
            report = await live_through(field, PLAN)
            print(report.told(), field.deployment.told())
    finally:
        cluster.remove()
    assert report.wrong == []
    assert report.bills >= 12
    assert [name for _, name, _ in report.faults] == list(FAULTS)
    told = report.summary(PLAN)
    assert (
        f"{told['bills']} bills, {told['reviews']} for a person to look at. Lost, doubled or different: 0."
        in kept.chaos_markdown(kept.stamped(told, "chaos", [], "here"))
    )


def test_a_long_run_breaks_everything_in_an_order_that_can_be_had_again() -> None:
    plan = Plan(seconds=200.0, every_s=5.0, seed=7)
    assert plan.in_order() == plan.in_order() != Plan(seconds=200.0, every_s=5.0, seed=8).in_order()
    assert len(plan.in_order()) == 40
    assert set(plan.in_order()) == set(FAULTS)
