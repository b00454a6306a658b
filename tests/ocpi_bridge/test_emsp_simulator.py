import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typer.testing import CliRunner

from ocpi_bridge.emsp_simulator import Allow, Authorization, CpoRefused, EmspSimulator, Fault
from ocpi_bridge.emsp_simulator.book import Received
from ocpi_bridge.emsp_simulator.cli import app, line
from ocpi_bridge.emsp_simulator.rules import problems, read_json
from ocpi_bridge.emsp_simulator.serving import serving

VECTORS = Path(__file__).parents[1] / "vectors" / "ocpi" / "2.2.1"
AT = "2026-03-01T10:00:00Z"
LATER = "2026-03-01T10:05:00Z"
OWNER = {"country_code": "BE", "party_id": "BEC"}
CONNECTOR = {
    "id": "1",
    "standard": "IEC_62196_T2",
    "format": "CABLE",
    "power_type": "AC_3_PHASE",
    "max_voltage": 230,
    "max_amperage": 32,
    "tariff_ids": ["AC"],
    "last_updated": AT,
}
EVSE = {
    "uid": "BE*BEC*E1",
    "evse_id": "BE*BEC*E1",
    "status": "AVAILABLE",
    "connectors": [CONNECTOR],
    "last_updated": AT,
}
LOCATION = OWNER | {
    "id": "LOC1",
    "publish": True,
    "name": "Gent Zuid",
    "address": "F.Rooseveltlaan 3A",
    "city": "Gent",
    "postal_code": "9000",
    "country": "BEL",
    "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
    "time_zone": "Europe/Brussels",
    "evses": [EVSE],
    "last_updated": AT,
}
PERIOD = {"start_date_time": AT, "dimensions": [{"type": "ENERGY", "volume": 1.5}], "tariff_id": "AC"}
SESSION = OWNER | {
    "id": "S1",
    "start_date_time": AT,
    "kwh": 1.5,
    "cdr_token": {"country_code": "NL", "party_id": "MSP", "uid": "04A1", "type": "RFID", "contract_id": "NL-MSP-C1"},
    "auth_method": "WHITELIST",
    "location_id": "LOC1",
    "evse_uid": "BE*BEC*E1",
    "connector_id": "1",
    "currency": "EUR",
    "charging_periods": [PERIOD],
    "status": "ACTIVE",
    "last_updated": AT,
}
TARIFF = OWNER | {
    "id": "AC",
    "currency": "EUR",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.25, "vat": 10.0, "step_size": 1}]}],
    "last_updated": AT,
}
CDR = OWNER | {
    "id": "C1",
    "start_date_time": AT,
    "end_date_time": LATER,
    "session_id": "S1",
    "cdr_token": SESSION["cdr_token"],
    "auth_method": "WHITELIST",
    "cdr_location": {
        "id": "LOC1",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "country": "BEL",
        "coordinates": LOCATION["coordinates"],
        "evse_uid": "BE*BEC*E1",
        "evse_id": "BE*BEC*E1",
        "connector_id": "1",
        "connector_standard": "IEC_62196_T2",
        "connector_format": "CABLE",
        "connector_power_type": "AC_3_PHASE",
    },
    "currency": "EUR",
    "tariffs": [TARIFF],
    "charging_periods": [PERIOD],
    "total_cost": {"excl_vat": 0.375, "incl_vat": 0.4125},
    "total_energy": 1.5,
    "total_time": 0,
    "last_updated": LATER,
}


class Wire:
    """A CPO's raw requests to the simulator, with all headers that belong to them unless told otherwise."""

    def __init__(self, emsp: EmspSimulator, http: httpx.AsyncClient) -> None:
        self.emsp = emsp
        self.http = http
        self.numbers = itertools.count()

    async def send(
        self, method: str, path: str, body: Any = None, *, token: str = "tok", **headers: str | None
    ) -> httpx.Response:
        sent: dict[str, str | None] = {
            "Authorization": f"Token {base64.b64encode(token.encode()).decode()}",
            "X-Request-ID": f"r{next(self.numbers)}",
            "X-Correlation-ID": "c",
        }
        if not path.startswith(("versions", "2.2.1", "credentials")):
            sent |= {"OCPI-from-country-code": "BE", "OCPI-from-party-id": "BEC"}
            sent |= {"OCPI-to-country-code": "NL", "OCPI-to-party-id": "MSP"}
        if body is not None:
            sent["Content-Type"] = "application/json"
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        root = "" if path.startswith(("versions", "2.2.1")) else "/2.2.1"
        return await self.http.request(
            method,
            f"{self.emsp.base_url}{root}/{path}",
            content=body if isinstance(body, bytes | None) else json.dumps(body),
            headers={name: value for name, value in sent.items() if value is not None},
        )


