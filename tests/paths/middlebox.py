"""What stands between a charger and us: a box on the way that forgets idle flows, swallows, holds up and cuts what it carries.

It is a TCP proxy that speaks no protocol. Each way of failing is one that networks have; `Middlebox` is told at any moment.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.listening import listening


class Flow:
    """One connection through the box. `dead`: nothing is carried any more, and neither side is told."""

    def __init__(self, box: "Middlebox", inner: asyncio.StreamWriter, outer: asyncio.StreamWriter) -> None:
        self.box = box
        self.writers = (inner, outer)
        self.dead = False
        self.last_carried = asyncio.get_running_loop().time()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upward: bool) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65536):
            now = loop.time()
            if self.box.forgets_after_s is not None and now - self.last_carried > self.box.forgets_after_s:
                self.dead = True
            if self.dead or self.box.swallows:
                continue
            self.last_carried = now
            if self.box.delay_s:
                await asyncio.sleep(self.box.delay_s)
            cut = self.box.cut_after if upward else self.box.cut_back_after
            if cut is not None:
                writer.write(data[:cut])
                await writer.drain()
                self.box.cut_after = self.box.cut_back_after = None
                self.reset()
                return
            writer.write(data)
            await writer.drain()
        if not (self.dead or self.box.swallows):
            writer.close()

    def reset(self) -> None:
        """Both sides see the connection break at once (RST)."""
        for writer in self.writers:
            raw = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def half_open(self) -> None:
        """The charger's side is gone; ours is not told."""
        self.dead = True
        self.writers[0].transport.abort()


class Middlebox:
    """`cut_after`: of the next bytes towards us only so many are carried, then the connection breaks; `cut_back_after` the
    same towards the charger."""

    def __init__(self, port: int) -> None:
        self.to_port = port
        self.port = 0
        self.forgets_after_s: float | None = None
        self.swallows = False
        self.delay_s = 0.0
        self.cut_after: int | None = None
        self.cut_back_after: int | None = None
        self.flows: list[Flow] = []

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.to_port)
        flow = Flow(self, writer, up_writer)
        self.flows.append(flow)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(quietly(flow.carry(reader, up_writer, upward=True)))
                both.create_task(quietly(flow.carry(up_reader, writer, upward=False)))
        finally:
            for each in flow.writers:
                each.transport.abort()

    def break_all(self) -> None:
        """The box is switched off: whoever waits for the other side learns it now."""
        for flow in self.flows:
            flow.reset()


async def quietly(carrying: object) -> None:
    with contextlib.suppress(OSError):
        await carrying  # type: ignore[misc]


@asynccontextmanager
async def middlebox(port: int) -> AsyncIterator[Middlebox]:
    box = Middlebox(port)
    async with listening(box.carry) as box.port:
        try:
            yield box
        finally:
            box.break_all()
