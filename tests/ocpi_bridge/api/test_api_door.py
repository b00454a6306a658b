"""Who may ask what of the operator API, and how every no sounds."""

import asyncio
import threading
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from csms import users
from csms.users import Role
from ocpi_bridge.api import OperatorApi
from ocpi_bridge.api.app import THREADS
from ocpi_bridge.api.asked import Route
from ocpi_bridge.api.keys import KEPT_S, Keys
from ocpi_bridge.api.routes import ROUTES
from tests.csms.gateway.gateway_rig import gateway_running
from tests.ocpi_bridge.api.rig import NOW, Rig, problem

ORDER = list(Role)


def address(path: str) -> str:
    for name, value in {
        "station_id": "CP1",
        "transaction": "1",
        "key": "K",
        "fingerprint": "ab",
        "id": "1",
        "algorithm": "rsa",
    }.items():
        path = path.replace("{" + name + "}", value)
    return f"/api/v1{path}"


async def test_without_a_key_only_the_description_can_be_read(rig: Rig) -> None:
    async with rig.client(None) as client:
        for route in ROUTES:
            response = await client.request(route.method, address(route.path))
            problem(response, 401, "no_key")
            assert response.headers["www-authenticate"].startswith("Bearer")
        problem(await client.get("/api/v1/nothing"), 401, "no_key")
        described = await client.get("/api/v1/openapi.json")
        assert (described.status_code, described.json()["openapi"]) == (200, "3.1.0")
        page = await client.get("/api/docs")
        assert (page.status_code, "/api/v1/stations/{station_id}/commands" in page.text) == (200, True)
        assert "http://" not in page.text
        assert "https://" not in page.text
        assert "<script" not in page.text


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer x", "Basic eDp5", "Bearer " + "x" * 10_000, "Bearer \xff"])
async def test_what_is_no_key_opens_nothing(rig: Rig, header: str) -> None:
    async with rig.client(None) as client:
        response = await client.get("/api/v1/stations", headers={"Authorization": header.encode("latin-1")})
        problem(response, 401, "no_key")


async def test_each_route_opens_to_its_role_and_those_above(rig: Rig) -> None:  # P02
    for role in Role:
        async with rig.client(role) as client:
            for route in ROUTES:
                if route.live:
                    continue
                response = await client.request(route.method, address(route.path))
                allowed = ORDER.index(role) >= ORDER.index(route.role)
                assert (response.status_code == 403) is not allowed, (role, route.method, route.path)


async def test_no_route_that_changes_anything_is_a_viewers() -> None:
    assert [route.path for route in ROUTES if route.method != "GET" and route.role is Role.VIEWER] == []
    assert [route.path for route in ROUTES if "key" in route.path.split("/")[1]] == []  # keys are made by command only


async def test_a_revoked_key_opens_nothing_within_a_second(rig: Rig) -> None:
    assert KEPT_S < 1
    now = [0.0]
    keys = Keys(rig.database, clock=lambda: now[0])
    key = rig.keys[Role.VIEWER]
    assert keys.remembered(key) is None
    holder = keys.look_up(key)
    assert holder is not None
    with rig.database.write() as connection:
        users.revoke_key(connection, holder.prefix, NOW)
    assert keys.remembered(key) == holder  # a moment longer, so that a busy program does not ask each time
    now[0] = KEPT_S
    assert keys.remembered(key) is None
    assert keys.look_up(key) is None


async def test_unknown_addresses_and_methods_are_problems(rig: Rig) -> None:
    async with rig.client() as client:
        problem(await client.get("/api/v1/nothing"), 404, "unknown_address")
        problem(await client.get("/api/v1"), 404, "unknown_address")
        refused = await client.delete("/api/v1/stations")
        problem(refused, 405, "wrong_method")
        assert set(refused.headers["allow"].replace(" ", "").split(",")) == {"GET", "HEAD"}
        problem(await client.get("/api/v1/stations/CP9"), 404, "unknown_station")
        problem(await client.get("/api/v1/alerts/x"), 404, "unknown_address")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("nothing=1", "unknown_parameter"),
        ("limit=1&limit=2", "repeated_parameter"),
        ("limit=0", "bad_parameter"),
        ("limit=1001", "bad_parameter"),
        ("limit=" + "9" * 5000, "bad_parameter"),
        ("limit=x", "bad_parameter"),
        ("online=perhaps", "bad_parameter"),
        ("city=%00", "bad_parameter"),
        ("city=" + "x" * 300, "bad_parameter"),
        ("admission=friendly", "bad_parameter"),
    ],
)
async def test_a_parameter_that_means_nothing_is_refused(rig: Rig, query: str, code: str) -> None:
    async with rig.client() as client:
        problem(await client.get(f"/api/v1/stations?{query}"), 400, code)


