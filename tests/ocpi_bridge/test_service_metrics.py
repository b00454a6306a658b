"""What Prometheus is told of the running service, and what is left of it when the database is away."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError
from websockets.asyncio.client import connect

from csms import stations
from csms.commands import Outcome, UnlockConnector
from ocpi_bridge.roles.serve import Service
from ocpi_bridge.settings import load

LIMIT_S = 30
UNLOCK = UnlockConnector(station_id="CP1", evse=1)


async def test_the_metrics_name_chargers_restarts_and_readers_that_are_behind(  # P08
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    service = Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))

    def away() -> Any:
        raise OperationalError("SELECT", {}, Exception("the database is away"))

    async with asyncio.timeout(LIMIT_S):
        await service.start()
        try:
            service.metrics.restarts.labels("watch").inc()
            async with httpx.AsyncClient(trust_env=False) as prometheus:
                url = f"http://127.0.0.1:{service.web.port}/metrics"
                lines = (await prometheus.get(url)).text.splitlines()
                monkeypatch.setattr(service.database, "read", away)
                without = await prometheus.get(url)
        finally:
            monkeypatch.undo()
            await service.stop()
    assert "roambridge_connections 0.0" in lines
    assert 'roambridge_task_restarts_total{task="watch"} 1.0' in lines
    assert "# TYPE roambridge_journal_behind gauge" in lines
    assert "# TYPE roambridge_journal_lag_seconds gauge" in lines
    assert 'roambridge_database_deadlocks_total{database="main"} 0.0' in lines
    assert "# TYPE roambridge_station_clock_skew_seconds gauge" in lines  # F01
    assert 'roambridge_stations_by_clock_skew{skew="unknown"} 0.0' in lines
    assert 'roambridge_waiting_for_a_person{what="bill older"} 0.0' in lines  # E12
    assert "# TYPE roambridge_gateway_events_total counter" in lines
    assert (without.status_code, "roambridge_connections 0.0" in without.text) == (200, True)


async def test_metrics_may_have_an_address_of_their_own(tmp_path: Path) -> None:  # P08
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "METRICS_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    service = Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))
    found: dict[str, list[int]] = {}
    async with asyncio.timeout(LIMIT_S):
        await service.start()
        try:
            (apart,) = service.status
            async with httpx.AsyncClient(trust_env=False) as client:
                for path in ("/metrics", "/health/live", "/health/ready", "/ocpi/versions"):
                    urls = (f"http://127.0.0.1:{listener.port}{path}" for listener in (service.web, apart))
                    found[path] = [(await client.get(url)).status_code for url in urls]
        finally:
            await service.stop()
    assert found == {
        "/metrics": [404, 200],
        "/health/live": [200, 200],
        "/health/ready": [200, 200],
        "/ocpi/versions": [401, 404],
    }


async def test_how_long_chargers_wait_and_how_long_they_take_is_measured_by_action(tmp_path: Path) -> None:  # B16, P08
    told = {
        "DATABASE_URL": f"sqlite:///{tmp_path / 'main.db'}",
        "DATA_DIR": str(tmp_path),
        "OCPP_LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "SECRET_KEY": "a key that only the tests have",
    }
    service = Service(load({f"ROAMBRIDGE_{name}": value for name, value in told.items()}, env_file=None))
    async with asyncio.timeout(LIMIT_S):
        await service.start()
        try:
            with service.database.write() as connection:
                stations.provision(connection, "CP1", None, datetime.now(UTC))
            url = f"ws://127.0.0.1:{service.gateway.port}/ocpp/CP1"
            async with connect(url, subprotocols=["ocpp1.6"], proxy=None) as line:  # type: ignore[list-item]
                await line.send('[2,"1","Heartbeat",{}]')
                await line.recv()
                asked = asyncio.create_task(service.connections.send(UNLOCK, timeout_s=LIMIT_S))
                _, message_id, _, _ = json.loads(await line.recv())
                await line.send(json.dumps([3, message_id, {"status": "Unlocked"}]))
                assert (await asked).outcome is Outcome.ACCEPTED
                wanted = {
                    'roambridge_answer_seconds_count{action="Heartbeat"} 1.0',
                    'roambridge_command_seconds_count{action="UnlockConnector"} 1.0',
                }
                async with httpx.AsyncClient(trust_env=False) as prometheus:
                    url = f"http://127.0.0.1:{service.web.port}/metrics"
                    while not wanted <= set((await prometheus.get(url)).text.splitlines()):
                        pass  # the message log is written in batches
        finally:
            await service.stop()
