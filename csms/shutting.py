"""A server that stops accepting forgets nobody whom it has accepted already: each of them has its protocol by then."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

# Of the loop: accept, the transport, connection_made, the first step of a task that it made, and one to spare.
STEPS = 5


class Listening(Protocol):
    def fileno(self) -> int: ...


async def shut(listeners: Iterable[Listening], close: Callable[[], None]) -> None:
    """`close` closes the server of these sockets. When it returns, connection_made was called for all that were accepted, so
    that whoever keeps the connections knows them; with TLS, that is so for those whose handshake is over.

    asyncio accepts in one step and makes the transport in a later one. A server that is closed between the two fails there,
    and the socket stays open until the collector finds it (cpython #109564); without a wait after it, nobody knows of it.
    """
    loop = asyncio.get_running_loop()
    for listener in listeners:
        loop.remove_reader(listener.fileno())  # how asyncio's own loop accepts; uvloop has another way, and no such gap
    await _steps()
    close()
    await _steps()


async def _steps() -> None:
    for _ in range(STEPS):
        await asyncio.sleep(0)
