"""A thousand stations come back at once: all are answered, nothing they say is lost, and those who stayed are served."""

import os

import pytest
from sqlalchemy import func, select

from csms.database import Database
from csms.events import ConnectorStatus
from csms.models import Evse, MeterSampleRow, StationBoot
from ocpi_bridge.main import allow_many_files
from tests.bench.load import Charger
from tests.csms.gateway_and_core import live
from tests.paths.storm import Returning, weather

STAYING, COMING = 100, 1_000
PASSWORD = "storm-of-a-thousand"


@pytest.mark.alone
@pytest.mark.parametrize("dialect", ["sqlite"])
async def test_a_storm_is_weathered_and_those_who_stay_are_served(database: Database) -> None:  # X07
    allow_many_files()
    staying = [Charger(number) for number in range(STAYING)]
    coming = [Returning(f"BACK{number}", PASSWORD) for number in range(COMING)]
    async with live(database) as story:
        story.site(*(charger.station_id for charger in (*staying, *coming)), evses=1, password=PASSWORD)
        for charger in staying:
            await charger.connect(story.url, PASSWORD)
        weathered = await weather(story.gateway.port, os.getpid(), staying, coming)
        assert story.gateway.counts["refused"] == story.gateway.counts["told_later"] == 0
        for charger in staying:
            await charger.close()
    with database.read() as connection:
        boots = connection.execute(select(StationBoot.station_id)).scalars()
        assert sorted(boots) == sorted(charger.station_id for charger in (*staying, *coming))
        told = select(func.count()).select_from(Evse).where(Evse.status == ConnectorStatus.AVAILABLE.value)
        assert connection.execute(told).scalar() == COMING
        kept = connection.execute(select(func.count()).select_from(MeterSampleRow)).scalar()
        assert kept == weathered.answers
    assert weathered.p99_ms < 5_000  # 1,000 is the target of a machine that does nothing else
