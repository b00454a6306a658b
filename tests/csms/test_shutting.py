"""A server that stops accepting knows everybody whom it accepted."""

import asyncio
from typing import Any

import pytest
import uvloop

from csms.shutting import shut
from tests.listening import MOMENTS, comes_at, is_let_go, listening

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}

pytestmark = [pytest.mark.parametrize("loop", LOOPS), pytest.mark.parametrize("moment", MOMENTS)]


def test_who_comes_as_a_server_closes_is_known_or_let_go(loop: str, moment: int) -> None:
    async def story() -> None:
        made: list[Any] = []

        class Kept(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                made.append(transport)

        server = await asyncio.get_running_loop().create_server(Kept, "127.0.0.1", 0)
        line = await comes_at(moment, server.sockets[0].getsockname()[1])
        await shut(server.sockets, server.close)
        for transport in made:
            transport.abort()
        await is_let_go(line)

    LOOPS[loop](story())


def test_a_server_of_streams_ends_with_its_connections(loop: str, moment: int) -> None:
    async def never(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def story() -> None:
        async with listening(never) as port:
            line = await comes_at(moment, port)
        await is_let_go(line)

    LOOPS[loop](story())
