"""A fleet of lean chargers lives for a while, is cut off and comes back as planned, and a report says what was lost."""

import asyncio
import gc
import os
import resource
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from csms.simulator.lean_charger import Course, Habits, LeanCharger
from csms.simulator.server_cpu import CpuSeconds
from csms.simulator.server_memory import ServerMemory
from csms.simulator.stages import Stage, Stages
from csms.simulator.tally import Played, Tally

LOOKS_EVERY_S = 0.25
DRAINS_WITHIN_S = 60.0  # after the end: what waits is delivered, or lost
DRAINED_PER_S = 50  # of more chargers, so many have their last word in a second
CHARGERS_AN_ADDRESS = 5_000
FIRST_COMES_WITHIN_S = 30.0  # of when all were to be here, or nobody is waited for
NEXT_COMES_WITHIN_S = 120.0  # of the last one: a crowd is told to come back in a minute


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """`duration_s` begins when all are connected and booted; they come within `ramp_s`, and have `up_within_s` for it,
    as long as one or another still comes; where nobody came there is no life either. It lasts as long as a storm does.
    `charging` is the share of them that charges, `offline` the share of those that charge a while without a line (the
    second quarter of the duration). `storm_at_s`: `storm_share` of all lines are cut then, and come back within
    `storm_spread_s`; those who charge are the last of them. `drain_s` None: time enough for so many. `sources`: addresses to
    call from, None any."""

    stations: int
    habits: Habits
    id_prefix: str = "SIM"
    token_prefix: str = "SIMCARD"
    duration_s: float = 60.0
    ramp_s: float = 10.0
    up_within_s: float = 300.0
    first_within_s: float = FIRST_COMES_WITHIN_S
    charging: float = 0.3
    offline: float = 0.0
    storm_at_s: float | None = None
    storm_share: float = 1.0
    storm_spread_s: float = 0.0
    sources: Sequence[str] | None = None
    drain_s: float | None = None

    def station_id(self, number: int) -> str:
        return f"{self.id_prefix}{number:05d}"

    def card(self, number: int) -> str:
        return f"{self.token_prefix}{number:05d}"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`turned_away`: most often why, and how often; empty when nobody was."""

    stage: Stage
    up: int
    answered: int
    turned_away: str
    of_stage: float  # how much of it is over, 0 to 1


@dataclass(kw_only=True)
class LoadReport:
    """`losses` has a line for each thing that was lost; the run was good when it is empty."""

    plan: LoadPlan
    tally: Tally
    up_s: float
    lasted_s: float
    generator_mb: float
    kb_per_charger: float
    server_mb: dict[str, float] = field(default_factory=dict)
    losses: list[str] = field(default_factory=list)
    checked: bool = False

    def told(self) -> dict[str, Any]:
        """As JSON has it: `latencies` of the whole life, `stages` each by itself."""
        tally = self.tally
        return {
            "stations": self.plan.stations,
            "up": tally.up,
            "up_s": round(self.up_s, 2),
            "lasted_s": round(self.lasted_s, 2),
            "calls": {
                "sent": tally.sent.total(),
                "answered": tally.answered.total(),
                "refused": tally.refused.total(),
                "cut": tally.cut,
                "silent": tally.silent.total(),
                "per_s": round(tally.answered.total() / self.lasted_s, 1) if self.lasted_s else 0.0,
            },
            "asked_by_csms": tally.asked.total(),
            "latencies": {action: found.told() for action, found in sorted(tally.stages.latencies().items())},
            "stages": {str(stage): of_it.told() for stage, of_it in tally.stages.all.items()},
            "reconnects": tally.reconnects.told() if tally.reconnects.count else None,
            "in_storm": tally.in_storm.told() if tally.in_storm.count else None,
            "transactions": len(tally.played),
            "samples": sum(one.acknowledged for one in tally.played),
            "delivered_late": tally.delivered_late,
            "turned_away": dict(tally.turned_away),
            "cards_refused": tally.cards_refused,
            "generator_mb": round(self.generator_mb, 1),
            "kb_per_charger": round(self.kb_per_charger, 1),
            "server_mb": {when: round(mb, 1) for when, mb in self.server_mb.items()},
            "checked": self.checked,
            "losses": self.losses,
        }


async def run_load(
    plan: LoadPlan,
    *,
    server_memory: ServerMemory | None = None,
    server_cpu: CpuSeconds | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> LoadReport:
    """Returns when all that was said is acknowledged, or `drain_s` after the end."""
    run = _Run(plan, server_memory, Tally(stages=Stages(server_cpu)), on_progress)
    lagging = asyncio.create_task(run.stages.watch_own_lag())
    try:
        return await run.through()
    finally:
        lagging.cancel()


def spread(number: int, share: float) -> bool:
    """Whether the number-th (from 0) is one of `share` of all, evenly among them."""
    return int((number + 1) * share + 1e-9) > int(number * share + 1e-9)


class _Run:
    def __init__(
        self,
        plan: LoadPlan,
        server_memory: ServerMemory | None,
        tally: Tally,
        on_progress: Callable[[Progress], None],
    ) -> None:
        self.stages = tally.stages
        self._plan = plan
        self._server_memory = server_memory
        self._on_progress = on_progress
        self._tally = tally
        self._course = Course()
        self._chargers: list[LeanCharger] = []
        self._server_mb: dict[str, float] = {}

    async def through(self) -> LoadReport:
        plan, loop = self._plan, asyncio.get_running_loop()
        gc.collect()
        empty_mb = own_mb()
        await self._weigh_server("before")
        began = loop.time()
        async with asyncio.TaskGroup() as lives:
            for number in range(plan.stations):
                charger = self._charger(number)
                self._chargers.append(charger)
                lives.create_task(charger.live(began + plan.ramp_s * number / plan.stations))
            stalled = _Stalled(self._tally, began + plan.ramp_s, plan.first_within_s)
            await self._until(began + plan.ramp_s + plan.up_within_s, lambda: self._all_up() or stalled())
            up_s = loop.time() - began
            full_mb = own_mb()
            await self._weigh_server("connected")
            up_at = loop.time()
            if self._tally.up:
                self._course.charge_from = up_at
                self._wake_all()
                await self._events(up_at)
                await self._until(up_at + plan.duration_s)
            self._end()
            await self._weigh_server("end")
            lasted_s = loop.time() - up_at
            self._on_progress(self._progress(0.0))
        self.stages.now.over()
        await asyncio.sleep(0)  # what was aborted last is closed in the loop's next round
        return LoadReport(
            plan=plan,
            tally=self._tally,
            up_s=up_s,
            lasted_s=lasted_s,
            generator_mb=full_mb,
            kb_per_charger=(full_mb - empty_mb) * 1024 / plan.stations,
            server_mb=self._server_mb,
            losses=losses(plan, self._tally),
        )

    def _end(self) -> None:
        """Charges end now, and what was said so far is delivered."""
        plan = self._plan
        self.stages.enter(Stage.LEAVING)
        self._course.ends_at = asyncio.get_running_loop().time()
        drain_s = plan.drain_s if plan.drain_s is not None else max(DRAINS_WITHIN_S, plan.stations / DRAINED_PER_S)
        self._course.gives_up_at = self._course.ends_at + drain_s
        self._wake_all()

    def _wake_all(self) -> None:
        for charger in self._chargers:
            charger.wake()

    def _charger(self, number: int) -> LeanCharger:
        plan = self._plan
        sources = plan.sources
        return LeanCharger(
            number + 1,
            station_id=plan.station_id(number + 1),
            card=plan.card(number + 1),
            charges=spread(number, plan.charging),
            source=sources[number % len(sources)] if sources else None,
            habits=plan.habits,
            course=self._course,
            tally=self._tally,
        )

    def _all_up(self) -> bool:
        return self._tally.up >= self._plan.stations

    async def _events(self, up_at: float) -> None:
        """Changes the stage, and cuts whom the plan has cut, in the order of time."""
        plan = self._plan
        at_s: dict[Callable[[], Awaitable[None]], float] = {self._go_offline: plan.duration_s / 4}
        if plan.storm_at_s is not None:
            at_s[self._storm] = plan.storm_at_s
        if plan.charging:
            self.stages.enter(Stage.BEGINNING)
            at_s[self._all_charge] = plan.habits.first_charges_within_s
        else:
            self.stages.enter(Stage.STEADY)
        for event, after_s in sorted(at_s.items(), key=lambda one: one[1]):
            if event != self._all_charge or after_s < plan.duration_s:
                await self._until(up_at + after_s)
                await event()

    async def _all_charge(self) -> None:
        if self.stages.name is Stage.BEGINNING:
            self.stages.enter(Stage.STEADY)

    async def _go_offline(self) -> None:
        now = asyncio.get_running_loop().time()
        charging = [charger for charger in self._chargers if charger.charges]
        for place, charger in enumerate(charging):
            if spread(place, self._plan.offline):
                charger.cut(now + self._plan.duration_s / 4 * (0.9 + 0.1 * charger.phase))

    async def _storm(self) -> None:
        plan, loop = self._plan, asyncio.get_running_loop()
        now = loop.time()
        stays = 1 - plan.storm_share
        cut = [charger for number, charger in enumerate(self._chargers) if not spread(number, stays)]
        self._course.storm = True
        self.stages.enter(Stage.STORM)
        for charger in cut:
            charger.in_storm = True
            charger.cut(now + plan.storm_spread_s * charger.phase, storm=True)
        await self._until(now + plan.up_within_s, lambda: self._tally.reconnects.count >= len(cut))
        self._course.storm = False
        self.stages.enter(Stage.AFTER_STORM)

    async def _until(self, at: float, done: Callable[[], bool] = lambda: False) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (now := loop.time()) < at and not done():
            coming = self.stages.name is Stage.COMING
            over = self._tally.up / self._plan.stations if coming else (now - began) / (at - began)
            self._on_progress(self._progress(over))
            await asyncio.sleep(min(LOOKS_EVERY_S, at - now))

    def _progress(self, of_stage: float) -> Progress:
        tally = self._tally
        why = "".join(f"{reason} ({count})" for reason, count in tally.turned_away.most_common(1))
        return Progress(
            stage=self.stages.name,
            up=tally.up,
            answered=tally.answered.total(),
            turned_away=why,
            of_stage=of_stage,
        )

    async def _weigh_server(self, when: str) -> None:
        if self._server_memory is not None:
            self._server_mb[when] = await asyncio.to_thread(self._server_memory)


class _Stalled:
    """Whether nobody has come up for so long that nobody else will; asked again and again."""

    def __init__(self, tally: Tally, all_called_at: float, first_within_s: float) -> None:
        self._tally = tally
        self._first_within_s = first_within_s
        self._up = 0
        self._since = all_called_at

    def __call__(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._tally.up != self._up:
            self._up, self._since = self._tally.up, max(now, self._since)
        return now > self._since + (NEXT_COMES_WITHIN_S if self._up else self._first_within_s)


def losses(plan: LoadPlan, tally: Tally) -> list[str]:
    """What the chargers themselves know of: calls that nobody answered, and what they could not deliver."""
    found = [f"{count} {action} never answered" for action, count in sorted(tally.silent.items())]
    found += [f"{count} {action} refused" for action, count in sorted(tally.refused.items())]
    if tally.up < plan.stations:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in tally.turned_away.most_common(3))
        boots = f", {tally.boots_refused} Boots refused" if tally.boots_refused else ""
        found.append(f"{plan.stations - tally.up} chargers never came up: {reasons or 'no answer'}{boots}")
    if tally.cards_refused:
        found.append(f"{tally.cards_refused} cards refused")
    undelivered = sum(_undelivered(one) for one in tally.played)
    if undelivered:
        found.append(f"{undelivered} messages of transactions not acknowledged at the end")
    return found


def _undelivered(one: Played) -> int:
    return (one.number is None) + (one.samples - one.acknowledged) + (one.stopped and not one.stop_acknowledged)


def addresses(stations: int, host: str) -> Sequence[str] | None:
    """Of the loopback network, so many that each has ports enough; None where the system chooses."""
    if not host.startswith("127."):
        return None
    return [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(-(-stations // CHARGERS_AN_ADDRESS))]


def own_mb() -> float:
    """What this process has in memory now."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:  # no Linux: the most it ever had
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