@pytest.mark.parametrize("since", ["yesterday", "2026-05-01T12:00:00", "2026-13-01T00:00:00Z", "2026-05-01"])
async def test_a_time_without_a_zone_is_no_time(rig: Rig, since: str) -> None:
    async with rig.client() as client:
        problem(await client.get("/api/v1/transactions", params={"since": since}), 400, "bad_parameter")


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"])
@pytest.mark.parametrize("path", ["transactions", "messages"])
@pytest.mark.parametrize("name", ["since", "until"])
async def test_a_time_beyond_the_calendar_is_no_mistake_of_ours(rig: Rig, path: str, name: str, since: str) -> None:
    async with rig.client() as client:
        response = await client.get(f"/api/v1/{path}", params={name: since})
        assert response.status_code in (200, 422), response.text


@pytest.mark.parametrize("after", ["x", "-1", "9" * 30, "2026|", "٣"])
@pytest.mark.parametrize("path", ["transactions", "commands", "messages", "reviews"])
async def test_a_cursor_that_is_none_of_ours_is_refused(rig: Rig, path: str, after: str) -> None:
    async with rig.client() as client:
        response = await client.get(f"/api/v1/{path}", params={"after": after})
        assert response.status_code in (400, 404), response.text


@pytest.mark.parametrize(
    ("content", "type_", "status", "code"),
    [
        (b"", "application/json", 400, "no_json"),
        (b"{", "application/json", 400, "no_json"),
        (b"\xff\xfe", "application/json", 400, "no_json"),
        (b"[" * 100_000, "application/json", 422, "bad_body"),
        (b"{}", "text/plain", 415, "wrong_content_type"),
        (b"{}", "", 415, "wrong_content_type"),
        (b"[]", "application/json", 422, "bad_body"),
        (b"{}", "application/json", 422, "bad_body"),
        (b'{"uid":1}', "application/json", 422, "bad_body"),
        (b'{"uid":"04\\u0000"}', "application/json", 422, "bad_body"),
        (b'{"uid":"04","fleet":1}', "application/json", 422, "bad_body"),
        (b'{"uid":"04","flet":true}', "application/json", 422, "bad_body"),
        (b'{"uid":"04","expires_at":"soon"}', "application/json", 422, "bad_body"),
        (b'{"uid":"' + b"x" * 2_000_000 + b'"}', "application/json", 413, "too_large"),
    ],
)
async def test_a_body_that_cannot_be_used_is_refused(
    rig: Rig, content: bytes, type_: str, status: int, code: str
) -> None:
    async with rig.client() as client:
        response = await client.post("/api/v1/tokens", content=content, headers={"Content-Type": type_})
        problem(response, status, code)


async def test_answers_are_kept_by_nobody_in_between(rig: Rig) -> None:
    async with rig.client() as client:
        for path in ("stations", "nothing"):
            response = await client.get(f"/api/v1/{path}")
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["x-content-type-options"] == "nosniff"


async def test_the_description_is_whole(rig: Rig) -> None:  # P02
    async with rig.client(None) as client:
        described = (await client.get("/api/v1/openapi.json")).json()
    operations = [o for path in described["paths"].values() for o in path.values()]
    assert len(operations) == len(ROUTES)
    assert len({operation["operationId"] for operation in operations}) == len(ROUTES)
    known = described["components"]["schemas"]

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                assert value["$ref"].rpartition("/")[2] in known
            for entry in value.values():
                check(entry)
        elif isinstance(value, list):
            for entry in value:
                check(entry)

    check(described)
    money = known["ChargeRecordRow"]["properties"]["total_incl_vat"]
    assert money["type"] == "string"


async def test_the_gateways_listener_has_none_of_it() -> None:  # B02
    async with gateway_running() as gateway, httpx.AsyncClient() as client:
        for path in ("/api/v1/stations", "/api/docs", "/ocpi/versions", "/metrics", "/console", "/uploads/1/x"):
            response = await client.get(f"http://127.0.0.1:{gateway.port}{path}")
            assert response.status_code in (404, 426), path


async def test_a_busy_api_takes_no_thread_from_the_chargers(rig: Rig) -> None:  # B02
    go_on, begun = threading.Event(), threading.Semaphore(0)

    def slow(_: Any) -> None:
        begun.release()
        go_on.wait(60)

    route = Route(method="GET", path="/slow", role=Role.VIEWER, summary="-", handler=slow, status=204)
    api = OperatorApi(rig.api._given, routes=[route])
    app = Starlette(routes=[api.mount()])
    headers = {"Authorization": f"Bearer {rig.keys[Role.VIEWER]}"}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        asked = [asyncio.create_task(client.get("/api/v1/slow", headers=headers)) for _ in range(40)]
        for _ in range(THREADS):
            assert await asyncio.to_thread(begun.acquire, timeout=30)
        assert not begun.acquire(blocking=False)  # the others wait for their turn
        async with asyncio.timeout(30):
            assert await asyncio.to_thread(lambda: "at once") == "at once"
        go_on.set()
        assert {response.status_code for response in await asyncio.gather(*asked)} == {204}
    await api.close()
