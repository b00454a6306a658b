"""Gateways and workers of one service as tasks of one test: each has a bus, a worker a core of its own on one database."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from csms.bus.redis_streams import RedisBus
from csms.database import Database
from tests.csms.bus.words import until
from tests.csms.core_story import Story
from tests.redis_server import RedisServer


class Gateway:
    def __init__(self, bus: RedisBus) -> None:
        self.bus = bus
        self.lives()

    def lives(self) -> None:
        self._running = asyncio.create_task(self.bus.run())

    async def falls_silent(self) -> None:
        """It neither says nor hears anything, and took nothing back."""
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)

    async def stop(self) -> None:
        await self.falls_silent()
        await self.bus.stop()


class Worker(Gateway):
    """`story` is its core."""

    def __init__(self, bus: RedisBus, story: Story) -> None:
        super().__init__(bus)
        self.story = story
        self._core = asyncio.create_task(story.csms.run())
        self._consuming = asyncio.create_task(bus.consume(story.csms))

    async def commits_nothing(self) -> None:
        """It reads on, as if the thread that writes were stopped."""
        self._core.cancel()
        await asyncio.gather(self._core, return_exceptions=True)

    def commits(self) -> None:
        self._core = asyncio.create_task(self.story.csms.run())

    async def leaves(self) -> None:
        """As a redeploy does it."""
        self._consuming.cancel()
        await asyncio.gather(self._consuming, return_exceptions=True)

    async def stop(self) -> None:
        await self.leaves()
        await super().stop()
        self._core.cancel()
        await asyncio.gather(self._core, return_exceptions=True)
        await self.story.csms.remote.stop()
        await self.story.csms.close()


class Roles:
    def __init__(self, server: RedisServer, database_url: str) -> None:
        self._server = server
        self._database_url = database_url
        self._stack = AsyncExitStack()
        self._count = 0

    async def __aenter__(self) -> "Roles":
        self.database = Database(self._database_url)
        self._stack.callback(self.database.dispose)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def gateway(self, **options: Any) -> Gateway:
        bus = await self._bus("gateway", **options)
        gateway = Gateway(bus)
        self._stack.push_async_callback(gateway.stop)
        return gateway

    async def worker(self, **options: Any) -> Worker:
        bus = await self._bus("worker")
        worker = Worker(bus, Story(self.database, once=True, send=bus.send, **options))
        self._stack.push_async_callback(worker.stop)
        return worker

    async def api(self) -> Gateway:
        api = Gateway(await self._bus("api"))
        self._stack.push_async_callback(api.stop)
        return api

    def story(self) -> Story:
        """What is in the database, and who puts it there."""
        story = Story(self.database)
        self._stack.push_async_callback(story.csms.close)
        return story

    async def listening(self, processes: int) -> None:
        """So many hear wakes by now."""
        with self._server.look() as redis:
            await until(lambda: redis.pubsub_numsub("roambridge:wake") == [("roambridge:wake", processes)])

    async def _bus(self, role: str, **options: Any) -> RedisBus:
        self._count += 1
        bus = RedisBus(self._server.url, process_id=f"{role}-{self._count}", role=role, **options)
        await bus.start()
        return bus
