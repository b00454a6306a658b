"""A running service and a simulated charger with a display: its driver sees the price, the cost and the final cost."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import insert

from csms.database import Database
from csms.models import ActualSetting
from csms.simulator.charge_point import ChargePoint
from csms.simulator.profile import Profile
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load
from tests.csms.core_story import Story

Cli = Callable[..., Any]
PASSWORD = "a-charger-key-of-the-tests"
LIMIT_S = 30


@pytest.fixture
async def service(cli: Cli, environment: Callable[..., None]) -> AsyncIterator[Service]:
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0", PUBLIC_URL="http://127.0.0.1:1")
    service = Service(load())
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    yield service
    async with asyncio.timeout(LIMIT_S):
        await service.stop()


async def test_a_display_shows_what_the_session_costs(service: Service, database: Database) -> None:  # X14
    operator = Story(database)
    operator.tariff()
    operator.site("CP1", password=PASSWORD)
    operator.card()
    with database.write() as connection:
        told = {"key": "CustomDisplayCostAndPrice", "value": "true", "readonly": True, "read_at": datetime.now(UTC)}
        connection.execute(insert(ActualSetting).values(station_id="CP1", **told))
    url = f"ws://127.0.0.1:{service.gateway.port}/ocpp"
    profile = Profile(station_id="CP1", url=url, password=PASSWORD, shows_cost=True, register_start_mwh=0)

    async with ChargePoint(profile) as charger, asyncio.timeout(LIMIT_S):

        async def shown(count: int) -> None:
            while len(charger.displayed) < count:  # noqa: ASYNC110 - what the display shows is no event here
                await asyncio.sleep(0.02)

        await charger.start()
        await charger.plug(1)
        await charger.start_transaction(1, "04A1B2C3D4")
        await shown(1)
        await charger.clock.advance(600)
        await charger.meter_values(1)
        await shown(2)
        transaction = await charger.stop_transaction(1)
        await shown(3)
        await charger.unplug(1)
        await shown(4)

    assert transaction is not None
    price, running, final, again = charger.displayed
    assert price == ("SetUserPrice", {"idToken": "04A1B2C3D4", "priceText": "0.30 EUR/kWh"})
    assert (running[0], running[1]["transactionId"]) == ("RunningCost", transaction.transaction_id)
    assert running[1]["cost"] == 0.55  # 11 kW for ten minutes at 0.30 a kWh
    assert final == again
    assert (final[0], final[1]["cost"]) == ("FinalCost", 0.55)
    unplugged = [exchange for exchange in charger.exchanges if exchange.action == "DataTransfer"]
    assert [exchange.answer for exchange in unplugged] == [{"status": "Accepted"}]