@asynccontextmanager
async def partner(**options: Any) -> AsyncIterator[tuple[EmspSimulator, Wire]]:
    async with EmspSimulator(**options) as emsp, httpx.AsyncClient(trust_env=False, timeout=30) as http:
        emsp.trust("tok", ("BE", "BEC"))
        yield emsp, Wire(emsp, http)


def changed(base: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return deepcopy(base) | fields


def told(emsp: EmspSimulator) -> str:
    return "\n".join(map(str, emsp.complaints))


# ---- transport -------------------------------------------------------------------------------------------------------


async def test_answers_carry_the_envelope_the_ids_and_swapped_routing_headers() -> None:  # TR-13, ID-01, RT-03
    async with partner() as (emsp, cpo):
        answer = await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION)
        assert answer.status_code == 201
        assert answer.json().keys() == {"status_code", "status_message", "timestamp"}
        assert (answer.headers["x-request-id"], answer.headers["x-correlation-id"]) == ("r0", "c")
        assert (answer.headers["ocpi-from-party-id"], answer.headers["ocpi-to-party-id"]) == ("MSP", "BEC")
        versions = await cpo.send("GET", "versions/")
        assert versions.json()["data"] == [{"version": "2.2.1", "url": f"{emsp.base_url}/2.2.1"}]
        details = (await cpo.send("GET", "2.2.1")).json()["data"]["endpoints"]
        assert {(entry["identifier"], entry["role"]): entry["url"] for entry in details} == emsp.endpoints
        assert "ocpi-from-party-id" not in versions.headers
        assert emsp.complaints == []


async def test_unknown_or_unreadable_token_is_401_with_an_envelope() -> None:  # TR-03, TR-07
    async with partner() as (_, cpo):
        for header in (None, "", "Token", "Bearer dG9r", "Token tok", "Token bm9wZQ==", "token dG9r"):
            answer = await cpo.send("GET", "versions", Authorization=header)
            assert (answer.status_code, answer.json()["status_code"]) == (401, 2001)


async def test_everything_is_recorded_in_order() -> None:
    async with partner() as (emsp, cpo):
        await cpo.send("PUT", "sessions/BE/BEC/S%2F1?x=1", SESSION)
        await cpo.send("POST", "cdrs", b"{no json")
        first, second = emsp.requests
        assert (first.method, first.path, first.query) == ("PUT", "/2.2.1/sessions/BE/BEC/S%2F1", "x=1")
        assert first.body["kwh"] == Decimal("1.5")
        assert first.headers["ocpi-from-party-id"] == "BEC"
        assert (second.method, second.body, second.raw) == ("POST", None, b"{no json")
        assert first.at <= second.at


async def test_broken_json_is_400_and_unknown_paths_404_or_405() -> None:  # TR-18
    async with partner() as (_, cpo):
        assert (await cpo.send("PUT", "sessions/BE/BEC/S1", b"{no json")).status_code == 400
        assert (await cpo.send("GET", "hubclientinfo")).status_code == 404
        assert (await cpo.send("DELETE", "sessions/BE/BEC/S1")).status_code == 405
        assert (await cpo.send("PUT", "sessions/BE/BEC/S1/extra", SESSION)).status_code == 404


# ---- receivers -------------------------------------------------------------------------------------------------------


async def test_locations_are_put_and_patched_at_three_levels() -> None:  # LO-06, LO-07
    async with partner() as (emsp, cpo):
        assert (await cpo.send("PUT", "locations/BE/BEC/LOC1", LOCATION)).status_code == 201
        path = "locations/BE/BEC/loc1/be%2Abec%2Ae1"
        await cpo.send("PATCH", path, {"status": "CHARGING", "last_updated": LATER})
        await cpo.send("PATCH", f"{path}/1", {"max_amperage": 16, "last_updated": LATER})
        second = changed(EVSE, uid="E2", last_updated=LATER)
        assert (await cpo.send("PUT", "locations/BE/BEC/LOC1/E2", second)).status_code == 201
        assert (await cpo.send("PUT", "locations/BE/BEC/LOC1/E2", second)).status_code == 200
        location = emsp.locations["LOC1"]
        assert [evse["status"] for evse in location["evses"]] == ["CHARGING", "AVAILABLE"]
        assert location["evses"][0]["connectors"][0]["max_amperage"] == 16
        assert location["last_updated"] == LATER  # LO-04
        assert (await cpo.send("GET", path)).json()["data"]["status"] == "CHARGING"
        assert (await cpo.send("GET", f"{path}/1")).json()["data"]["id"] == "1"
        assert emsp.complaints == []


