"""The message log as it grows, for any number of readers at the price of one look at the database twice a second."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from csms.database import Database
from csms.message_store import Entry, entries_after, id_at, newest

log = structlog.get_logger(__name__)

EVERY_S = 0.5
AT_ONCE = 1_000
HELD_AT_MOST = 1_000  # frames that a slow reader has not taken yet
READERS_AT_MOST = 200
CAUGHT_UP_AT_MOST = 10_000
HELD_BACK = timedelta(seconds=0.5)  # on PostgreSQL another process may commit a lower id a little later


class TooManyReaders(Exception):
    """As many as are served at once are here already."""


class InThread(Protocol):
    def __call__(self, work: Callable[[], Any], /) -> Awaitable[Any]: ...


@dataclass(eq=False)
class Reader:
    """`position`: the last id at which reading began. `missed` counts what a full queue had no room for."""

    position: int = 0
    frames: deque[Entry] = field(default_factory=deque)
    missed: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False

    def put(self, entry: Entry) -> None:
        if len(self.frames) >= HELD_AT_MOST:
            self.missed += 1
        else:
            self.frames.append(entry)

    async def take(self, timeout_s: float) -> tuple[list[Entry], int]:
        """What came, and how many frames were missed before it; nothing when nothing came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.news.wait()
        except TimeoutError:
            return [], 0
        self.news.clear()
        taken, missed = list(self.frames), self.missed
        self.frames.clear()
        self.missed = 0
        return taken, missed


class Tail:
    """One task looks while anybody reads, and none when nobody does."""

    def __init__(self, database: Database, *, run: InThread, every_s: float = EVERY_S) -> None:
        self._database = database
        self._run = run
        self._every_s = every_s
        self._readers: set[Reader] = set()
        self._task: asyncio.Task[None] | None = None
        self._started: asyncio.Future[int] | None = None
        self.looks = 0

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[Reader]:
        """Raises TooManyReaders. What is written after this has begun reaches the reader, in the order of its ids."""
        if len(self._readers) >= READERS_AT_MOST:
            raise TooManyReaders
        reader = Reader()
        if self._task is None or self._task.done():
            self._started = asyncio.get_running_loop().create_future()
            self._task = asyncio.create_task(self._follow(self._started), name="message_tail")
        self._readers.add(reader)
        try:
            assert self._started is not None
            began = await asyncio.shield(self._started)
            reader.position = max(reader.position, began)
            yield reader
        finally:
            self._readers.discard(reader)
            if not self._readers and self._task is not None:
                self._task.cancel()
                self._task = None

    async def since(self, after: int, until: int) -> AsyncIterator[Entry]:
        """What was written after one id, up to another; at most so many frames."""
        left = CAUGHT_UP_AT_MOST
        while after < until and left > 0:
            entries = await self._read(after, until)
            for entry in entries:
                yield entry
            if not entries:
                return
            after = entries[-1].id
            left -= len(entries)

    async def close(self) -> None:
        """Readers are told that it is over."""
        for reader in self._readers:
            reader.over = True
            reader.news.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self, started: asyncio.Future[int]) -> None:
        position = await self._newest()
        for reader in self._readers:
            reader.position = position
        started.set_result(position)
        while True:
            await asyncio.sleep(self._every_s)
            try:
                entries = await self._read(position, self._settled())
            except SQLAlchemyError as error:
                log.warning("message_tail_without_database", error=type(error).__name__)
                continue
            if not entries:
                continue
            position = entries[-1].id
            for reader in self._readers:
                for entry in entries:
                    reader.put(entry)
                reader.news.set()

    def _settled(self) -> int | None:
        """No id below this one will come any more; None: every id that is there."""
        return None if self._database.sqlite else id_at(datetime.now(UTC) - HELD_BACK)

    async def _newest(self) -> int:
        while True:
            try:
                found: int = await self._run(self._look_newest)
                return found
            except SQLAlchemyError:
                await asyncio.sleep(self._every_s)

    async def _read(self, after: int, until: int | None) -> list[Entry]:
        self.looks += 1
        found: list[Entry] = await self._run(lambda: self._look(after, until))
        return found

    def _look(self, after: int, until: int | None) -> list[Entry]:
        with self._database.log_engine.connect() as connection:
            return entries_after(connection, after, until=until, limit=AT_ONCE)

    def _look_newest(self) -> int:
        with self._database.log_engine.connect() as connection:
            return newest(connection, until=self._settled())
