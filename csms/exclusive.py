"""What must run once in a deployment runs in the one process that holds its lock, and in another when that one is gone."""

import asyncio
import zlib
from collections.abc import Awaitable, Callable

import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from csms.database import Database

log = structlog.get_logger(__name__)

LOCK_CLASS = 0x726F616D  # "roam"
RETRY_S = 1.0
ANSWERS_WITHIN_S = 5.0
FORGOTTEN_AFTER_S = 15  # the server takes the lock from a holder that says nothing for so long

# What makes the server notice a holder that vanished without a word, as far as this server knows these settings.
LEASE = {
    "idle_session_timeout": f"{FORGOTTEN_AFTER_S}s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "3",
    "tcp_keepalives_count": "3",
}
_SET = text("SELECT set_config(name, :value, false) FROM pg_settings WHERE name = :name")


class LockLost(Exception):
    """The connection that held the lock is gone, and with it the lock: another process may have it by now."""


class Exclusive:
    """`start` is called when this process got the lock, `stop` before it gives it away or when it has lost it: for as long
    as FORGOTTEN_AFTER_S two processes may then do the same, which must bear that.

    PostgreSQL: an advisory lock by `name`, on a connection of its own. SQLite has one process: nothing is locked.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        start: Callable[[], None],
        stop: Callable[[], Awaitable[None]],
        retry_s: float = RETRY_S,
    ) -> None:
        self.held = False
        self._database = database
        self._name = name
        self._lock = _lock(name)
        self._start = start
        self._stop = stop
        self._retry_s = retry_s

    async def run(self) -> None:
        """Waits for the lock and holds it, until cancelled. Raises when it is lost: the supervisor starts it again."""
        if self._database.sqlite:
            await self._work(asyncio.get_running_loop().create_future())
            return
        while True:
            connection = await self._taken()
            if connection is not None:
                break
            await asyncio.sleep(self._retry_s)
        try:
            await self._work(self._hold(connection))
        finally:
            await asyncio.to_thread(_close, connection)

    async def _work(self, while_held: Awaitable[None]) -> None:
        log.info("exclusive_taken", name=self._name)
        self.held = True
        try:
            self._start()
            await while_held
        finally:
            self.held = False
            await self._stop()
            log.info("exclusive_left", name=self._name)

    async def _taken(self) -> Connection | None:
        taking = asyncio.ensure_future(asyncio.to_thread(self._take))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            connection = await taking
            if connection is not None:
                await asyncio.to_thread(_close, connection)
            raise

    def _take(self) -> Connection | None:
        """None: another has it, or the database cannot be asked."""
        try:
            return self._ask()
        except SQLAlchemyError as error:
            log.warning("exclusive_not_asked", name=self._name, error=f"{type(error).__name__}: {error}"[:300])
            return None

    def _ask(self) -> Connection | None:
        connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            query = text("SELECT pg_try_advisory_lock(:class, :key)")
            if connection.execute(query, self._lock).scalar_one():
                connection.detach()  # it is never anybody else's
                connection.execute(_SET, [{"name": name, "value": value} for name, value in LEASE.items()])
                return connection
        except BaseException:
            connection.detach()
            connection.close()
            raise
        connection.close()
        return None

    async def _hold(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(self._retry_s)
            try:
                async with asyncio.timeout(ANSWERS_WITHIN_S):
                    await asyncio.to_thread(connection.execute, text("SELECT 1"))
            except Exception as error:
                raise LockLost(f"{self._name}: {type(error).__name__}") from error


def one_at_a_time(connection: Connection, name: str) -> None:
    """Until this transaction ends, another of the same name waits here. On SQLite writers take turns anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:class, :key)"), _lock(name))


def _lock(name: str) -> dict[str, int]:
    return {"class": LOCK_CLASS, "key": zlib.crc32(name.encode()) - (1 << 31)}  # integers of four bytes


def _close(connection: Connection) -> None:
    """Closing a connection gives its locks away."""
    connection.close()
