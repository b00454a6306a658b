"""An HTTP listener keeps idle connections, and leaves none when it stops, nor waits for who asked for nothing."""

import asyncio

import httpx
import pytest
import uvicorn
from starlette.responses import Response

from ocpi_bridge.emsp_simulator import EmspSimulator
from ocpi_bridge.listener import QuietServer, WebServer
from ocpi_bridge.settings import Address
from tests.listening import MOMENTS, comes_at, is_let_go

LONG_S = 600
USUAL_REST_S = 6  # httpx closes after five seconds, as uvicorn would by itself


@pytest.mark.parametrize("moment", MOMENTS)
async def test_who_comes_as_it_stops_is_let_go_and_holds_up_nobody(moment: int) -> None:
    line = None

    class Watched(QuietServer):
        async def shutdown(self, sockets: object = None) -> None:
            nonlocal line
            line = await comes_at(moment, self.servers[0].sockets[0].getsockname()[1])
            await super().shutdown()

    config = uvicorn.Config(
        Response(), port=0, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=LONG_S
    )
    server = Watched(config)
    server.should_exit = True  # as soon as it has started
    async with asyncio.timeout(30):
        await server.serve()
    assert line is not None
    await is_let_go(line)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_who_comes_as_a_simulated_partner_leaves_is_let_go(moment: int) -> None:
    async with EmspSimulator() as emsp:
        line = await comes_at(moment, int(emsp.base_url.rpartition(":")[2]))
    await is_let_go(line)


async def test_who_is_connected_and_says_nothing_is_let_go() -> None:
    web = WebServer(Response(), Address("127.0.0.1", 0))
    await web.start()
    line = await comes_at(MOMENTS[-1], web.port)
    await web.stop()
    await is_let_go(line)


async def test_a_connection_that_rested_longer_than_clients_keep_theirs_is_still_served() -> None:
    web = WebServer(Response(), Address("127.0.0.1", 0))
    await web.start()
    limits = httpx.Limits(keepalive_expiry=3600)
    ports = set()
    async with httpx.AsyncClient(trust_env=False, limits=limits) as client:
        for rest_s in (USUAL_REST_S, 0):
            async with client.stream("GET", f"http://127.0.0.1:{web.port}/") as answer:
                ports.add(answer.extensions["network_stream"].get_extra_info("client_addr"))
                await answer.aread()
            await asyncio.sleep(rest_s)
    await web.stop()
    assert len(ports) == 1
