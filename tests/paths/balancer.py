"""A load balancer as simple as can be: each connection goes to the next process that takes it."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.listening import listening


class Balancer:
    """`carried`: connections by port behind it."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.carried: Counter[int] = Counter()
        self._ports = list(ports)

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await self._next()
        if behind is None:
            return
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_copy(reader, behind[1]))
                both.create_task(_copy(behind[0], writer))
        finally:  # a copy that is cancelled before it began closes nothing
            behind[1].transport.abort()
            writer.transport.abort()

    async def _next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._ports:
            self._ports.append(port := self._ports.pop(0))
            with contextlib.suppress(OSError):
                streams = await asyncio.open_connection("127.0.0.1", port)
                self.carried[port] += 1
                return streams
        return None


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()


@asynccontextmanager
async def balancer(port: int, ports: Sequence[int]) -> AsyncIterator[Balancer]:
    balancer = Balancer(ports)
    async with listening(balancer.carry, port=port):
        yield balancer
