"""A core with its gateway on a real socket and a box in front of it that can fail: chargers of any kind may come."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import select

from csms.billing.charge_records import bill
from csms.bus import LoggedFrame
from csms.core import Csms
from csms.database import Database
from csms.gateway.connections import Connections
from csms.gateway.server import Gateway, GatewaySettings
from csms.journal import FactType, Subscriber, Wake
from csms.models import ChargeRecord, Review, Station
from tests.csms.core_story import Story
from tests.paths.charger import charging_point
from tests.paths.middlebox import Middlebox, middlebox

LIMIT_S = 30


class Field:
    """A core, its gateway and the box in front of it."""

    def __init__(self, database: Database, csms: Csms, gateway: Gateway, box: Middlebox, log: "FrameLog") -> None:
        self.database = database
        self.csms = csms
        self.gateway = gateway
        self.box = box
        self.log = log

    def charger(self, station_id: str = "CP1") -> Any:
        return charging_point(f"ws://127.0.0.1:{self.box.port}/ocpp", station_id, "none is set")

    def rows(self, model: Any) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(select(model.__table__)))

    def station(self) -> Any:
        return next(row for row in self.rows(Station) if row.station_id == "CP1")

    async def until(self, true: Any) -> None:
        async with asyncio.timeout(LIMIT_S):
            while not true():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.02)

    def bills(self) -> tuple[int, int]:
        Subscriber("billing", self.database, bill, wake=Wake(), types=[FactType.TRANSACTION_ENDED]).catch_up()
        return len(self.rows(ChargeRecord)), len(self.rows(Review))


@asynccontextmanager
async def field(database: Database, **settings: Any) -> AsyncIterator[Field]:
    story = Story(database)  # its sites and cards; the clock here is the world's
    story.site("CP1", evses=2)
    story.tariff()
    story.card()
    connections, log = Connections(), FrameLog()
    csms = Csms(database, send=connections.send, wake=Wake(), our_party=("BE", "BEC"), follow_up=False)
    gateway = Gateway(
        settings=GatewaySettings(port=0, **settings),
        connections=connections,
        report=csms.report,
        credentials=csms.stations,
        presence=csms.stations,
        message_log=log,
    )
    running = asyncio.create_task(csms.run())
    await gateway.start()
    try:
        async with middlebox(gateway.port) as box:
            yield Field(database, csms, gateway, box, log)
    finally:
        await gateway.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await csms.close()
        await story.csms.close()


class FrameLog:
    def __init__(self) -> None:
        self.frames: list[LoggedFrame] = []

    def record(self, frame: LoggedFrame, /) -> None:
        self.frames.append(frame)