async def test_patch_appends_charging_periods_and_put_replaces_them() -> None:  # SE-05, SE-06
    async with partner() as (emsp, cpo):
        await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION)
        more = {"kwh": 2.0, "charging_periods": [PERIOD | {"start_date_time": LATER}], "last_updated": LATER}
        await cpo.send("PATCH", "sessions/BE/BEC/S1", more)
        assert [period["start_date_time"] for period in emsp.sessions["S1"]["charging_periods"]] == [AT, LATER]
        await cpo.send("PATCH", "sessions/BE/BEC/S1", {"charging_periods": [], "last_updated": LATER})
        assert len(emsp.sessions["S1"]["charging_periods"]) == 2
        whole = changed(SESSION, kwh=2.0, last_updated=LATER)
        assert (await cpo.send("PUT", "sessions/BE/BEC/S1", whole)).status_code == 200
        assert len(emsp.sessions["S1"]["charging_periods"]) == 1
        assert (await cpo.send("GET", "sessions/BE/BEC/S1")).json()["data"]["kwh"] == 2.0
        assert emsp.complaints == []


async def test_patch_before_put_is_404() -> None:  # PU-07
    async with partner() as (_, cpo):
        for path in ("sessions/BE/BEC/S1", "locations/BE/BEC/L1", "locations/BE/BEC/L1/E1"):
            assert (await cpo.send("PATCH", path, {"status": "CHARGING", "last_updated": AT})).status_code == 404


async def test_cdr_is_created_once_and_read_back_at_its_location() -> None:  # CD-02, CD-03
    async with partner() as (emsp, cpo):
        answer = await cpo.send("POST", "cdrs", CDR)
        assert answer.status_code == 201
        again = await cpo.send("POST", "cdrs/", CDR)
        assert (again.status_code, again.json()["status_code"]) == (200, 1000)
        stored = await cpo.send("GET", answer.headers["location"].split("2.2.1/")[1])
        assert stored.json()["data"]["id"] == "C1"
        assert [cdr["total_cost"]["incl_vat"] for cdr in emsp.cdrs] == [Decimal("0.4125")]
        assert emsp.complaints == []
        await cpo.send("POST", "cdrs", changed(CDR, total_time=0.0001))
        assert "CD-06" in told(emsp)


async def test_tariffs_are_put_and_deleted() -> None:  # TA-02, TA-03
    async with partner() as (emsp, cpo):
        assert (await cpo.send("PUT", "tariffs/BE/BEC/AC", TARIFF)).status_code == 201
        assert (await cpo.send("GET", "tariffs/BE/BEC/AC")).json()["data"]["currency"] == "EUR"
        assert emsp.tariffs["ac"]["id"] == "AC"
        assert (await cpo.send("DELETE", "tariffs/BE/BEC/AC")).status_code == 200
        assert (await cpo.send("DELETE", "tariffs/BE/BEC/AC")).status_code == 404
        assert len(emsp.tariffs) == 0


async def test_token_list_pages_by_offset_limit_and_time() -> None:  # PG-02 to PG-08
    async with partner(page_limit=2) as (emsp, cpo):
        for number in range(5):
            emsp.issue_token(f"T{number}", last_updated=f"2026-03-0{number + 1}T00:00:00Z")
        url, uids, links = "tokens?date_from=2026-03-02T00:00:00&limit=100", [], 0
        while True:
            page = await cpo.send("GET", url)
            assert (page.headers["x-total-count"], page.headers["x-limit"]) == ("4", "2")
            uids += [token["uid"] for token in page.json()["data"]]
            if "link" not in page.headers:
                break
            links += 1
            url = page.headers["link"].split("2.2.1/")[1].split(">")[0]
        assert (uids, links) == (["T1", "T2", "T3", "T4"], 1)
        until = await cpo.send("GET", "tokens?date_to=2026-03-02T00:00:00Z")
        assert [token["uid"] for token in until.json()["data"]] == ["T0"]
        assert (await cpo.send("GET", "tokens?offset=9")).json()["data"] == []
        for wrong in ("limit=0", "limit=x", "offset=-1", "date_from=yesterday"):
            assert (await cpo.send("GET", f"tokens?{wrong}")).json()["status_code"] == 2001


