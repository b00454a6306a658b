"""Our crud and adapter as a partner meets them: behind py_ocpi's routes."""

import base64
from datetime import timedelta

import pytest

from crud.current import CurrentState
from tests.adapters.field_tables import problems, vector
from tests.adapters.rows import NOON, charge_record
from tests.crud.network import OTHER, TNM
from tests.crud.routes import OURS, SESSION, Directory, crud_over, data, routes_over

TOKEN = vector("tokens__put")
TOKEN_PATH = "/tokens/NL/TNM/012345678"


DIRECTORY = Directory({"tnm-token": TNM, "other-token": OTHER}, encoded=True)


@pytest.fixture
def modules(database):
    return crud_over(database)


@pytest.fixture
async def partner(modules):
    async with routes_over(modules, DIRECTORY) as client:

        async def call(method, path, *, token="tnm-token", **more):
            headers = {"Authorization": f"Token {base64.b64encode(token.encode()).decode()}"}
            return await client.request(method, f"{OURS}/2.2.1{path}", headers=headers, **more)

        yield call


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
