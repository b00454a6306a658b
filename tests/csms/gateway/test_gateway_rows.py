"""Each frame of a real connection is a row of the real table, accepted or not."""

import asyncio

import pytest
from sqlalchemy import func, select
from websockets import exceptions

from csms import message_store
from csms.bus import Admission, StationCredentials
from csms.database import Database
from csms.gateway.message_log import MessageLogWriter
from csms.models import Message
from tests.csms.gateway.gateway_rig import Rig, gateway_running

MIXED = (
    '[2,"1","Heartbeat",{}]',
    "not json",
    '[2,"1","Dance",{}]',
    '[3,"late",{}]',
    '[2,"1","StartTransaction",{}]',
)
ANSWERED = 4  # of the five
REFUSED = 5


async def test_a_thousand_frames_and_refusals_are_found_as_a_thousand_rows(database: Database) -> None:  # A04, A06
    def sink(frames: object) -> None:
        with database.write_log() as connection:
            message_store.write(connection, frames)  # type: ignore[arg-type]

    rig = Rig()
    writer = MessageLogWriter(sink)
    rig.frames = writer  # type: ignore[assignment]
    rig.stations.known["CP9"] = StationCredentials(admission=Admission.UNKNOWN)
    sent = 1000 - REFUSED
    async with gateway_running(rig):
        for _ in range(REFUSED):
            with pytest.raises(exceptions.InvalidStatus):
                await rig.charger("CP9")
        async with rig.charger() as charger:

            async def read() -> None:
                for _ in range(sent * ANSWERED // len(MIXED)):
                    await charger.recv()

            reading = asyncio.create_task(read())
            for number in range(sent):
                await charger.send(MIXED[number % len(MIXED)])
            async with asyncio.timeout(30):
                await reading
    await writer.flush()
    with database.log_engine.connect() as connection:
        counts = select(Message.direction, Message.result, func.count()).group_by(Message.direction, Message.result)
        rows = {(direction, result): count for direction, result, count in connection.execute(counts)}
    came = {result: count for (direction, result), count in rows.items() if direction == "in"}
    assert sum(came.values()) == 1000
    assert came["refused"] == REFUSED
    assert set(came) == {"ok", "malformed", "unsolicited", "violation", "refused"}
    assert sum(count for (direction, _), count in rows.items() if direction == "out") == sent * ANSWERED // len(MIXED)
