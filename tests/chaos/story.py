"""Chargers live and charge while one thing after another breaks beneath them; afterwards nothing may be lost or doubled."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import func, select

from csms.database import Database
from csms.models import ChargeRecord, Review
from csms.simulator.lean_charger import Habits
from csms.simulator.lean_line import Address
from csms.simulator.load import LoadPlan, LoadReport, run_load
from ocpi_bridge.fleet_check import losses
from tests.chaos.agreement import disagreements
from tests.chaos.faults import FAULTS, Field
from tests.paths.balancer import balancer
from tests.paths.processes import free_ports
from tests.paths.service import PASSWORD

PREFIX, CARDS = "CHAOS-", "CHAOSCARD"
SETTLED_WITHIN_S = 120.0
NO_CLOCK_FURTHER_BACK = timedelta(days=7)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`faults`: names of FAULTS, one after the other, evenly over `seconds`; empty: all of them, again and again, in an order
    that `seed` decides, one every `every_s`."""

    stations: int = 20
    seconds: float = 20.0
    faults: Sequence[str] = ()
    every_s: float = 5.0
    seed: int = 0

    def in_order(self) -> list[str]:
        if self.faults:
            return list(self.faults)
        chance = random.Random(self.seed)
        wanted: list[str] = []
        while len(wanted) < self.seconds / self.every_s:
            wanted += chance.sample(sorted(FAULTS), len(FAULTS))
        return wanted[: max(1, int(self.seconds / self.every_s))]


@dataclass(kw_only=True)
class Report:
    """`wrong` has a line for each thing that is lost, doubled or different; the run was good when it is empty. `faults`:
    when each began, in seconds, and how long until it was mended."""

    load: LoadReport
    bills: int
    reviews: int
    faults: list[tuple[float, str, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        return {
            "faults": self.faults,
            "bills": self.bills,
            "reviews": self.reviews,
            "wrong": self.wrong,
            "load": self.load.told(),
        }

    def summary(self, plan: Plan) -> dict[str, Any]:
        """What docs/chaos.md shows of it."""
        tally = self.load.tally
        return {
            "minutes": round(plan.seconds / 60, 1),
            "stations": plan.stations,
            "seed": plan.seed,
            "answered": tally.answered.total(),
            "cut": tally.cut,
            "charges": len(tally.played),
            "bills": self.bills,
            "reviews": self.reviews,
            "faults": self.faults,
            "wrong": self.wrong,
        }


async def live_through(here: Field, plan: Plan) -> Report:
    """The deployment of `here` runs, and nobody is registered yet."""
    async with balancer(here.deployment.front_port, here.deployment.api_ports):
        return await _live_through(here, plan)


async def _live_through(here: Field, plan: Plan) -> Report:
    numbers = range(1, plan.stations + 1)
    here.chargers[:] = [f"{PREFIX}{number:05d}" for number in numbers]
    await here.deployment.open_many(here.chargers)
    await here.partner.register(*await here.deployment.invite("Chaos"))
    for number in numbers:
        await here.partner.push(await here.partner.issue(f"{CARDS}{number:05d}", listed=False))
    (port,) = free_ports(1)
    life = LoadPlan(
        stations=plan.stations,
        habits=Habits(
            address=Address.of(f"ws://127.0.0.1:{port}/ocpp"),
            password=PASSWORD,
            heartbeat_s=2.0,
            sample_s=1.0,
            values=1,
            charge_s=5.0,
            starts_within_s=3.0,
            clock=here.clocks,
        ),
        id_prefix=PREFIX,
        token_prefix=CARDS,
        duration_s=plan.seconds,
        ramp_s=1.0,
        charging=1.0,
        drain_s=SETTLED_WITHIN_S,
    )
    since = datetime.now(UTC) - NO_CLOCK_FURTHER_BACK
    began = time.monotonic()
    ports = [int(url.rpartition(":")[2].partition("/")[0]) for url in here.deployment.ocpp_urls]
    async with balancer(port, ports):
        living = asyncio.create_task(run_load(life))
        try:
            broken = await _break(here, plan)
            load = await living
        finally:
            living.cancel()
            await asyncio.gather(living, return_exceptions=True)
    wrong = list(load.losses)
    wrong += await asyncio.to_thread(losses, here.deployment.database_url, load.tally.played, since=since)
    wrong += await _settled(here, time.monotonic() - began)
    bills, reviews = await asyncio.to_thread(_counted, here)
    return Report(load=load, faults=broken, wrong=wrong, bills=bills, reviews=reviews)


async def _break(here: Field, plan: Plan) -> list[tuple[float, str, float]]:
    began = time.monotonic()
    told: list[tuple[float, str, float]] = []
    order = plan.in_order()
    for index, name in enumerate(order):
        await asyncio.sleep(max(0.0, began + plan.seconds * (index + 0.5) / len(order) - time.monotonic()))
        at = time.monotonic()
        if at > began + plan.seconds and not plan.faults:
            break  # nobody charges any more: the host was slow
        await FAULTS[name](here)
        told.append((round(at - began, 1), name, round(time.monotonic() - at, 1)))
    return told


async def _settled(here: Field, lasted_s: float) -> list[str]:
    """What is still wrong when everybody had time to say what was left to say. No charge was longer than all of it."""
    until = time.monotonic() + SETTLED_WITHIN_S
    while True:
        requests = await here.partner.requests("")
        found = await asyncio.to_thread(_look, here, requests, lasted_s)
        if not found or time.monotonic() > until:
            return found
        await asyncio.sleep(0.5)


def _look(here: Field, requests: Sequence[dict[str, Any]], lasted_s: float) -> list[str]:
    database = Database(here.deployment.database_url)
    try:
        with database.read() as connection:
            return disagreements(connection, requests, longest_s=lasted_s)
    finally:
        database.dispose()


def _counted(here: Field) -> Sequence[int]:
    """Bills and reviews."""
    database = Database(here.deployment.database_url)
    try:
        with database.read() as connection:
            counts = (select(func.count()).select_from(model) for model in (ChargeRecord, Review))
            return [connection.execute(count).scalar_one() for count in counts]
    finally:
        database.dispose()
