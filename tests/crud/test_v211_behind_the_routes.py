"""Our crud and adapter as a partner of OCPI 2.1.1 meets them: the same rows behind py_ocpi's routes of that version."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from crud.current import CurrentState
from crud.locations import LocationsCrud
from crud.models import CommandCallback, Partner
from csms.models import Evse, RemoteRequest, Reservation, Token
from tests.adapters import field_tables
from tests.adapters.rows import NOON, charge_record, location, tariff
from tests.crud.network import TNM, add
from tests.crud.routes import OURS, SESSION, Directory, crud_over, data, routes_over

EMSP = replace(TNM, roles=(("DE", "TNM", "EMSP"),), version="2.1.1")
TOKEN = field_tables.vector("tokens__put", "2.1.1")
TOKEN_PATH = "/tokens/DE/TNM/012345678"
RESPONSE_URL = "https://emsp.example/1"


DIRECTORY = Directory(
    {"raw-token": EMSP, "newer": replace(EMSP, version="2.2.1"), "first": replace(EMSP, token_state="A")}, encoded=False
)


@pytest.fixture
def modules(database):
    return crud_over(database)


@pytest.fixture
async def partner(modules):
    async with routes_over(modules, DIRECTORY) as client:

        async def call(method, path, *, token="raw-token", version="2.1.1", **more):
            headers = {"Authorization": f"Token {token}"}
            return await client.request(method, f"{OURS}/{version}{path}", headers=headers, **more)

        yield call


def problems(body, kind):
    return field_tables.problems(body, kind, version="2.1.1")


def rows_of(database, table):
    with database.read() as connection:
        return connection.execute(select(table.__table__)).all()


# ---- what it reads --------------------------------------------------------------------------------------------------


async def test_each_list_holds_whole_objects_of_211(partner):  # V1-04, V1-06, V1-09, V1-10, V1-11, TR-15
    since = {"date_from": "2026-03-01T00:00:00Z"}
    for path, kind in (("/locations", "Location"), ("/sessions", "Session"), ("/cdrs", "CDR"), ("/tariffs", "Tariff")):
        answer = await partner("GET", path, params=since)
        (body,) = await data(answer)
        assert problems(body, kind) == []
        assert answer.headers["X-Total-Count"] == "1"
        assert not {"x-request-id", "x-correlation-id", "ocpi-from-party-id"} & set(answer.headers)  # V1-03


async def test_a_location_its_evse_and_its_connector_are_of_211(partner):  # V1-06, V1-07, LO-01
    assert problems(await data(await partner("GET", "/locations/LOC1")), "Location") == []
    assert problems(await data(await partner("GET", "/locations/LOC1/CP001-2")), "EVSE") == []
    connector = await data(await partner("GET", "/locations/LOC1/CP001-2/1"))
    assert problems(connector, "Connector") == []
    assert (connector["voltage"], connector["tariff_id"]) == (230, "standard-ac")
    for nowhere in ("/locations/LOC9", "/locations/LOC1/CP001-9", "/locations/LOC1/CP001-2/9"):
        refused = await partner("GET", nowhere)
        assert (refused.status_code, refused.json()["status_code"]) == (404, 2003)


async def test_what_is_not_published_is_not_shown(partner, database):  # V1-06
    add(database, location(id=2, location_id="PRIVATE", location_key="private", publish=False))

    answer = await partner("GET", "/locations")

    assert ([body["id"] for body in await data(answer)], answer.headers["X-Total-Count"]) == (["LOC1"], "1")
    assert (await partner("GET", "/locations/PRIVATE")).status_code == 404
    with database.read() as connection:
        current = CurrentState(**dict.fromkeys(("sessions", "cdrs", "tariffs")), locations=LocationsCrud(database))
        assert current(connection, "locations", "2") is not None


async def test_a_tariff_of_another_kind_or_time_is_not_shown(partner, database):  # V1-11
    unsayable = [{"price_components": [{"type": "FLAT", "price": "1", "step_size": 1}]}]
    unsayable[0]["restrictions"] = {"reservation": "RESERVATION"}
    add(
        database,
        tariff(id=2, tariff_id="adhoc", tariff_key="adhoc", type="AD_HOC_PAYMENT"),
        tariff(id=3, tariff_id="next", tariff_key="next", told="awaited"),
        tariff(id=4, tariff_id="reserving", tariff_key="reserving", elements=unsayable),
        tariff(id=5, tariff_id="any", tariff_key="any", type=None),
    )

    assert [body["id"] for body in await data(await partner("GET", "/tariffs"))] == ["any", "standard-ac"]


async def test_credits_and_what_stands_instead_are_not_listed(partner, database):  # CD-09, V1-10
    add(
        database,
        charge_record(SESSION, id="credit", credit=True, credit_reference_id=charge_record().id, tariff=1),
        charge_record(SESSION, id="again", corrects=charge_record().id, tariff=1),
    )

    assert [body["id"] for body in await data(await partner("GET", "/cdrs"))] == [charge_record().id]
    newer = await partner("GET", "/cdrs", version="2.2.1", token="bmV3ZXI=")
    assert len(await data(newer)) == 3


async def test_push_sends_what_the_lists_show(partner, modules, database):  # PU-14, V1-04
    with database.write() as connection:
        connection.execute(Partner.__table__.update().where(Partner.id == 1).values(version="2.1.1"))
    current = CurrentState(**{name: modules[name] for name in ("locations", "sessions", "cdrs", "tariffs")})
    ids = {"locations": "1", "tariffs": "1", "sessions": SESSION, "cdrs": charge_record().id}
    since = {"date_from": "2026-03-01T00:00:00Z"}
    with database.read() as connection:
        for module, id in ids.items():
            (listed,) = await data(await partner("GET", f"/{module}", params=since))
            told = current(connection, module, id, 1)
            assert told == listed | {"country_code": "BE", "party_id": "BEC"}, module
        evse = current(connection, "evses", "2", 1)
    assert problems(evse, "EVSE") == []


# ---- its cards ------------------------------------------------------------------------------------------------------


async def test_a_token_is_put_read_patched_and_put_again(partner, database):  # V1-14, TK-01, TK-04
    await data(await partner("PUT", TOKEN_PATH, json=TOKEN), 201)
    answer = await partner("GET", TOKEN_PATH)
    assert await data(answer) == TOKEN
    assert answer.json().keys() == field_tables.vector("transport__get_token_response", "2.1.1").keys()  # TR-13
    await data(await partner("PATCH", TOKEN_PATH, json=field_tables.vector("tokens__patch_invalidate", "2.1.1")))
    patched = await data(await partner("GET", TOKEN_PATH))
    assert patched == TOKEN | {"valid": False, "last_updated": "2026-03-04T12:00:00Z"}
    await data(await partner("PATCH", TOKEN_PATH, json={"visual_number": None, "auth_id": "DE-2"}))
    cleared = await data(await partner("GET", TOKEN_PATH))
    assert ("visual_number" in cleared, cleared["auth_id"]) == (False, "DE-2")
    await data(await partner("PUT", TOKEN_PATH, json=TOKEN | {"last_updated": "2026-03-05T00:00:00Z"}))

    (row,) = rows_of(database, Token)
    assert (row.country_code, row.party_id, row.contract_id, row.valid) == ("DE", "TNM", TOKEN["auth_id"], True)


async def test_a_token_of_an_app_is_found_without_its_type(partner, database):  # V1-14
    await data(await partner("PUT", TOKEN_PATH, json=TOKEN | {"type": "OTHER"}), 201)

    assert (await data(await partner("GET", TOKEN_PATH)))["type"] == "OTHER"
    await data(await partner("PATCH", TOKEN_PATH, json={"valid": False}))
    (row,) = rows_of(database, Token)
    assert (row.type, row.valid) == ("OTHER", False)


@pytest.mark.parametrize(
    ("path", "changes", "http", "code"),
    [
        ("/tokens/FR/OTH/012345678", {}, 404, 2000),  # TR-23
        ("/tokens/DE/TNM/other", {}, 200, 2001),  # TR-24
        (TOKEN_PATH, {"auth_id": None}, 200, 2001),
        (TOKEN_PATH, {"type": "APP_USER"}, 200, 2001),
    ],
)
async def test_a_token_that_may_not_be_is_refused(partner, database, path, changes, http, code):  # V1-14, TK-05
    refused = await partner("PUT", path, json=TOKEN | changes)

    assert (refused.status_code, refused.json()["status_code"]) == (http, code)
    assert rows_of(database, Token) == []


async def test_an_unknown_token_has_no_code_of_its_own(partner):  # V1-03
    for method, body in (("GET", None), ("PATCH", {"valid": False})):
        refused = await partner(method, TOKEN_PATH, json=body)
        assert (refused.status_code, refused.json()["status_code"]) == (404, 2000)


# ---- its commands ---------------------------------------------------------------------------------------------------


async def test_each_command_is_answered_with_one_word(partner, database):  # V1-15, CM-02
    token = TOKEN | {"uid": "04A1b2C3"}
    place = {"location_id": "LOC1", "evse_uid": "CP001-1"}
    commands = {
        "START_SESSION": {"token": token, **place},
        "STOP_SESSION": {"session_id": SESSION},
        "UNLOCK_CONNECTOR": {**place, "connector_id": "1"},
    }
    for command, body in commands.items():
        response = await data(await partner("POST", f"/commands/{command}", json=body | {"response_url": RESPONSE_URL}))
        assert response == {"result": "ACCEPTED"}

    assert {row.command for row in rows_of(database, CommandCallback)} == commands.keys()
    assert {(row.country_code, row.party_id) for row in rows_of(database, CommandCallback)} == {("DE", "TNM")}
    (card,) = rows_of(database, Token)
    assert (card.country_code, card.contract_id) == ("DE", TOKEN["auth_id"])
    assert {row.token_id for row in rows_of(database, RemoteRequest)} == {card.id, None}


async def test_a_reservation_has_a_number(partner, database):  # CM-47, V1-15
    with database.write() as connection:
        details = {"capabilities": ["RESERVABLE"]}
        connection.execute(Evse.__table__.update().values(details=details))
    body = {
        "response_url": RESPONSE_URL,
        "token": TOKEN,
        "expiry_date": (NOON + timedelta(hours=1)).isoformat(),
        "reservation_id": 12,
        "location_id": "LOC1",
        "evse_uid": "CP001-1",
    }

    assert await data(await partner("POST", "/commands/RESERVE_NOW", json=body)) == {"result": "ACCEPTED"}

    (reservation,) = rows_of(database, Reservation)
    assert reservation.reference == "12"
    words = await partner("POST", "/commands/RESERVE_NOW", json=body | {"reservation_id": "R-12"})
    assert words.json()["status_code"] == 2001
    cancel = await partner(
        "POST", "/commands/CANCEL_RESERVATION", json={"response_url": RESPONSE_URL, "reservation_id": 12}
    )
    assert cancel.status_code == 404


async def test_what_cannot_be_done_is_said_in_the_words_of_211(partner):  # V1-15, CM-09, CM-30
    nowhere = {"response_url": RESPONSE_URL, "token": TOKEN, "location_id": "LOC9"}
    unknown = {"response_url": RESPONSE_URL, "session_id": "nothing"}

    assert (await partner("POST", "/commands/START_SESSION", json=nowhere)).json()["status_code"] == 2003
    refused = await data(await partner("POST", "/commands/STOP_SESSION", json=unknown))
    assert refused == {"result": "UNKNOWN_SESSION"}
    assert problems(refused, "CommandResponse") == []


# ---- whose version --------------------------------------------------------------------------------------------------


async def test_the_modules_of_another_version_are_closed(partner):  # CR-28
    """A token opens what its partner registered for, in its writing there."""
    assert (await partner("GET", "/locations", version="2.2.1", token="cmF3LXRva2Vu")).status_code == 401
    assert (await partner("GET", "/locations", token="newer")).status_code == 401
    assert (await partner("GET", "/locations", version="2.2.1", token="bmV3ZXI=")).status_code == 200
    assert (await partner("GET", "/locations", version="2.2.1", token="newer")).status_code == 401  # TR-05
    assert (await partner("GET", "/locations", token="first")).status_code == 401  # TR-08


async def test_later_modules_are_not_there(partner):  # V1-16
    for path in (f"/chargingprofiles/{SESSION}", "/hubclientinfo/DE/TNM", f"/sessions/{SESSION}/charging_preferences"):
        assert (await partner("PUT", path, json={})).status_code == 404
