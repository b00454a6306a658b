"""A program brings an image, has it signed, and takes a fleet to it; and what the terminal can otherwise."""

import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from sqlalchemy import select

from csms import firmware_images
from csms.alerts import Alarm, raise_alarms
from csms.models import Alert, FirmwareImage, RemoteRequest, StationSecurity
from csms.users import Role
from ocpi_bridge.api import reading
from ocpi_bridge.api.firmware import LARGEST, ROUTES
from ocpi_bridge.api.routes import ROUTES as ALL
from tests.ocpi_bridge.api.rig import CARD, NOW, Rig, problem

FILE = {"Content-Type": "application/octet-stream"}
IMAGES = "/api/v1/firmware/images"
CAMPAIGNS = "/api/v1/firmware/campaigns"
ACME = {"name": "acme 2.bin", "vendor": "Acme", "version": "2.0"}
CONTENT = b"firmware" * 100_000


async def added(rig: Rig, content: bytes = CONTENT, **more: str) -> Any:
    async with rig.client(Role.ADMIN) as client:
        return await client.post(IMAGES, params={**ACME, **more}, content=content, headers=FILE)


# ---- images -----------------------------------------------------------------------------------------------------------


async def test_an_image_is_brought_and_signed_once(rig: Rig) -> None:  # R06
    response = await added(rig)
    assert response.status_code == 201, response.text
    image = response.json()
    kept = rig.folder / firmware_images.FOLDER / image["name"]
    assert kept.read_bytes() == CONTENT
    assert (image["size"], image["sha256"]) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert (image["vendor"], image["model"], image["signed"], image["added_by"]) == ("Acme", None, False, "api:admin")
    assert image["name"].endswith("acme-2.bin")
    problem(await added(rig), 409, "image_exists")
    signature = {"certificate": "-----BEGIN...", "signature": base64.b64encode(b"s").decode()}
    async with rig.client(Role.ADMIN) as client:
        signed = await client.put(f"{IMAGES}/{image['id']}/signature", json=signature)
        assert (signed.status_code, signed.json()["signed"]) == (200, True)
        problem(await client.put(f"{IMAGES}/{image['id']}/signature", json=signature), 409, "update_refused")
        problem(await client.put(f"{IMAGES}/99/signature", json=signature), 404, "unknown_image")
    assert sorted(kept.parent.iterdir()) == [kept]  # nothing unfinished is left


async def test_an_image_that_cannot_be_is_refused_and_leaves_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    problem(await added(rig, b""), 400, "no_file")
    for name in ("../../evil", "a/b", "..\\b", "", "\x01"):
        assert (await added(rig, name=name)).status_code == 400
    async with rig.client(Role.ADMIN) as client:
        problem(await client.post(IMAGES, params=ACME, content=b"x"), 415, "wrong_content_type")
        problem(await client.post(IMAGES, params={"vendor": "Acme"}, content=b"x", headers=FILE), 400, "bad_parameter")
        announced = {**FILE, "Content-Length": str(LARGEST + 1)}
        problem(await client.post(IMAGES, params=ACME, content=b"x", headers=announced), 413, "too_large")

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 1000

        [route] = [route for route in ROUTES if route.method == "POST" and route.path == "/firmware/images"]
        monkeypatch.setattr(type(route.body), "most", property(lambda _: 2500), raising=False)
        problem(await client.post(IMAGES, params=ACME, content=pieces(), headers=FILE), 413, "too_large")
    for role in (Role.VIEWER, Role.OPERATOR):
        async with rig.client(role) as client:
            problem(await client.post(IMAGES, params=ACME, content=b"x", headers=FILE), 403, "not_allowed")
    folder = rig.folder / firmware_images.FOLDER
    assert not folder.exists() or list(folder.iterdir()) == []
    with rig.database.read() as connection:
        assert connection.execute(select(FirmwareImage.id)).all() == []


# ---- campaigns --------------------------------------------------------------------------------------------------------


async def test_a_campaign_is_drafted_started_paused_and_ended(rig: Rig) -> None:  # R08
    rig.import_network()
    for station_id in ("CP1", "CP2"):
        rig.say(station_id, vendor="Acme", model="X1", firmware_version="1.0")
    image = (await added(rig)).json()["id"]
    async with rig.client(Role.ADMIN) as client:
        drafted = await client.post(CAMPAIGNS, json={"vendor": "Acme", "wave_size": 5})
        assert drafted.status_code == 201, drafted.text
        address = drafted.headers["location"]
        told = drafted.json()
        assert (told["state"], told["image"], told["to_come"], told["created_by"]) == ("draft", None, 2, "api:admin")
        problem(await client.post(f"{address}/start", json={}), 409, "campaign_refused")
        problem(await client.post(f"{address}/start", json={"image": 99}), 404, "unknown_image")
        started = (await client.post(f"{address}/start", json={"image": image})).json()
        assert (started["state"], started["image"]) == ("canary", image)
        paused = (await client.post(f"{address}/pause")).json()
        assert (paused["state"], paused["detail"]) == ("paused", "paused by api:admin")
        problem(await client.post(f"{address}/pause"), 409, "campaign_refused")
        assert (await client.post(f"{address}/cancel")).json()["state"] == "cancelled"
        problem(await client.get(f"{CAMPAIGNS}/99"), 404, "unknown_campaign")
        problem(await client.post(CAMPAIGNS, json={"vendor": "Other", "image": image}), 409, "campaign_refused")
    async with rig.client(Role.VIEWER) as client:
        [listed] = (await client.get(CAMPAIGNS)).json()["items"]
        assert listed == (await client.get(address)).json()
        assert (listed["installed"], listed["failed"], listed["under_way"], listed["to_come"]) == (0, 0, 0, 2)


