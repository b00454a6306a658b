"""Sessions that charge, told to the partner that pays as they are sampled: what that costs, and how many one process tells."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple

import uvloop

from ocpi_bridge.emsp_simulator import EmspSimulator
from tests.bench import cdrs
from tests.bench.load import Charger, cpu_seconds
from tests.bench.service import PASSWORD, Serving, serving
from tests.bench.table import Row

EVERY_S = (2.0, 0.25)  # of each charger: while one process follows easily, and while it hardly does
SETTLED_S = 3.0
STANDING_S = 5.0


@dataclass
class Heard:
    """What arrived at the partner."""

    patches: int = 0

    def note(self, received: Any, _answer: Any) -> None:
        self.patches += received.method == "PATCH" and "/sessions/" in received.path


class Part(NamedTuple):
    """`patches`: those of `seconds`, and `in_all` with those that came once the samples had ended. `cpu_s`: of the service,
    for all of them, without what it takes when nobody says anything."""

    seconds: float
    samples: int
    patches: int
    in_all: int
    cpu_s: float

    @property
    def what(self) -> str:
        return f"sessions told to their partner, {self.samples / self.seconds:,.0f} samples/s: PATCHes, CPU of each"

    @property
    def reached(self) -> str:
        return f"{self.patches / self.seconds:,.0f} /s, {self.cpu_s / self.in_all * 1e6:,.0f} us"


def rows(chargers: int, seconds: float, database_url: str | None, database: str) -> Sequence[Row]:
    """`seconds`: of each of the two parts."""
    names = [Charger(number).station_id for number in range(chargers)]
    with serving(names, database_url, tariff=cdrs.TARIFF) as service:
        parts = uvloop.run(_run(service, chargers, seconds))
    return [Row(what=part.what, reached=part.reached, database=database) for part in parts]


async def _run(service: Serving, chargers: int, seconds: float) -> list[Part]:
    fleet = [Charger(number) for number in range(chargers)]
    invitation = json.loads(service.roambridge("partner", "invite", "Bench"))
    heard = Heard()
    async with EmspSimulator(party=("NL", "BNC"), watch=heard.note) as emsp:
        await emsp.register(invitation["versions_url"], invitation["token"])
        for charger in fleet:
            await emsp.push_token(emsp.issue_token(cdrs.card(charger)))
        for charger in fleet:
            await charger.connect(service.ocpp_url, PASSWORD)
            await cdrs.start(charger)
        await cdrs.come_to_rest(fleet)
        before = cpu_seconds(service.pid)
        await asyncio.sleep(STANDING_S)
        standing = (cpu_seconds(service.pid) - before) / STANDING_S
        parts = [await _part(service.pid, heard, fleet, seconds, every_s, standing) for every_s in EVERY_S]
        await asyncio.gather(*(charger.close() for charger in fleet))
        complaints = [str(complaint) for complaint in emsp.complaints[:3]]
    assert not complaints, complaints
    return parts


async def _part(
    pid: int, heard: Heard, fleet: Sequence[Charger], seconds: float, every_s: float, standing: float
) -> Part:
    cpu, patches, began = cpu_seconds(pid), heard.patches, perf_counter()
    said = await asyncio.gather(
        *(_charge(charger, began, seconds, every_s, turn / len(fleet)) for turn, charger in enumerate(fleet))
    )
    took, within = perf_counter() - began, heard.patches - patches
    await asyncio.sleep(SETTLED_S)
    used = cpu_seconds(pid) - cpu - standing * (took + SETTLED_S)
    return Part(seconds=took, samples=sum(said), patches=within, in_all=heard.patches - patches, cpu_s=used)


async def _charge(charger: Charger, began: float, seconds: float, every_s: float, turn: float) -> int:
    """How many samples it said. `turn`: they do not say them all at once."""
    payloads, said = charger.payloads("MeterValues"), 0
    await asyncio.sleep(every_s * turn)
    while perf_counter() - began < seconds:
        await charger.call("MeterValues", next(payloads))
        said += 1
        await asyncio.sleep(every_s)
    return said