async def test_authorize_answers_as_it_was_told() -> None:  # TK-36 to TK-41
    where = {"location_id": "LOC1", "evse_uids": ["E1"]}
    async with partner() as (emsp, cpo):
        emsp.issue_token("04A1")
        path = "tokens/04a1/authorize?type=RFID"
        data = (await cpo.send("POST", path, where)).json()["data"]
        assert (data["allowed"], data["token"]["uid"], data["location"]) == ("ALLOWED", "04A1", where)
        assert "authorization_reference" not in data
        emsp.authorization = Authorization(reference="R1", evse_uids=[], info="Welcome")
        data = (await cpo.send("POST", path, where)).json()["data"]
        assert (data["authorization_reference"], data["location"]["evse_uids"]) == ("R1", [])
        for allowed in (Allow.BLOCKED, Allow.EXPIRED, Allow.NO_CREDIT, Allow.NOT_ALLOWED):
            emsp.authorizations["04a1"] = Authorization(allowed=allowed)
            assert (await cpo.send("POST", path, where)).json()["data"]["allowed"] == allowed
        assert emsp.complaints == []
        for unknown in ("tokens/04A2/authorize", "tokens/04A1/authorize?type=APP_USER"):
            answer = await cpo.send("POST", unknown, where)
            assert (answer.status_code, answer.json()["status_code"]) == (404, 2004)
        emsp.authorizations["04a1"] = Authorization(allowed=Allow.HANG)
        with pytest.raises(httpx.ReadTimeout):
            await cpo.http.post(f"{emsp.base_url}/2.2.1/{path}", timeout=0.1)


# ---- strictness ------------------------------------------------------------------------------------------------------


WRONG = [
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, last_updated="2026-03-01T10:00:00+00:00"), "TY-01"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, last_updated="2026-03-01T10:00:00.123456Z"), "TY-01"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, last_updated="2026-02-30T10:00:00Z"), "is no date"),
    ("PUT", "sessions/BE/BEC/S1", {k: v for k, v in SESSION.items() if k != "evse_uid"}, "evse_uid is missing"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, authorization_reference=None), "TY-10"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, charging_periods=None), "TY-10"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, authorization_reference=""), "TY-10"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, location_id="x" * 37), "longer than 36"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, kwh="1.5"), "TY-08"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, kwh=0.1 + 0.2), "decimals"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, kwh=True), "TY-08"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, status="BUSY"), "is no SessionStatus"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, colour="red"), "no field of Session"),
    ("PUT", "sessions/BE/BEC/S2", SESSION, "TR-24"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, party_id="XYZ"), "TR-24"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, cdr_token=SESSION["cdr_token"] | {"party_id": "TNM"}), "SE-23"),
    ("PUT", "sessions/BE/BEC/S1", changed(SESSION, status="COMPLETED"), "SE-24"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, coordinates={"latitude": "51.0", "longitude": "3.7"}), "TY-15"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, evses=[EVSE | {"connectors": []}]), "is empty"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, evses=[EVSE | {"last_updated": LATER}]), "LO-04"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, evses=[EVSE | {"floor_level": 1}]), "is no string"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, name="a\tb"), "TY-05"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, country="BE"), "LO-20"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, time_zone="CET+1"), "LO-23"),
    ("PUT", "locations/BE/BEC/LOC1", changed(LOCATION, opening_times={"twentyfourseven": False}), "LO-70"),
    ("PUT", "tariffs/BE/BEC/AC", changed(TARIFF, elements=[]), "is empty"),
    ("POST", "cdrs", changed(CDR, total_energy=2), "CD-18"),
    ("POST", "cdrs", changed(CDR, start_date_time="2026-03-01T09:00:00Z"), "CD-17"),
    ("POST", "cdrs", changed(CDR, tariffs=[]), "CD-20"),
    ("POST", "cdrs", changed(CDR, credit=True), "CD-07"),
    (
        "POST",
        "cdrs",
        changed(CDR, charging_periods=[PERIOD | {"dimensions": [{"type": "POWER", "volume": 1}]}]),
        "SE-21",
    ),
]


