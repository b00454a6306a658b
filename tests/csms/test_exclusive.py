"""What must run once runs once, and goes on elsewhere when its holder leaves, loses its connection or dies."""

import asyncio
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from csms.database import Database
from csms.exclusive import Exclusive, LockLost, one_at_a_time

ROOT = Path(__file__).parents[2]
LIMIT_S = 30.0
QUICK_S = 0.02


class Work:
    """Runs or does not."""

    def __init__(self, database: Database, name: str = "once") -> None:
        self.runs = False
        self.began = asyncio.Event()
        self.exclusive = Exclusive(database, name, start=self._start, stop=self._stop, retry_s=QUICK_S)
        self.task = asyncio.create_task(self.exclusive.run())

    def _start(self) -> None:
        self.runs = True
        self.began.set()

    async def _stop(self) -> None:
        self.runs = False
        self.began.clear()

    async def is_refused(self) -> bool:
        """When it asks, it does not get the lock."""
        return await asyncio.to_thread(self.exclusive._take) is None and not self.runs

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


@pytest.fixture
def postgres(postgres_url: str) -> Database:
    return Database(postgres_url)


async def test_one_of_two_works_and_the_other_takes_over(postgres: Database) -> None:
    other_process = Database(postgres.engine.url.render_as_string(hide_password=False))
    async with asyncio.timeout(LIMIT_S):
        first = Work(postgres)
        await first.began.wait()
        second = Work(other_process)
        assert await second.is_refused()
        assert first.runs
        await first.leave()
        await second.began.wait()
        assert (first.runs, second.exclusive.held) == (False, True)
        await second.leave()
    postgres.dispose()
    other_process.dispose()


async def test_locks_of_two_names_are_two(postgres: Database) -> None:
    async with asyncio.timeout(LIMIT_S):
        both = Work(postgres, "this"), Work(postgres, "that")
        for work in both:
            await work.began.wait()
        for work in both:
            await work.leave()
    postgres.dispose()


async def test_whoever_loses_its_connection_stops_and_says_so(postgres: Database) -> None:
    async with asyncio.timeout(LIMIT_S):
        work = Work(postgres)
        await work.began.wait()
        with postgres.write() as connection:
            held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"
            assert connection.execute(text(held)).all() == [(True,)]
        with pytest.raises(LockLost):
            await work.task
        assert not work.runs
        again = Work(postgres)
        await again.began.wait()
        await again.leave()
    postgres.dispose()


async def test_while_the_database_is_away_nobody_has_the_lock() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    away = Database(f"postgresql://nobody@127.0.0.1:{port}/nothing")
    async with asyncio.timeout(LIMIT_S):
        work = Work(away)
        assert await work.is_refused()
        assert not work.task.done()
        await work.leave()
    away.dispose()


HOLDER = """
import asyncio, sys
from csms.database import Database
from csms.exclusive import Exclusive

async def never():
    pass

async def main():
    await Exclusive(Database(sys.argv[1]), "once", start=lambda: print("held", file=sys.stderr), stop=never).run()

asyncio.run(main())
"""


async def test_the_lock_of_a_process_that_is_killed_is_free(postgres: Database, postgres_url: str) -> None:
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HOLDER, postgres_url, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        assert holder.stderr is not None
        async with asyncio.timeout(LIMIT_S):
            assert await holder.stderr.readline() == b"held\n"
            work = Work(postgres)
            assert await work.is_refused()
            holder.send_signal(signal.SIGKILL)
            await work.began.wait()
            await work.leave()
    finally:
        if holder.returncode is None:
            holder.kill()
        await holder.communicate()
    postgres.dispose()


def test_transactions_of_one_name_take_turns(database: Database) -> None:
    """Each reads what the other wrote."""

    def add_one(_: int) -> None:
        with database.write() as connection:
            one_at_a_time(connection, "counting")
            told = connection.execute(text("SELECT max(decimals) FROM money_roundings")).scalar_one()
            connection.execute(text("DELETE FROM money_roundings"))
            row = {"currency": "EUR", "decimals": (told or 0) + 1}
            connection.execute(text("INSERT INTO money_roundings VALUES (:currency, :decimals, false)"), row)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(add_one, range(12)))
    with database.read() as connection:
        assert connection.execute(text("SELECT currency, decimals FROM money_roundings")).all() == [("EUR", 12)]


async def test_on_sqlite_there_is_nobody_else(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    async with asyncio.timeout(LIMIT_S):
        work = Work(database)
        await work.began.wait()
        await work.leave()
    assert not work.runs
    database.dispose()
