"""The operator API over a database of its own, with a key for each role."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml
from sqlalchemy import insert, update
from starlette.applications import Starlette

from csms import message_store, users
from csms.bus import LoggedFrame
from csms.database import Database
from csms.import_network import import_network
from csms.models import Station
from csms.network_file import read
from csms.sealing import Vault
from csms.users import Role
from ocpi_bridge.api import OperatorApi, Surroundings

NOW = datetime.now(UTC).replace(microsecond=0)
CARD = "04A1B2C3D4"
MASKED = "04******D4"

CONNECTOR = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
}


def site(name: str, city: str, *station_ids: str) -> dict[str, Any]:
    return {
        "id": name,
        "name": name,
        "address": "Street 1",
        "city": city,
        "postal_code": "9000",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "time_zone": "Europe/Brussels",
        "publish": True,
        "stations": [
            {"id": id_, "evses": [{"evse": 1, "uid": f"{id_}-1", "connectors": [CONNECTOR]}]} for id_ in station_ids
        ],
    }


def network() -> str:
    locations = [site("GENT", "Gent", "CP1", "CP2"), site("BRUGGE", "Brugge", "CP3")]
    return yaml.safe_dump({"locations": locations, "tokens": [{"uid": CARD, "contract_id": "BE-BEC-1", "valid": True}]})


class Rig:
    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        with database.write() as connection:
            self.keys = {role: users.create_key(connection, role.value, role, NOW) for role in Role}
        self.api = OperatorApi(
            Surroundings(
                database=database,
                clock=lambda: NOW,
                our_party=("BE", "BEC"),
                operator_name="Operator",
                public_url="http://test",
                data_dir=folder,
                vault=Vault("a secret key of the tests"),
                file_key=b"k" * 32,
                quirks_of=lambda vendor, model, firmware: [f"odd-{vendor}"] if vendor else [],
            )
        )
        self.app = Starlette(routes=[self.api.mount()])

    def client(self, role: Role | None = Role.ADMIN, **options: Any) -> httpx.AsyncClient:
        headers = {} if role is None else {"Authorization": f"Bearer {self.keys[role]}"}
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.app), base_url="http://test", headers=headers, **options
        )

    def import_network(self) -> None:
        with self.database.write() as connection:
            import_network(connection, read(network()), default_party=("BE", "BEC"), operator_name="Operator", now=NOW)

    def insert(self, table: Any, **values: Any) -> None:
        with self.database.write() as connection:
            connection.execute(insert(table).values(**values))

    def say(self, station_id: str, **values: Any) -> None:
        """What a station's row says."""
        with self.database.write() as connection:
            connection.execute(update(Station).where(Station.station_id == station_id).values(**values))

    def log(self, *frames: LoggedFrame) -> None:
        with self.database.write_log() as connection:
            message_store.write(connection, frames)


def frame(direction: str, type_: str, id_: str, action: str, text: str, **more: Any) -> LoggedFrame:
    return LoggedFrame(
        at=NOW + timedelta(milliseconds=more.pop("ms", 0)),
        station_id=more.pop("station_id", "CP1"),
        ocpp_version="1.6",
        direction=direction,
        message_type=type_,
        message_id=id_,
        action=action,
        text=text,
        **more,
    )


AUTHORIZE = frame("in", "call", "7", "Authorize", f'[2,"7","Authorize",{{"idTag":"{CARD}"}}]')
AUTHORIZED = frame(
    "out",
    "result",
    "7",
    "Authorize",
    f'[3,"7",{{"idTagInfo":{{"status":"Accepted","parentIdTag":"{CARD}"}}}}]',
    latency_ms=4.2,
    ms=4,
)


@asynccontextmanager
async def running(database: Database, folder: Path) -> AsyncIterator[Rig]:
    rig = Rig(database, folder)
    try:
        yield rig
    finally:
        await rig.api.close()


def problem(response: httpx.Response, status: int, code: str) -> Mapping[str, Any]:
    """The problem document of a no."""
    assert (response.status_code, response.headers["content-type"]) == (status, "application/problem+json"), (
        response.text
    )
    told: Mapping[str, Any] = response.json()
    assert (told["status"], told["code"]) == (status, code), told
    return told