async def test_wrong_objects_are_complained_of_and_refused_when_strict() -> None:
    async with partner(strict=True) as (emsp, cpo):
        for method, path, body, complaint in WRONG:
            answer = await cpo.send(method, path, body)
            assert (answer.status_code, answer.json()["status_code"]) == (200, 2001), complaint
            assert complaint in told(emsp)
            emsp.complaints.clear()
        assert [len(kept) for kept in (emsp.sessions, emsp.locations, emsp.cdrs, emsp.tariffs)] == [0, 0, 0, 0]
        emsp.strict = False
        for method, path, body, complaint in WRONG:
            emsp.sessions = type(emsp.sessions)()
            assert (await cpo.send(method, path, body)).json()["status_code"] == 1000, complaint
            assert complaint in told(emsp)


WRONG_HEADERS: list[tuple[dict[str, str | None], str]] = [
    ({"X_Request_ID": None}, "x-request-id is missing"),
    ({"X_Correlation_ID": None}, "x-correlation-id is missing"),
    ({"Content_Type": "text/plain"}, "TR-11"),
    ({"OCPI_to_party_id": "BEC", "OCPI_from_party_id": "MSP"}, "not us"),
    ({"OCPI_from_country_code": None}, "none of the CPO's parties"),
]


async def test_wrong_headers_are_refused_when_strict() -> None:  # ID-01, TR-11, RT-04
    async with partner(strict=True) as (emsp, cpo):
        for headers, complaint in WRONG_HEADERS:
            answer = await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION, **headers)
            assert answer.json()["status_code"] == 2001, complaint
            assert complaint in told(emsp)


async def test_reused_request_id_and_routing_headers_on_versions_are_complained_of() -> None:  # ID-01, RT-02
    async with partner() as (emsp, cpo):
        await cpo.send("GET", "versions", OCPI_to_party_id="MSP")
        await cpo.send("GET", "versions", X_Request_ID="r0")
        assert [complaint.text for complaint in emsp.complaints] == [
            "OCPI-to-party-id on a configuration module (RT-02)",
            "X-Request-ID was used before (ID-01)",
        ]


async def test_session_rules_over_time_are_watched() -> None:
    async with partner() as (emsp, cpo):
        await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION)
        path = "sessions/BE/BEC/S1"
        await cpo.send("PATCH", path, {"kwh": 1.4, "last_updated": LATER})
        await cpo.send("PATCH", path, {"charging_periods": [PERIOD], "last_updated": LATER})
        await cpo.send("PATCH", path, {"last_updated": AT})
        await cpo.send("PATCH", path, {"status": "COMPLETED", "end_date_time": LATER, "last_updated": LATER})
        await cpo.send("PATCH", path, {"status": "ACTIVE", "last_updated": LATER})
        assert [next(rule for rule in RULES if rule in c.text) for c in emsp.complaints] == list(RULES)
        assert (await cpo.send("PATCH", path, {"status": "ACTIVE"})).json()["status_code"] == 2001  # PU-05


RULES = ("SE-19", "SE-07", "PU-14", "SE-11")


async def test_foreign_party_in_the_url_is_404() -> None:  # TR-23
    async with partner() as (emsp, cpo):
        body = changed(SESSION, party_id="XYZ")
        assert (await cpo.send("PUT", "sessions/BE/XYZ/S1", body)).status_code == 404
        assert len(emsp.sessions) == 0


# Fragments, and examples with a known defect, are not what these rules speak of.
NOT_WHOLE = ("energymix", "hours", "regularhours", "patch_remove", "patch_status", "patch_tariff", "put_add")
KINDS = {
    "sessions": "Session",
    "locations": "Location",
    "tariffs": "Tariff",
    "tokens": "Token",
    "credentials": "Credentials",
}
SOUND = [
    path
    for path in sorted(VECTORS.glob("*.json"))
    if path.name.split("__")[0] in KINDS
    and not path.name.split("__")[1].startswith(NOT_WHOLE)
    and path.name != "tariffs__put.json"
]


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.name)
def test_nothing_is_wrong_with_the_specs_own_sound_examples(path: Path) -> None:  # XT-04
    body, odd = read_json(path.read_bytes())
    kind = KINDS[path.name.split("__")[0]]
    assert [*odd, *problems(kind, body, partial="patch" in path.name)] == []


