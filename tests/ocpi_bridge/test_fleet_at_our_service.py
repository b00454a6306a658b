"""A fleet lives at the whole service, is cut off and comes back, and the database holds all that was acknowledged, once."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update

from csms.database import Database
from csms.import_network import import_network
from csms.models import MeterSampleRow, Transaction
from csms.simulator import network_file
from csms.simulator.lean_charger import Habits
from csms.simulator.lean_line import Address
from csms.simulator.load import LoadPlan, run_load
from ocpi_bridge.fleet_check import losses
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

Cli = Callable[..., Any]
PASSWORD = "a-fleet-key-of-the-tests"
STATIONS = 60
LIMIT_S = 60


@pytest.fixture
async def service(cli: Cli, environment: Callable[..., None], database: Database) -> AsyncIterator[Service]:
    numbers = [f"{number:05d}" for number in range(1, STATIONS + 1)]
    document = network_file.document(
        [f"SIM{number}" for number in numbers], [f"SIMCARD{number}" for number in numbers], password=PASSWORD
    )
    with database.write() as connection:
        import_network(connection, document, default_party=("BE", "BEC"), operator_name="Fleet", now=datetime.now(UTC))
    environment(OCPP_LISTEN="127.0.0.1:0", HTTP_LISTEN="127.0.0.1:0")
    service = Service(load())
    async with asyncio.timeout(LIMIT_S):
        await service.start()
    yield service
    async with asyncio.timeout(LIMIT_S):
        await service.stop()


def url(service: Service) -> str:
    return f"ws://127.0.0.1:{service.gateway.port}/ocpp"


async def test_nothing_is_lost_in_a_storm_and_in_offline_bursts(  # A01, P14, X07
    cli: Cli, service: Service, database_url: str, database: Database
) -> None:
    life = ("--stations", str(STATIONS), "--password", PASSWORD, "--duration", "4", "--ramp", "0.5", "--json")
    habits = ("--heartbeat", "1", "--charging", "0.5", "--sample-interval", "0.4", "--charge", "1.5")
    faults = ("--offline", "0.3", "--storm-at", "2.2", "--storm-share", "0.8")
    check = ("--check-database", database_url, "--metrics", f"http://127.0.0.1:{service.web.port}/metrics")
    async with asyncio.timeout(LIMIT_S):
        result = await asyncio.to_thread(
            cli, "simulate", "fleet", "--url", url(service), *life, *habits, *faults, *check
        )
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["up"], told["losses"], told["checked"]) == (STATIONS, [], True)
    assert told["reconnects"]["calls"] == 48
    assert told["calls"]["refused"] == told["calls"]["silent"] == 0
    assert told["delivered_late"] > 0
    assert told["transactions"] >= 30  # thirty charge, again and again
    with database.read() as connection:
        assert len(connection.execute(select(Transaction.id)).all()) == told["transactions"]
        assert len(connection.execute(select(MeterSampleRow.event_id)).all()) == told["samples"]
        assert connection.execute(select(Transaction.id).where(Transaction.ended_at.is_(None))).all() == []


async def test_a_fleet_without_cards_that_count_is_told_so(cli: Cli, service: Service) -> None:
    life = ("--stations", "2", "--password", PASSWORD, "--duration", "0.5", "--ramp", "0", "--charging", "1")
    async with asyncio.timeout(LIMIT_S):
        result = await asyncio.to_thread(
            cli, "simulate", "fleet", "--url", url(service), *life, "--sample-interval", "0.2", "--token-prefix", "NO"
        )
    assert result.exit_code == 1
    assert "lost: 2 cards refused" in result.output


@pytest.mark.parametrize(
    ("address", "code", "why"),
    [
        ("nonsense", 2, "no database's address"),
        ("mysql://somebody@127.0.0.1/x", 2, "neither sqlite nor postgresql"),
        ("sqlite:///FOLDER/nowhere.db", 2, "there is no file"),
        ("sqlite:///FOLDER/empty.db", 1, "no tables yet"),
        ("postgresql://nobody@127.0.0.1:1/x", 1, "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_checked_is_told_before_anything_is_played(
    cli: Cli, tmp_path: Path, address: str, code: int, why: str
) -> None:
    (tmp_path / "empty.db").touch()
    wanted = address.replace("FOLDER", str(tmp_path))
    result = cli("simulate", "fleet", "--url", "ws://127.0.0.1:1/ocpp", "--duration", "1", "--check-database", wanted)
    assert (result.exit_code, result.stdout) == (code, "")
    assert why in " ".join(result.stderr.replace("│", " ").split())
    assert [path.name for path in tmp_path.glob("nowhere*")] == []


async def test_whatever_is_missing_differs_or_is_there_twice_is_found(
    service: Service, database: Database, database_url: str
) -> None:
    began = datetime.now(UTC)
    habits = Habits(address=Address.of(url(service)), password=PASSWORD, sample_s=0.2)
    plan = LoadPlan(stations=5, habits=habits, duration_s=2.0, ramp_s=0.0, charging=1.0)
    async with asyncio.timeout(LIMIT_S):
        played = (await run_load(plan)).tally.played

    def found() -> list[str]:
        return losses(database_url, played, since=began)

    assert found() == []
    by_station = {one.station_id: one for one in played}
    with database.write() as connection:
        ids = dict(connection.execute(select(Transaction.station_id, Transaction.id)).all())  # type: ignore[arg-type]
        sample = select(MeterSampleRow.__table__).order_by(MeterSampleRow.received_at)
        first = {name: connection.execute(sample.filter_by(station_id=name)).mappings().first() for name in ids}
        of = MeterSampleRow.event_id
        connection.execute(delete(MeterSampleRow).where(of == first["SIM00001"]["event_id"]))  # type: ignore[index]
        twice = dict(first["SIM00002"]) | {"event_id": "again"}  # type: ignore[arg-type]
        connection.execute(insert(MeterSampleRow.__table__).values(twice))
        changes: dict[str, dict[str, Any]] = {
            "SIM00003": {"ended_at": None},
            "SIM00004": {"meter_stop_mwh": 1, "meter_start_mwh": 2},
            "SIM00005": {"number": 2_000_000},
        }
        for name, values in changes.items():
            connection.execute(update(Transaction).where(Transaction.id == ids[name]).values(**values))
    number = {name: one.number for name, one in by_station.items()}
    samples = by_station["SIM00001"].samples
    assert set(found()) == {
        f"SIM00001, transaction {number['SIM00001']}: {samples - 1} samples of {samples} that were acknowledged "
        f"({samples} sent)",
        f"SIM00002, transaction {number['SIM00002']}: 1 samples are there twice",
        f"SIM00003, transaction {number['SIM00003']}: the acknowledged end is not there",
        f"SIM00004, transaction {number['SIM00004']}: begins at 2 mWh, its charger said "
        f"{by_station['SIM00004'].meter_start_wh} Wh",
        f"SIM00004, transaction {number['SIM00004']}: ends at 1 mWh, its charger said otherwise",
        f"SIM00005, transaction {number['SIM00005']}: the acknowledged start is not there",
    }
    with database.write() as connection:
        row = connection.execute(select(Transaction.__table__).filter_by(station_id="SIM00002")).mappings().one()
        again = dict(row) | {"id": "again", "number": 2_000_001, "dedup_key": "again"}
        connection.execute(insert(Transaction.__table__).values(again))
    assert "SIM00002: 2 transactions, its charger knows of 1" in found()
    assert any("is there 2 times" in line for line in found())
