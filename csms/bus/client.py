"""Redis, asked once: nothing is repeated behind the back of whoever knows what bears repeating."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, cast

from hiredis import pack_command
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

ANSWER_S: Final = 10.0  # longer than any read that waits there
CONNECT_S: Final = 5.0

# What asking may raise, TimeoutError among it; what was under way may have happened.
AWAY: Final = (RedisError, OSError)

__all__ = ["AWAY", "Client", "PubSub", "ResponseError"]


class Client:
    """Any number of connections to one Redis. Answers are RESP2's, texts in them bytes."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(
            url,
            protocol=2,
            socket_timeout=None,  # with one, each write is a task of its own (wait_for), which swallows cancellations on 3.11
            socket_connect_timeout=CONNECT_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def ask(self, *command: Any, **options: Any) -> Any:
        """`options` are redis-py's, of how it reads the answer."""
        async with asyncio.timeout(ANSWER_S):
            return await cast(Any, self._redis).execute_command(*command, **options)

    async def script(self, text: str, keys: Sequence[str], *arguments: Any) -> Any:
        return await self.ask("EVAL", text, len(keys), *keys, *arguments)

    async def write(self, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """All in one round trip; a command that Redis refused answers with its exception."""
        line = self.line()
        try:
            return await line.write(commands)
        finally:
            await line.give_back()

    def line(self) -> "Line":
        return Line(self._redis.connection_pool)

    def pubsub(self) -> PubSub:
        return self._redis.pubsub()

    async def close(self) -> None:
        await self._redis.aclose()


class Line:
    """One connection, kept by one who talks all the time: a round trip costs a third of `Client.ask`. One at a time. Answers
    come as Redis gives them. Packed by hiredis: redis-py's pipeline takes twice as long."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._connection: Any = None

    async def ask(self, *command: Any) -> Any:
        [answer] = await self.write([command])
        if isinstance(answer, ResponseError):
            raise answer
        return answer

    async def write(self, commands: Sequence[tuple[Any, ...]]) -> Sequence[Any]:
        """All in one round trip; a command that Redis refused answers with its exception."""
        async with asyncio.timeout(ANSWER_S):
            if self._connection is None:
                self._connection = await self._pool.get_connection()
            try:
                await self._connection.send_packed_command(list(map(pack_command, commands)), check_health=False)
                return [await _answer(self._connection) for _ in commands]
            except BaseException:  # what it would answer next, nobody waits for
                await self._connection.disconnect(nowait=True)
                await self.give_back()
                raise

    async def give_back(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)


async def _answer(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as refused:
        return refused
