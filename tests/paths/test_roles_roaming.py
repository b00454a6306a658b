"""A driver roams where gateways, workers and api are processes of their own."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.paths.balancer import balancer
from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.roles import Deployment
from tests.paths.service import PASSWORD

PATIENCE_S = 20.0
DRIVER = "04E1D2C3B4A5AA"


@pytest.mark.timeout(300)
async def test_a_driver_roams_through_any_gateway_and_any_api(  # B02, B14, K09
    deployment: Deployment, emsp: Emsp
) -> None:
    await deployment.open()
    async with balancer(deployment.front_port, deployment.api_ports) as front:
        await one_worker_leads(deployment)
        await each_role_has_its_own_routes_only(deployment)
        await a_driver_roams(deployment, emsp)
    assert min(front.carried[port] for port in deployment.api_ports) > 2


async def a_driver_roams(deployment: Deployment, emsp: Emsp) -> None:
    partner = await emsp.party("NL-RLS", kind="C")
    await partner.register(*await deployment.invite("Roles"))
    card = await partner.issue(DRIVER, listed=False)
    await partner.push(card)
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)

    # K02, K03, K04: a tap at the second gateway; session and bill reach the card's owner.
    async with charging_point(deployment.ocpp_urls[1], "GENT-1", PASSWORD) as charger:
        await charger.boot()
        await charger.status("Available")
        assert await charger.authorize(DRIVER) == "Accepted"
        started = await charger.begin(DRIVER, at=began)
        await charger.meter(started.transaction_id, 2000, at=began + timedelta(minutes=4))
        session = await partner.session("ACTIVE", kwh=1)
        await charger.finish(started.transaction_id, 3000, at=began + timedelta(minutes=8), uid=DRIVER)
        await charger.status("Available")
        assert (await partner.session("COMPLETED"))["id"] == session["id"]
        cdr = await partner.cdr()
        assert (cdr["session_id"], cdr["total_energy"]) == (session["id"], 2)
        assert cdr["total_cost"] == {"excl_vat": 1, "incl_vat": 1.15}

        # C08, K05: the api asks, and the gateway that holds the charger carries it there.
        start = {"token": card, "location_id": "LOC1", "evse_uid": "GENT-1-1", "authorization_reference": "ROLES-1"}
        assert (await partner.command("START_SESSION", start))["result"] == "ACCEPTED"
        asked = await charger.asked_for("RemoteStartTransaction")
        assert asked["connector_id"] == 1

        # An operator's command is queued by a process of its own, and a worker carries it to the gateway.
        assert "BEC" not in await deployment.command("station", "command", "GENT-1", "get-configuration")
    assert await partner.list("cdrs") == [cdr]
    await partner.is_content()


async def one_worker_leads(deployment: Deployment) -> None:
    """It alone tells what is measured in the database."""
    leads, clocks, both = "roambridge_leads 1.0", "roambridge_stations_by_clock_skew{", "roambridge_bus_workers 2.0"
    async with httpx.AsyncClient(trust_env=False, verify=False) as client, asyncio.timeout(PATIENCE_S):
        while True:
            urls = [f"http://{deployment.metrics[name]}/metrics" for name in ("worker-1", "worker-2")]
            texts = [(await client.get(url)).text for url in urls]
            told = [(leads in text, clocks in text, both in text) for text in texts]
            if sorted(told) == [(False, False, True), (True, True, True)]:
                return
            await asyncio.sleep(0.1)


async def each_role_has_its_own_routes_only(deployment: Deployment) -> None:
    async with httpx.AsyncClient(trust_env=False, verify=False) as client:
        for name in deployment.NAMES:
            apart = f"http://{deployment.metrics[name]}"
            assert (await client.get(f"{apart}/health/live")).json() == {"status": "alive"}
            assert (await client.get(f"{apart}/metrics")).status_code == 200
            for path in ("/api/v1/stations", "/ocpi/versions", "/api/docs", "/firmware/x"):
                assert (await client.get(apart + path)).status_code == 404
        for url in deployment.ocpp_urls:
            door = url.replace("ws://", "http://").removesuffix("/ocpp")
            for path in ("/api/v1/stations", "/ocpi/versions", "/metrics", "/health/live"):
                assert (await client.get(door + path)).status_code == 426
        front = deployment.public_url
        assert (await client.get(f"{front}/health/ready")).json() == {"status": "ready"}
        assert (await client.get(f"{front}/metrics")).status_code == 404
        assert (await client.get(f"{front}/ocpi/versions")).status_code == 401
