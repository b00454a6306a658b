"""A fleet lives in stages, and what is told of its answers is told of the stage in which they were asked for."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from csms.simulator.latencies import Latencies
from csms.simulator.server_cpu import CpuSeconds

LAG_EVERY_S = 0.02


class Stage(StrEnum):
    """In the order of a life; a stage for which nothing is planned is left out."""

    COMING = "coming"  # until all have booted
    BEGINNING = "charging begins"  # the first charges of all that charge
    STEADY = "steady"
    STORM = "storm"  # from the cut until all are back
    AFTER_STORM = "after the storm"
    LEAVING = "leaving"  # charges end, and what waits is delivered


class OfStage:
    """`answers`: by action, of the calls that were sent in this stage. `handshakes`: from the call to the line, of those that
    are there. `own_lag`: how late the load's own loop was for what it had planned, which is part of all that it measures."""

    __slots__ = ("_began", "_cpu", "_over", "answers", "handshakes", "own_lag")

    def __init__(self, cpu: Mapping[str, CpuSeconds]) -> None:
        """`cpu`: of whom the processor's time is told."""
        self.answers: defaultdict[str, Latencies] = defaultdict(Latencies)
        self.handshakes = Latencies()
        self.own_lag = Latencies()
        self._cpu = cpu
        self._began = self._now()
        self._over: tuple[float, Mapping[str, float]] | None = None

    def over(self) -> None:
        self._over = self._now()

    def told(self) -> dict[str, Any]:
        """As JSON has it. `cpu_s`: in the time that it lasted, `lasted_s`."""
        (began, before), (ended, after) = self._began, self._over or self._now()
        return {
            "lasted_s": round(ended - began, 2),
            "cpu_s": {name: round(after[name] - before[name], 2) for name in after},
            "own_lag": self.own_lag.told(),
            "handshakes": self.handshakes.told() if self.handshakes.count else None,
            "answers": {action: found.told() for action, found in sorted(self.answers.items())},
        }

    def _now(self) -> tuple[float, Mapping[str, float]]:
        return time.perf_counter(), {name: read() for name, read in self._cpu.items()}


class Stages:
    """`name` is the stage that is on, `now` what is counted of it; the first is COMING."""

    def __init__(self, server_cpu: CpuSeconds | None = None) -> None:
        self._cpu: Mapping[str, CpuSeconds] = {"load": time.process_time} | (
            {"csms": server_cpu} if server_cpu is not None else {}
        )
        self.name = Stage.COMING
        self.now = OfStage(self._cpu)
        self.all: dict[Stage, OfStage] = {self.name: self.now}

    def enter(self, stage: Stage) -> None:
        """Nothing happens when it was on already, or is: no stage comes twice."""
        if stage not in self.all:
            self.now.over()
            self.name, self.now = stage, OfStage(self._cpu)
            self.all[stage] = self.now

    def latencies(self) -> Mapping[str, Latencies]:
        """Of the whole life, by action."""
        whole: defaultdict[str, Latencies] = defaultdict(Latencies)
        for stage in self.all.values():
            for action, found in stage.answers.items():
                whole[action].take_in(found)
        return whole

    async def watch_own_lag(self) -> None:
        """Until cancelled."""
        while True:
            due = time.perf_counter() + LAG_EVERY_S
            await asyncio.sleep(LAG_EVERY_S)
            self.now.own_lag.add(time.perf_counter() - due)
