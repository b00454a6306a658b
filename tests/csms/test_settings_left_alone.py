"""What a station is known to ignore is not written to it at each Boot; what somebody wishes for is."""

from collections.abc import Container

from sqlalchemy import update

from csms import configuration
from csms.database import Database
from csms.models import Station
from tests.csms.core_story import NOON
from tests.csms.test_after_boot import Charger, followed, following, provision


def minute(vendor: str, _model: str, _firmware: str | None) -> Container[str]:
    return {"HeartbeatInterval"} if vendor == "Acme" else ()


async def test_a_setting_that_a_vendor_ignores_is_left_alone(database: Database) -> None:  # Q03
    provision(database, "CP1", "CP2")
    with database.write() as connection:
        connection.execute(update(Station).where(Station.station_id == "CP1").values(vendor="Acme"))
    for station_id, changed in (
        ("CP1", {"WebSocketPingInterval": "60"}),
        ("CP2", {"HeartbeatInterval": "300", "WebSocketPingInterval": "60"}),
    ):
        charger = Charger(HeartbeatInterval="60", WebSocketPingInterval="300")
        async with following(database, charger, left_alone=minute) as follow:
            await followed(follow, charger, station_id)
            assert charger.changed() == changed


async def test_what_somebody_wishes_for_is_set_all_the_same(database: Database) -> None:  # Q03
    provision(database, "CP1")
    with database.write() as connection:
        connection.execute(update(Station).values(vendor="Acme"))
        configuration.wish(connection, "CP1", "HeartbeatInterval", "120", wished_by="cli:ann", now=NOON)
    charger = Charger(HeartbeatInterval="60", WebSocketPingInterval="60")
    async with following(database, charger, left_alone=minute) as follow:
        await followed(follow, charger)
        assert charger.changed() == {"HeartbeatInterval": "120"}