# ---- what the terminal can otherwise ----------------------------------------------------------------------------------


async def test_an_alert_is_closed_by_who_has_looked_and_opens_again_when_it_returns(rig: Rig) -> None:
    alarm = Alarm(kind="upload_failed", subject="1", station_id="CP1", detail={"why": "x"})
    with rig.database.write() as connection:
        raise_alarms(connection, [alarm], NOW)
    async with rig.client(Role.OPERATOR) as client:
        [alert] = (await client.get("/api/v1/alerts?open=true")).json()["items"]
        address = f"/api/v1/alerts/{alert['id']}/close"
        closed = (await client.post(address)).json()
        assert (closed["closed_by"], closed["closed_at"] is not None) == ("api:operator", True)
        assert (await client.post(address)).json() == closed  # the first who said so
        problem(await client.post("/api/v1/alerts/99/close"), 404, "unknown_alert")
        with rig.database.write() as connection:
            raise_alarms(connection, [alarm], NOW)
        [again] = (await client.get("/api/v1/alerts?open=true")).json()["items"]
        assert (again["id"], again["closed_by"]) == (alert["id"], None)
    with rig.database.read() as connection:
        assert connection.execute(select(Alert.closed_by)).scalar() is None


async def test_a_charge_is_started_where_a_code_was_scanned(rig: Rig) -> None:  # R01
    rig.import_network()
    async with rig.client(Role.OPERATOR) as client:
        scanned = {"at": "https://charge.example/e/CP1-1", "id_token": CARD}
        sent = await client.post("/api/v1/starts", json=scanned)
        assert sent.status_code == 202, sent.text
        asked = (await client.get(sent.headers["location"])).json()
        assert (asked["request"]["station_id"], asked["command"]["evse"]) == ("CP1", 1)
        problem(await client.post("/api/v1/starts", json={**scanned, "at": "CP9-1"}), 404, "unknown_evse")
        problem(await client.post("/api/v1/starts", json={**scanned, "connector": "7"}), 404, "unknown_evse")
        problem(await client.post("/api/v1/starts", json={**scanned, "id_token": "nobodys"}), 404, "unknown_card")


async def test_authorities_are_made_and_profiles_raised(rig: Rig) -> None:
    rig.import_network()
    async with rig.client(Role.ADMIN) as client:
        assert (await client.get("/api/v1/certificate-authorities")).json() == {"items": []}
        for _ in range(2):
            made = await client.put("/api/v1/certificate-authorities/ecdsa")
            assert made.status_code == 200, made.text
            assert made.json()["certificate"].startswith("-----BEGIN CERTIFICATE-----")
        assert (await client.get("/api/v1/certificate-authorities")).json() == {"items": [made.json()]}
        problem(await client.put("/api/v1/certificate-authorities/dsa"), 404, "unknown_address")
        address = "/api/v1/stations/CP1/security-profile/raise"
        problem(await client.post(address, json={"profile": 1}), 409, "not_now")  # it has no password
        rotated = await client.post("/api/v1/stations/CP1/password")
        assert rotated.status_code == 202
        assert (await client.post(address, json={"profile": 1})).status_code == 202
        problem(await client.post(address, json={"profile": 2}), 409, "not_now")  # there is no wss here
        problem(
            await client.post("/api/v1/stations/CP9/security-profile/raise", json={"profile": 1}),
            404,
            "unknown_station",
        )
    with rig.database.read() as connection:
        kept = connection.execute(select(RemoteRequest.command)).scalars().all()
        assert connection.execute(select(StationSecurity.next_password_hash)).scalar() is not None
    assert {command["key"] for command in kept} == {"AuthorizationKey", "SecurityProfile"}


def test_a_file_is_described_as_one() -> None:
    from ocpi_bridge.api.openapi import document

    described = document(ALL, "http://test")["paths"]["/api/v1/firmware/images"]["post"]
    assert list(described["requestBody"]["content"]) == [reading.FILE]
    assert {"200", "201", "413", "415"} & set(described["responses"]) == {"201", "413", "415"}


@pytest.fixture(autouse=True)
def _nothing_unfinished(rig: Rig) -> Iterator[None]:
    yield
    assert list(rig.folder.rglob("*.part")) == []
