"""A long task that fails is started again and counted; only a failure to start ends the process."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0
SOUND_AFTER_S = 60.0  # a task that ran for so long has recovered

Run: TypeAlias = Callable[[], Awaitable[None]]


class Supervisor:
    """Owns the long tasks of a process. `restarted(name)` is told of each restart."""

    def __init__(self, *, restarted: Callable[[str], None]) -> None:
        self._restarted = restarted
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, run: Run) -> None:
        """`run` is called again whenever it ends, however it ends."""
        self._tasks[name] = asyncio.create_task(self._keep_running(name, run), name=name)

    async def stop(self, *names: str) -> None:
        """Cancels these tasks, or all, and waits for them: what they do at their end is done."""
        wanted = names or tuple(self._tasks)
        tasks = [self._tasks.pop(name) for name in wanted if name in self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_running(self, name: str, run: Run) -> None:
        loop = asyncio.get_running_loop()
        pause_s = FIRST_PAUSE_S
        while True:
            began = loop.time()
            try:
                await run()
                log.error("task_ended", task=name)
            except Exception:
                log.exception("task_failed", task=name)
            self._restarted(name)
            pause_s = FIRST_PAUSE_S if loop.time() - began > SOUND_AFTER_S else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads, hides nothing
