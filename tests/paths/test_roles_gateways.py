"""A station that comes to another gateway is there at once, whatever became of the one it left."""

import asyncio

import pytest
from sqlalchemy import select
from websockets.exceptions import ConnectionClosed

from csms.models import Connection, Station
from tests.paths.charger import Charger, charging_point
from tests.paths.plain_charger import plain_charger
from tests.paths.records import records_of
from tests.paths.roles import Deployment
from tests.paths.service import OWN_CARDS, PASSWORD, STATIONS

NAME = STATIONS[0]
WITHIN_S = 10.0  # on a busy machine; alone it is hundredths of a second


async def is_started(deployment: Deployment, charger: Charger) -> None:
    """An operator's command finds it where it is."""
    told = asyncio.create_task(deployment.command("station", "command", NAME, "remote-start", OWN_CARDS[0], "1"))
    await charger.asked_for("RemoteStartTransaction")
    assert "accepted" in await told


@pytest.mark.timeout(300)
async def test_a_station_that_comes_to_another_gateway_leaves_the_first_though_that_be_dead(  # B14, T9
    deployment: Deployment,
) -> None:
    await deployment.open("gateway-1", "gateway-2", "worker-1")
    first_url, second_url = deployment.ocpp_urls
    where = select(Station.connection_id).where(Station.station_id == NAME)
    with records_of(deployment.database_url) as records:
        async with plain_charger(first_url, NAME) as first:
            await first.boot()
            async with charging_point(second_url, NAME, PASSWORD) as second:
                began = asyncio.get_running_loop().time()
                await second.boot()
                with pytest.raises(ConnectionClosed) as closed:
                    async with asyncio.timeout(WITHIN_S):
                        await first.heard()
                print(f"the older socket was closed after {asyncio.get_running_loop().time() - began:.3f} s")
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1008
                await is_started(deployment, second)
                deployment.kill("gateway-2")

        # Its gateway is dead: it is offline until it is at the other.
        await records.until(where, lambda rows: rows == [(None,)])
        async with charging_point(first_url, NAME, PASSWORD) as charger:
            await charger.boot()
            await records.until(where, lambda rows: rows[0][0] is not None)
            await is_started(deployment, charger)

            # Whom an operator refuses, the gateway sends away.
            await deployment.command("station", "refuse", NAME)
            with pytest.raises(ConnectionClosed) as closed:
                async with asyncio.timeout(WITHIN_S):
                    await charger.listening
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1008
        sockets = select(Connection.close_reason).order_by(Connection.opened_at)
        told = [reason for (reason,) in await records.until(sockets, lambda rows: len(rows) == 3)]
        assert told[:2] == ["replaced by a newer connection", "its gateway died"]
