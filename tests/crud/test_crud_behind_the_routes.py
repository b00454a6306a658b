"""Our crud and adapter as a partner meets them: behind py_ocpi's routes."""

import base64
import json
from datetime import timedelta
from decimal import Decimal

import httpx
import pytest

from adapters import Adapter
from crud import Crud
from crud.cdrs import CdrsCrud
from crud.commands import CommandsCrud
from crud.current import CurrentState
from crud.locations import LocationsCrud
from crud.sessions import SessionsCrud
from crud.tariffs import TariffsCrud
from crud.tokens import TokensCrud
from csms.commands import Answer, Outcome
from csms.journal import Wake
from csms.remote import RemoteControl
from ocpi_bridge.ocpi_app import create_ocpi_app
from tests.adapters.field_tables import problems, vector
from tests.adapters.rows import NOON, charge_record, cost, periods, tariff, transaction
from tests.crud.network import OTHER, TNM, add, partners, site

SESSION = "5f0f8a2e-7c1b-4a55-9d0e-2b6f1f3c9a10"
TOKEN = vector("tokens__put")
TOKEN_PATH = "/tokens/NL/TNM/012345678"


class Directory:
    async def caller(self, presented, working):
        callers = {"tnm-token": TNM, "other-token": OTHER}
        return next((callers[each.token] for each in presented if each.token in callers), None)


@pytest.fixture
def modules(database):
    add(database, *partners())
    site(database)
    add(database, tariff(), transaction(SESSION, tariff=1), charge_record(SESSION, tariff=1))

    async def send(command, *, timeout_s):
        return Answer(outcome=Outcome.ACCEPTED)

    async def allowed(url):
        return True

    remote = RemoteControl(database, send=send, wake=Wake(), clock=lambda: NOON)
    return {
        "locations": LocationsCrud(database),
        "sessions": SessionsCrud(database, lambda connection, row: (periods(4_000_000, 1), cost())),
        "cdrs": CdrsCrud(database),
        "tariffs": TariffsCrud(database),
        "tokens": TokensCrud(database, clock=lambda: NOON),
        "commands": CommandsCrud(database, remote, url_allowed=allowed, clock=lambda: NOON),
    }


@pytest.fixture
async def partner(modules):
    app = create_ocpi_app(
        crud=Crud(modules),
        adapter=Adapter(),
        partners=Directory(),
        credentials=None,
        public_url="https://cpo.example",
        our_parties={("BE", "BEC")},
        clock=lambda: NOON,
    )
    base = "http://cpo.example/cpo/2.2.1"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base) as client:

        async def call(method, path, *, token="tnm-token", **more):
            headers = {"Authorization": f"Token {base64.b64encode(token.encode()).decode()}"}
            return await client.request(method, base + path, headers=headers, **more)

        yield call


async def data(answer, status=200):
    assert answer.status_code == status, answer.text
    envelope = json.loads(answer.text, parse_float=Decimal)
    assert envelope["status_code"] == 1000, answer.text
    return envelope.get("data")


async def test_each_list_holds_whole_objects(partner):  # TR-15, TR-14
    since = {"date_from": "2026-03-01T00:00:00Z"}
    for path, kind in (("/locations", "Location"), ("/sessions", "Session"), ("/cdrs", "CDR"), ("/tariffs", "Tariff")):
        answer = await partner("GET", path, params=since)
        (body,) = await data(answer)
        assert problems(body, kind) == []
        assert answer.headers["X-Total-Count"] == "1"


async def test_a_location_its_evse_and_its_connector_are_read_in_any_case(partner):  # LO-01, TY-04, TR-20
    location = await data(await partner("GET", "/locations/loc1"))
    evse = await data(await partner("GET", "/locations/LOC1/cp001-2"))
    connector = await data(await partner("GET", "/locations/LOC1/CP001-2/1"))

    assert location["id"] == "LOC1"
    assert (evse["uid"], connector["id"]) == ("CP001-2", "1")
    assert problems(evse, "EVSE") == []
    assert problems(connector, "Connector") == []
    for nowhere in ("/locations/LOC9", "/locations/LOC1/CP001-9", "/locations/LOC1/CP001-2/9"):
        assert (await partner("GET", nowhere)).status_code == 404


async def test_another_partner_sees_no_session_and_no_cdr(partner):  # XT-06
    for path in ("/sessions?date_from=2026-03-01T00:00:00Z", "/cdrs"):
        answer = await partner("GET", path, token="other-token")
        assert await data(answer) == []
        assert answer.headers["X-Total-Count"] == "0"


async def test_a_token_is_put_read_patched_and_put_again(partner):  # TK-01, TK-03, TK-04
    await data(await partner("PUT", TOKEN_PATH, json=TOKEN), 201)
    assert await data(await partner("GET", TOKEN_PATH)) == TOKEN
    await data(await partner("PATCH", TOKEN_PATH, json={"group_id": None, "last_updated": "2019-06-19T02:11:11Z"}))
    patched = await data(await partner("GET", TOKEN_PATH))
    assert patched == {name: value for name, value in TOKEN.items() if name != "group_id"} | {
        "last_updated": "2019-06-19T02:11:11Z"
    }
    await data(await partner("PUT", TOKEN_PATH, json=TOKEN | {"last_updated": "2020-01-01T00:00:00Z"}))

    assert (await partner("GET", TOKEN_PATH, params={"type": "OTHER"})).status_code == 404
    assert (await partner("GET", TOKEN_PATH, token="other-token")).status_code == 404


async def test_an_accepted_command_is_answered_at_once(partner):  # CM-02
    start = {"response_url": "https://emsp.example/1", "token": TOKEN, "location_id": "LOC1", "evse_uid": "CP001-1"}
    stop = {"response_url": "https://emsp.example/1", "session_id": SESSION}

    for command, body in (("START_SESSION", start), ("STOP_SESSION", stop)):
        response = await data(await partner("POST", f"/commands/{command}", json=body))
        assert problems(response, "CommandResponse") == []
        assert response["result"] == "ACCEPTED"


async def test_a_command_that_is_not_accepted_says_why(partner):  # CM-09, CM-30
    start = {"response_url": "https://emsp.example/1", "token": TOKEN, "location_id": "LOC9"}
    stop = {"response_url": "https://emsp.example/1", "session_id": SESSION}

    nowhere = await partner("POST", "/commands/START_SESSION", json=start)
    foreign = await data(await partner("POST", "/commands/STOP_SESSION", json=stop, token="other-token"))

    assert nowhere.json()["status_code"] == 2003
    assert foreign["result"] == "UNKNOWN_SESSION"


def test_push_sends_what_the_lists_show(modules, database):  # PU-14
    current = CurrentState(**{name: modules[name] for name in ("locations", "sessions", "cdrs", "tariffs")})

    with database.read() as connection:
        told = {
            module: current(connection, module, id)
            for module, id in (
                *(("locations", "1"), ("evses", "2"), ("tariffs", "1")),
                *(("sessions", SESSION), ("cdrs", charge_record().id)),
            )
        }
        assert current(connection, "evses", "99") is None
        assert current(connection, "sessions", "99") is None

    assert told["evses"] == told["locations"]["evses"][1]
    assert told["sessions"]["last_updated"] == "2026-03-04T12:00:00Z"
    assert told["cdrs"]["last_updated"] == (NOON + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
