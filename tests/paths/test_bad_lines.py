"""Through a box on the way that forgets, swallows, delays and cuts: a charger is seen to be gone in time, and nothing that it
says is lost or doubled.

Times are a three-hundredth of those in the field: 270 s is 0.9 s, a ping every 40-50 s one each 0.15 s.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ocpp.v16 import call
from websockets.exceptions import ConnectionClosed

from csms.database import Database
from csms.models import Connection, Transaction
from tests.paths.charger import Charger, Lost
from tests.paths.field import LIMIT_S, Field, field

SCALE = 300
FORGETS_S = 270 / SCALE  # B10
HALF_AN_HOUR_S = 1800 / SCALE
PINGS: dict[str, Any] = {
    "ping_interval_s": (40 / SCALE, 50 / SCALE),
    "pong_timeout_s": 20 / SCALE * 3,
    "probe_grace_s": 0.01,
}
NO_PINGS: dict[str, Any] = {"ping_interval_s": (3600.0, 3600.0)}


@pytest.fixture
def dialect() -> str:
    return "sqlite"  # what is shown here is no matter of the database's


async def idle_for_half_an_hour(field: Field) -> bool:
    """Whether a charger that says nothing is still heard after it."""
    async with field.charger() as charger:
        await charger.boot()
        field.box.forgets_after_s = FORGETS_S
        await asyncio.sleep(HALF_AN_HOUR_S)
        try:
            async with asyncio.timeout(1):
                await charger.say(call.Heartbeat())
        except (TimeoutError, Lost, ConnectionClosed):
            return False
        finally:
            field.box.break_all()
        return True


async def test_a_box_that_forgets_idle_flows_does_not_forget_ours(database: Database) -> None:  # B10, T7
    async with field(database, **PINGS) as kept:
        assert await idle_for_half_an_hour(kept)
        assert len(kept.rows(Connection)) == 1


async def test_without_pings_the_same_box_forgets_the_charger(database: Database) -> None:  # B10: the box is a real one
    async with field(database, **NO_PINGS) as lost:
        assert not await idle_for_half_an_hour(lost)


async def test_a_path_that_swallows_everything_is_noticed_within_two_pings(database: Database) -> None:  # B09
    async with field(database, **PINGS) as dark, dark.charger() as charger:
        await charger.boot()
        await dark.until(lambda: dark.station().connection_id is not None)
        dark.box.swallows = True
        began = asyncio.get_running_loop().time()
        await dark.until(lambda: dark.station().connection_id is None)
        noticed_s = asyncio.get_running_loop().time() - began
        most_s = PINGS["ping_interval_s"][1] + PINGS["pong_timeout_s"] + 1.0
        assert noticed_s < most_s  # a second for this machine and the batch that writes it
        assert dark.station().offline_since is not None
        dark.box.break_all()


CARD = "04A1B2C3D4"


async def begin(charger: Charger, at: datetime) -> int:
    answer = await charger.begin(CARD, at=at)
    assert answer.id_tag_info["status"] == "Accepted"
    return int(answer.transaction_id)


async def again_until_answered(field: Field, say: Any) -> Any:
    """As a charger does: a message without an answer is sent again over the next connection."""
    for _ in range(5):
        try:
            async with field.charger() as charger, asyncio.timeout(LIMIT_S):
                await charger.boot()
                return await say(charger)
        except (Lost, ConnectionClosed, OSError):
            continue
    raise AssertionError("five connections in a row broke")


@pytest.mark.parametrize("bytes_carried", [0, 1, 5, 60, 150])
@pytest.mark.parametrize("way", ["cut_after", "cut_back_after"])
async def test_a_frame_that_is_cut_is_neither_lost_nor_doubled(  # E03, X02
    database: Database, bytes_carried: int, way: str
) -> None:
    began = datetime.now(UTC) - timedelta(minutes=5)
    async with field(database, **PINGS) as cut:

        async def cut_then(say: Any) -> Any:
            broken = False

            async def said(charger: Charger) -> Any:
                nonlocal broken
                if not broken:
                    broken = True
                    setattr(cut.box, way, bytes_carried)
                return await say(charger)

            return await again_until_answered(cut, said)

        number = await cut_then(lambda charger: begin(charger, began))
        await cut_then(lambda charger: charger.meter(number, 1400, at=began + timedelta(minutes=2)))
        await cut_then(lambda charger: charger.finish(number, 1800, at=began + timedelta(minutes=4)))
        (transaction,) = cut.rows(Transaction)
        assert (transaction.number, transaction.state, transaction.energy_mwh) == (number, "ended", 800_000)
        assert transaction.sample_count == 1
        assert cut.bills() == (1, 0)


async def test_a_half_open_socket_is_replaced_at_once_and_shuts_nobody_out(database: Database) -> None:  # T9
    async with field(database, **NO_PINGS) as half:
        began = datetime.now(UTC) - timedelta(minutes=5)
        async with half.charger() as charger:
            await charger.boot()
            number = await begin(charger, began)
            half.box.flows[-1].half_open()
            with pytest.raises((Lost, ConnectionClosed)):
                await charger.meter(number, 1400, at=began + timedelta(minutes=2))
        async with half.charger() as charger:  # ours still holds the old one
            assert await begin(charger, began) == number
            await charger.meter(number, 1400, at=began + timedelta(minutes=2))
            await charger.finish(number, 1800, at=began + timedelta(minutes=4))
        (transaction,) = half.rows(Transaction)
        assert (transaction.state, transaction.energy_mwh, transaction.sample_count) == ("ended", 800_000, 1)
        assert half.bills() == (1, 0)


async def test_a_slow_line_delays_and_changes_nothing(database: Database) -> None:
    async with field(database, **{**PINGS, "pong_timeout_s": 5.0}) as slow, slow.charger() as charger:
        await charger.boot()
        slow.box.delay_s = 0.3
        began = datetime.now(UTC) - timedelta(minutes=5)
        number = await begin(charger, began)
        await charger.meter(number, 1400, at=began + timedelta(minutes=2))
        await charger.finish(number, 1800, at=began + timedelta(minutes=4))
        (transaction,) = slow.rows(Transaction)
        assert (transaction.state, transaction.energy_mwh) == ("ended", 800_000)
        assert slow.bills() == (1, 0)
        assert len(slow.rows(Connection)) == 1
