"""The service that runs says how money is rounded, for every process and command that prices."""

import asyncio
from collections.abc import Callable
from typing import Any

from csms.billing.pricing import TO_FOUR_DECIMALS, Rounding
from csms.billing.roundings import rounding_of
from csms.database import Database
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

LIMIT_S = 30


async def test_the_setting_is_what_everybody_rounds_by(
    cli: Callable[..., Any], environment: Callable[..., None], database: Database
) -> None:  # TC-27
    for setting, euros in (
        ("EUR:2,JPY:0", Rounding(2)),
        ("EUR:1:even", Rounding(1, to_even=True)),
        ("", TO_FOUR_DECIMALS),
    ):
        environment(
            MONEY_DECIMALS=setting,
            OCPP_LISTEN="127.0.0.1:0",
            HTTP_LISTEN="127.0.0.1:0",
            PUBLIC_URL="http://127.0.0.1:1",
        )
        service = Service(load())
        async with asyncio.timeout(LIMIT_S):
            await service.start()
            await service.stop()
        with database.read() as connection:
            assert rounding_of(connection, "EUR") == euros
            assert rounding_of(connection, "JPY") == (Rounding(0) if "JPY" in setting else TO_FOUR_DECIMALS)
