"""Many chargers play one scenario at once, and a report says how they fared."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from csms.simulator.profile import Profile
from csms.simulator.scenarios import Plan, Scenario, ScenarioResult
from csms.simulator.wire import Fate, Unserved


@dataclass(frozen=True, kw_only=True)
class FleetReport:
    """`calls` counts the chargers' calls by their fate, latencies are of the answered ones; `failures` names each charger
    that could not finish, with the reason."""

    stations: int
    completed: int
    failures: tuple[tuple[str, str], ...]
    calls: dict[Fate, int]
    p50_ms: float
    p99_ms: float
    duration_s: float
    energy_mwh: int

    @property
    def calls_per_s(self) -> float:
        return sum(self.calls.values()) / self.duration_s if self.duration_s else 0.0

    def told(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "stations": self.stations,
            "completed": self.completed,
            "failures": dict(self.failures),
            "calls": {fate.value: count for fate, count in self.calls.items()},
            "calls_per_s": round(self.calls_per_s, 1),
            "p50_ms": round(self.p50_ms, 2),
            "p99_ms": round(self.p99_ms, 2),
            "duration_s": round(self.duration_s, 2),
            "energy_mwh": self.energy_mwh,
        }


async def run_fleet(
    profiles: Iterable[Profile],
    scenario: Scenario,
    *,
    concurrency: int = 100,
    plan: Plan | None = None,
    id_tokens: Sequence[str] = (),
    on_done: Callable[[], None] | None = None,
) -> FleetReport:
    """Each charger once, at most `concurrency` at a time. The nth charger's driver has the nth of `id_tokens`, or the
    plan's card when there are none: one card may charge at one place only."""
    plan = plan or Plan()
    waiting = iter(enumerate(profiles))
    results: list[ScenarioResult] = []
    failures: list[tuple[str, str]] = []
    began = time.perf_counter()

    async def play() -> None:
        for number, profile in waiting:
            own = replace(plan, id_token=id_tokens[number % len(id_tokens)]) if id_tokens else plan
            try:
                results.append(await scenario(profile, own))
            except (Unserved, TimeoutError) as failure:
                failures.append((profile.station_id, str(failure) or "the CSMS took too long"))
            if on_done is not None:
                on_done()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(play())
    return _report(results, failures, time.perf_counter() - began)


def percentile(ascending: Sequence[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    return ascending[max(0, math.ceil(share * len(ascending)) - 1)] if ascending else 0.0


def _report(results: list[ScenarioResult], failures: list[tuple[str, str]], duration_s: float) -> FleetReport:
    exchanges = [exchange for result in results for exchange in result.answers]
    latencies_s = sorted(exchange.latency_s for exchange in exchanges if exchange.fate is Fate.ANSWERED)
    return FleetReport(
        stations=len(results) + len(failures),
        completed=len(results),
        failures=tuple(failures),
        calls=dict(Counter(exchange.fate for exchange in exchanges)),
        p50_ms=percentile(latencies_s, 0.50) * 1000,
        p99_ms=percentile(latencies_s, 0.99) * 1000,
        duration_s=duration_s,
        energy_mwh=sum(result.energy_mwh for result in results),
    )