def test_the_sound_examples_are_there() -> None:
    assert len(SOUND) > 30


def test_exponents_and_nan_are_noticed() -> None:  # TY-08
    assert read_json(b'{"kwh": 1E+2}')[1] == ["1E+2 is written with an exponent (TY-08)"]
    with pytest.raises(ValueError, match="NaN"):
        read_json(b'{"kwh": NaN}')


# ---- faults ----------------------------------------------------------------------------------------------------------


FIXED_FAULTS = {
    Fault.ERROR_401: (401, None),
    Fault.ERROR_404: (404, None),
    Fault.ERROR_429: (429, None),
    Fault.ERROR_500: (500, None),
    Fault.ERROR_2001: (200, 2001),
    Fault.ERROR_3000: (200, 3000),
    Fault.REDIRECT: (307, None),
    Fault.GARBAGE: (200, None),
}


async def test_faults_that_answer_strike_as_often_as_told() -> None:  # XT-05
    async with partner() as (emsp, cpo):
        for fault, (status, code) in FIXED_FAULTS.items():
            emsp.fault("sessions", fault, times=2)
            for _ in range(2):
                answer = await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION)
                assert answer.status_code == status
                assert code is None or answer.json()["status_code"] == code
        assert len(emsp.sessions) == 0
        emsp.fault("sessions", Fault.ERROR_500, times=None)
        assert (await cpo.send("PUT", "tariffs/BE/BEC/AC", TARIFF)).status_code == 201
        emsp.clear_faults()
        assert (await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION)).status_code == 201
        assert len(emsp.requests) == 2 * len(FIXED_FAULTS) + 2


@pytest.mark.parametrize("fault", [Fault.HANG, Fault.DRIP])
async def test_partner_that_hangs_or_drips_holds_the_caller(fault: Fault) -> None:
    async with partner() as (emsp, cpo):
        emsp.fault("versions", fault, times=None)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await cpo.send("GET", "versions")
        await emsp.wait_for(lambda: len(emsp.requests) == 1)
        emsp.clear_faults()
        assert (await cpo.send("GET", "versions")).status_code == 200


async def test_huge_answer_streams_until_the_caller_has_enough() -> None:
    async with partner() as (emsp, cpo):
        emsp.fault("tokens", Fault.HUGE)
        got = 0
        async with cpo.http.stream("GET", f"{emsp.base_url}/2.2.1/tokens") as answer:
            async for chunk in answer.aiter_raw():
                got += len(chunk)
                if got > 2**20:
                    break
        assert answer.headers["content-length"] == str(300 * 2**20)
        assert (await cpo.send("GET", "tokens")).status_code == 200


@pytest.mark.parametrize(("fault", "stored"), [(Fault.DISCONNECT, 0), (Fault.LOST_ANSWER, 1)])
async def test_connection_is_cut_before_or_after_the_deed(fault: Fault, stored: int) -> None:
    async with partner() as (emsp, cpo):
        emsp.fault("cdrs", fault, method="POST")
        with pytest.raises(httpx.TransportError):
            await cpo.send("POST", "cdrs", CDR)
        assert len(emsp.cdrs) == stored
        assert (await cpo.send("POST", "cdrs", CDR)).status_code == (200 if stored else 201)
        assert len(emsp.cdrs) == 1


async def test_location_header_can_be_forgotten() -> None:  # CD-04
    async with partner() as (emsp, cpo):
        emsp.fault("cdrs", Fault.MISSING_LOCATION_HEADER)
        answer = await cpo.send("POST", "cdrs", CDR)
        assert (answer.status_code, "location" in answer.headers, len(emsp.cdrs)) == (201, False, 1)


async def test_leaving_ends_a_hanging_request_at_once() -> None:
    arrived = asyncio.Event()
    async with partner(watch=lambda *_: arrived.set()) as (emsp, cpo):
        emsp.fault("versions", Fault.HANG)
        hanging = asyncio.create_task(cpo.send("GET", "versions"))
        async with asyncio.timeout(30):
            await arrived.wait()
            await emsp.__aexit__()
        answers = await asyncio.gather(hanging, return_exceptions=True)
        assert isinstance(answers[0], httpx.TransportError) or answers[0].status_code == 500


