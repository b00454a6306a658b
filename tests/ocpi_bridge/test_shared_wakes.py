"""News in one process is news in the others, and is told on by none of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from csms.bus.redis_streams import RedisBus
from ocpi_bridge.roles.between import SharedWake, process_id, shared_wakes
from tests.redis_server import RedisServer

LIMIT_S = 20.0


@asynccontextmanager
async def process(url: str, told: list[str]) -> AsyncIterator[tuple[SharedWake, SharedWake]]:
    """Its wakes. `told`: the kinds that it told others."""
    bus = RedisBus(url, process_id=process_id(), role="worker")
    tell = bus.wake

    def wake(kind: str, types: object = None) -> None:
        told.append(kind)
        tell(kind, types)  # type: ignore[arg-type]

    bus.wake = wake  # type: ignore[assignment]
    wakes = shared_wakes(bus)
    await bus.start()
    running = asyncio.create_task(bus.run())
    try:
        yield wakes
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await bus.stop()


async def test_what_grew_here_is_looked_at_there(redis_server: RedisServer) -> None:
    told: list[str] = []
    async with AsyncExitStack() as stack, asyncio.timeout(LIMIT_S):
        journal, due = await stack.enter_async_context(process(redis_server.url, []))
        journal_there, due_there = await stack.enter_async_context(process(redis_server.url, told))
        with journal_there.listening(["token_changed"]) as cards, journal_there.listening(["evse_status"]) as states:
            while not cards.woken:  # whoever does not listen yet hears nothing
                await asyncio.to_thread(journal, {"token_changed"})  # a commit is made in a thread
                await asyncio.sleep(0.01)
            assert not states.woken
        with due_there.listening() as partners, due.listening() as own:
            due()
            assert own.woken
            await partners.news(poll_s=LIMIT_S, gather_s=0)
    assert told == []


async def test_who_does_not_heed_the_news_passes_it_on_all_the_same(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack, asyncio.timeout(LIMIT_S):
        leading, _ = await stack.enter_async_context(process(redis_server.url, []))
        other, _ = await stack.enter_async_context(process(redis_server.url, []))
        leads = False
        other.heeded = lambda: leads
        with leading.listening() as theirs, other.listening() as ours:
            while not theirs.woken:
                await asyncio.to_thread(other, {"evse_status"})
                await asyncio.sleep(0.01)
            assert not ours.woken
            leads = True
            other({"evse_status"})
            assert ours.woken
