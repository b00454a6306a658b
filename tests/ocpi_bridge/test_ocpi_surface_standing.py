"""The OCPI surface stands alone or under another application, and shows what it has without side effects."""

import base64
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from crud.caller import Caller
from ocpi_bridge.ocpi_app import create_ocpi_app

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
PUBLIC_URL = "https://cpo.example"
LISTS = ("locations", "sessions", "cdrs", "tariffs")
EMSP = Caller(partner_id=1, name="emsp", token_state="C", our_party=("BE", "BEC"), roles=(("NL", "TNM", "EMSP"),))
HEADERS = {"Authorization": "Token " + base64.b64encode(b"token-c").decode()}


class OnePartner:
    async def caller(self, presented: Any, _working: bool, /) -> Caller | None:
        return EMSP if any(reading.token == "token-c" for reading in presented) else None


class Lists:
    """Three objects of each kind; `asked` is what a list was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def list(self, module: Any, role: Any, filters: Mapping[str, Any], /, **options: Any) -> Any:
        self.asked.append((module.value, filters))
        found = [{"id": f"{module.value}-{number}"} for number in range(3)]
        page = found[filters["offset"] : filters["offset"] + filters["limit"]]
        return page, len(found), filters["offset"] + len(page) >= len(found)


class Shaped:
    def location_adapter(self, data: Any, version: Any) -> Any:
        return data

    session_adapter = cdr_adapter = tariff_adapter = location_adapter


@pytest.fixture
def lists() -> Lists:
    return Lists()


@pytest.fixture
def ocpi(lists: Lists) -> FastAPI:
    return create_ocpi_app(
        crud=lists,  # type: ignore[arg-type]
        adapter=Shaped(),  # type: ignore[arg-type]
        partners=OnePartner(),
        credentials=None,  # type: ignore[arg-type]
        public_url=PUBLIC_URL,
        our_parties={("BE", "BEC")},
        clock=lambda: NOW,
    )


def client(app: Any, base: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://ocpi{base}", headers=HEADERS)


@pytest.fixture
async def partner(ocpi: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client(Starlette(routes=[Mount("/ocpi", ocpi)]), "/ocpi") as partner:
        yield partner


def test_the_surface_is_an_asgi_application_on_fastapi(ocpi: FastAPI) -> None:  # K07
    assert isinstance(ocpi, FastAPI)


@pytest.mark.parametrize("mounted", [False, True], ids=["standalone", "mounted"])
async def test_the_surface_answers_alike_alone_and_mounted(ocpi: FastAPI, mounted: bool) -> None:  # K08
    app, base = (Starlette(routes=[Mount("/ocpi", ocpi)]), "/ocpi") if mounted else (ocpi, "")
    async with client(app, base) as partner:
        versions = (await partner.get("/versions")).json()
        spoken = {each["version"]: each["url"] for each in versions["data"]}
        assert spoken == {version: f"{PUBLIC_URL}/ocpi/{version}" for version in ("2.1.1", "2.2.1")}
        answer = await partner.get("/cpo/2.2.1/locations?limit=2")
        assert [each["id"] for each in answer.json()["data"]] == ["locations-0", "locations-1"]
        assert answer.headers["link"].startswith(f"<{PUBLIC_URL}/ocpi/cpo/2.2.1/locations?")


async def test_version_details_name_each_endpoint_with_its_role(partner: httpx.AsyncClient) -> None:  # VE-02, VE-10
    details = (await partner.get("/2.2.1")).json()["data"]
    assert details["version"] == "2.2.1"
    assert all(set(endpoint) == {"identifier", "role", "url"} for endpoint in details["endpoints"])
    roles = {endpoint["identifier"]: endpoint["role"] for endpoint in details["endpoints"]}
    assert {name: roles[name] for name in LISTS} == dict.fromkeys(LISTS, "SENDER")
    assert (roles["tokens"], roles["commands"]) == ("RECEIVER", "RECEIVER")
    assert all(endpoint["url"].startswith(f"{PUBLIC_URL}/ocpi/") for endpoint in details["endpoints"])


async def test_asking_for_versions_touches_nothing(partner: httpx.AsyncClient, lists: Lists) -> None:  # VE-08
    answers = [(await partner.get("/versions")).json() for _ in range(3)]
    assert [answer["status_code"] for answer in answers] == [1000, 1000, 1000]
    assert lists.asked == []


@pytest.mark.parametrize("module", LISTS)
async def test_every_sender_module_has_its_list_with_dates_and_pages(  # PG-01, PG-15, TR-25
    partner: httpx.AsyncClient, lists: Lists, module: str
) -> None:
    query = {"date_from": "2026-01-01T00:00:00Z", "date_to": "2027-01-01T00:00:00Z", "offset": "1", "limit": "1"}
    body = (await partner.get(f"/cpo/2.2.1/{module}", params=query)).json()
    assert (body["status_code"], [each["id"] for each in body["data"]]) == (1000, [f"{module}-1"])
    ((asked, filters),) = lists.asked
    assert asked == module
    assert (filters["offset"], filters["limit"]) == (1, 1)
    assert (filters["date_from"].year, filters["date_to"].year) == (2026, 2027)


@pytest.mark.parametrize("module", LISTS)
async def test_the_same_address_gives_the_same_page(partner: httpx.AsyncClient, module: str) -> None:  # PG-11
    url = f"/cpo/2.2.1/{module}?date_from=2026-01-01T00:00:00Z&limit=2"
    first, second = (await partner.get(url)), (await partner.get(url))
    assert first.json()["data"] == second.json()["data"]
    assert first.headers["link"] == second.headers["link"]


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT", "PATCH"])
async def test_our_own_objects_are_only_read(partner: httpx.AsyncClient, method: str) -> None:  # LO-11
    answer = await partner.request(method, "/cpo/2.2.1/locations/LOC1", json={})
    assert answer.status_code == 405
    assert answer.json()["status_code"] >= 2000