async def test_wait_for_gives_up_and_names_the_last_requests() -> None:
    async with partner() as (emsp, cpo):
        await cpo.send("GET", "versions")
        with pytest.raises(TimeoutError, match="GET /versions"):
            await emsp.wait_for(lambda: emsp.cdrs, timeout_s=0.05)
        waiting = asyncio.create_task(emsp.wait_for(lambda: emsp.sessions.get("S1"), timeout_s=5))
        await cpo.send("PUT", "sessions/BE/BEC/S1", SESSION)
        assert (await waiting)["id"] == "S1"


# ---- towards a CPO ---------------------------------------------------------------------------------------------------


async def test_two_partners_register_with_each_other() -> None:  # CR-03 to CR-05, CR-20 to CR-24
    async with EmspSimulator() as ours, EmspSimulator(party=("DE", "ABC"), strict=True) as other:
        invitation = other.invite()
        credentials = await ours.register(other.versions_url, invitation)
        assert [request.path for request in ours.requests] == ["/versions", "/2.2.1"]  # called back during the POST
        assert (ours.cpo_parties, other.cpo_parties) == ([("DE", "ABC")], [("NL", "MSP")])
        assert credentials["token"] not in (invitation, other.outbound)
        assert (ours.outbound in other.inbound, other.outbound in ours.inbound) == (True, True)
        dead = await ours.call("GET", other.versions_url, token=invitation, configuration=True)
        assert dead.http_status == 401  # CR-05
        read = await ours.call("GET", ours.cpo_endpoints[("credentials", "")], configuration=True)
        assert read.data["token"] == ours.outbound
        again = await ours.call("POST", ours.cpo_endpoints[("credentials", "")], credentials, configuration=True)
        assert again.http_status == 405  # CR-07
        renewed = ours.new_inbound_token()
        ours.inbound.add(renewed)
        url = ours.cpo_endpoints[("credentials", "")]
        put = await ours.call("PUT", url, ours.credentials(renewed), configuration=True)
        assert put.data["token"] != credentials["token"]
        ours.outbound = put.data["token"]
        await ours.unregister()
        assert (ours.registered, other.registered, other.inbound) == (False, False, set())


async def test_registration_with_a_partner_that_cannot_be_read_is_3001_and_may_be_repeated() -> None:  # CR-06, CR-26
    async with EmspSimulator() as ours, EmspSimulator(party=("DE", "ABC")) as other:
        invitation = other.invite()
        ours.fault("versions", Fault.ERROR_500)
        with pytest.raises(CpoRefused, match="3001"):
            await ours.register(other.versions_url, invitation)
        assert ours.inbound == set()
        await ours.register(other.versions_url, invitation)
        assert ours.registered
        assert ours.registered is other.registered


class TinyCpo:
    """Just enough of a CPO: takes tokens and commands, lists locations two to a page. `bare` forgets what it must send."""

    def __init__(self, emsp: EmspSimulator, *, bare: bool = False) -> None:
        self.emsp = emsp
        self.bare = bare
        self.requests: list[tuple[str, str, Any]] = []
        self.url = ""

    async def __call__(self, request: Request) -> Response:
        body = json.loads(await request.body() or "null")
        self.requests.append((request.method, request.url.path, body))
        headers = {name: request.headers[name] for name in ("x-request-id", "x-correlation-id")}
        for part in ("country-code", "party-id"):
            headers[f"ocpi-from-{part}"] = request.headers[f"ocpi-to-{part}"]
            headers[f"ocpi-to-{part}"] = request.headers[f"ocpi-from-{part}"]
        data: Any = None
        if "commands" in request.url.path:
            data = {"result": "ACCEPTED" if "START" in request.url.path else "UNKNOWN_SESSION", "timeout": 30}
        if request.method == "GET":
            offset = int(request.query_params.get("offset", 0))
            data = [changed(LOCATION, id=f"L{number}") for number in range(offset, min(offset + 2, 5))]
            headers |= {"X-Total-Count": "5", "X-Limit": "2"}
            if offset + 2 < 5:
                headers["Link"] = f'<{self.url}/locations?offset={offset + 2}>; rel="next"'
        envelope = {"status_code": 1000, "timestamp": AT} | ({} if data is None else {"data": data})
        return JSONResponse({"data": data} if self.bare else envelope, headers={} if self.bare else headers)


@asynccontextmanager
async def tiny_cpo(**options: Any) -> AsyncIterator[tuple[EmspSimulator, TinyCpo]]:
    async with partner(strict=True) as (emsp, _):
        cpo = TinyCpo(emsp, **options)

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await (await cpo(Request(scope, receive)))(scope, receive, send)

        async with serving(app, "127.0.0.1", 0) as server:
            cpo.url = server.url
            roles = {"tokens": "RECEIVER", "commands": "RECEIVER", "locations": "SENDER"}
            emsp.cpo_endpoints = {(module, role): f"{cpo.url}/{module}" for module, role in roles.items()}
            emsp.outbound = "c"
            yield emsp, cpo


async def test_tokens_and_commands_reach_the_cpo_and_the_result_comes_back() -> None:  # TK-03, CM-01 to CM-04
    async with tiny_cpo() as (emsp, cpo):
        token = emsp.issue_token("04 A/1", visual_number="1")
        assert (await emsp.push_token(token)).ok
        assert (await emsp.patch_token("04 A/1", valid=False)).ok
        assert [entry[:2] for entry in cpo.requests] == [
            ("PUT", "/tokens/NL/MSP/04 A/1"),
            ("PATCH", "/tokens/NL/MSP/04 A/1"),
        ]
        assert cpo.requests[1][2].keys() == {"valid", "last_updated"}
        assert list(problems("Token", cpo.requests[0][2])) == []
        started = await emsp.start_session(token, "LOC1", "BE*BEC*E1", authorization_reference="R")
        assert (started.result, started.timeout_s) == ("ACCEPTED", 30)
        url = cpo.requests[-1][2]["response_url"]
        assert url == f"{emsp.base_url}/2.2.1/commands/START_SESSION/{started.uid}"
        async with httpx.AsyncClient(trust_env=False) as http:
            wire = Wire(emsp, http)
            path = url.split("2.2.1/")[1]
            await wire.send("POST", path, {"result": "ACCEPTED"})
            assert emsp.command_results == {started.uid: {"result": "ACCEPTED"}}
            assert emsp.complaints == []
            await wire.send("POST", path, {"result": "ACCEPTED"})
            assert "CM-04" in told(emsp)
            assert (await wire.send("POST", "commands/START_SESSION/nobody", {"result": "FAILED"})).status_code == 404
        assert (await emsp.stop_session("S9")).result == "UNKNOWN_SESSION"
        assert (await emsp.unlock_connector("LOC1", "E1", "1")).reply.ok


async def test_pull_follows_the_links_to_the_end() -> None:  # PG-12
    async with tiny_cpo() as (emsp, _):
        assert [location["id"] for location in await emsp.pull("locations")] == ["L0", "L1", "L2", "L3", "L4"]
        assert emsp.complaints == []


async def test_answers_of_a_sloppy_cpo_are_complained_of() -> None:  # TR-13, TR-14, ID-01, RT-03
    async with tiny_cpo(bare=True) as (emsp, _):
        reply = await emsp.push_token(emsp.issue_token("T"))
        assert not reply.ok
        text = told(emsp)
        assert all(rule in text for rule in ("status_code", "timestamp", "data is null", "not echoed", "RT-03"))


# ---- the terminal ----------------------------------------------------------------------------------------------------


async def test_watcher_gets_each_request_and_the_line_tells_what_matters() -> None:
    lines: list[str] = []
    async with partner() as (emsp, cpo):
        emsp.watch = lambda request, answer: lines.append(line(request, answer, emsp))
        await cpo.send("PUT", "sessions/BE/BEC/S1", changed(SESSION, kwh=0.12345))
        emsp.fault("cdrs", Fault.ERROR_500)
        await cpo.send("POST", "cdrs", CDR)
        assert isinstance(emsp.requests[0], Received)
    assert "sessions/BE/BEC/S1" in lines[0]
    assert "status=ACTIVE kwh=0.12345" in lines[0]
    assert "201 1000" in lines[0]
    assert "5 decimals" in lines[0]
    assert "error_500" in lines[1]


def test_cli_explains_itself_and_refuses_wrong_usage() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["run", "--help"]).exit_code == 0
    for wrong in (["--listen", "nowhere"], ["--party", "NLMSP"], ["--register", "http://127.0.0.1:1/versions"]):
        assert runner.invoke(app, ["run", *wrong]).exit_code == 2


def test_cli_says_in_one_line_that_the_cpo_cannot_be_reached() -> None:
    arguments = ["run", "--listen", "127.0.0.1:0", "--register", "http://127.0.0.1:1/versions", "--token", "a"]
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, "connection" in result.output.lower()) == (1, True)
