"""A partner of OCPI 2.1.1: its driver charges with the card and from the app, and every word between us is of 2.1.1."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.adapters.field_tables import problems
from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, STATIONS, Service

DRIVER, APP, ASKED = "04E1D2C3B4A597", "04E1D2C3B4A598", "04E1D2C3B4A599"


def of_211(body: object, kind: str) -> list[str]:
    return problems(json.loads(json.dumps(body), parse_float=Decimal), kind, version="2.1.1")


async def test_a_card_of_a_partner_of_211_charges_and_its_bill_reaches_home(
    service: Service, emsp_211: Emsp
) -> None:  # K01, K02, K03, K04, CR-32, TR-04, V1-01 to V1-14
    partner = await emsp_211.party("NL-OLD", kind="C")
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)

    await partner.register(*await service.invite("Old partner"))
    (location,) = await partner.until("PUT", "/locations/BE/BEC/LOC1")
    (tariff,) = await partner.until("PUT", "/tariffs/BE/BEC/standard-ac")
    assert of_211(location["body"], "Location") + of_211(tariff["body"], "Tariff") == []
    assert [evse["uid"] for evse in location["body"]["evses"]] == [f"{name}-1" for name in STATIONS]
    assert location["headers"]["authorization"] == f"Token {partner.token}"
    assert not [name for name in location["headers"] if name.startswith(("ocpi-", "x-"))]
    assert await partner.list("locations") == [location["body"]]

    await partner.push(await partner.issue(DRIVER, listed=False))
    await partner.push(await partner.issue(ASKED, whitelist="NEVER", listed=False))
    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await charger.boot()
        await charger.status("Available")
        assert await charger.authorize(ASKED) == "Accepted"
        assert await charger.authorize(DRIVER) == "Accepted"
        started = await charger.begin(DRIVER, at=began)
        assert started.id_tag_info["status"] == "Accepted"
        await charger.meter(started.transaction_id, 1500, at=began + timedelta(minutes=4))
        await partner.until("PUT", "/sessions/BE/BEC/")
        await charger.finish(started.transaction_id, 3000, at=began + timedelta(minutes=8), uid=DRIVER)

    (asked,) = await partner.requests("POST", "/authorize")
    assert asked["body"] == {"location_id": "LOC1", "evse_uids": ["GENT-1-1"]}  # TK-45
    session = await partner.session("COMPLETED", kwh=2)
    assert of_211(session, "Session") == []
    assert (session["auth_method"], session["total_cost"]) == ("WHITELIST", 1)
    cdr = await partner.cdr()
    assert of_211(cdr, "CDR") == []
    assert (cdr["total_energy"], cdr["total_cost"], cdr["auth_id"]) == (2, 1, session["auth_id"])
    assert cdr["location"]["evses"][0]["uid"] == "GENT-1-1"
    assert cdr["stop_date_time"] == (began + timedelta(minutes=8)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await partner.list("cdrs") == [cdr]
    await partner.is_content()


async def test_a_partner_of_211_starts_and_stops_a_charger(
    service: Service, emsp_211: Emsp
) -> None:  # K01, K05, CR-27, CR-32, V1-13, V1-15
    partner = await emsp_211.party("NL-OLA", kind="A")
    card = await partner.issue(APP)
    said = await service.command(
        "partner", "register", "Old app", "--url", partner.versions_url, "--token", partner.token, "--version", "2.1.1"
    )
    assert "OCPI 2.1.1" in said
    await partner.registered_by_us()
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=8)

    async with charging_point(service.ocpp_url, "GENT-2", PASSWORD) as charger:
        await charger.boot()
        await charger.status("Preparing")
        start = {"token": card, "location_id": "LOC1", "evse_uid": "GENT-2-1"}
        assert await partner.command("START_SESSION", start) == {"result": "ACCEPTED"}
        asked = await charger.asked_for("RemoteStartTransaction")
        started = await charger.begin(asked["id_tag"], at=began)
        assert started.id_tag_info["status"] == "Accepted"
        await charger.meter(started.transaction_id, 2000, at=began + timedelta(minutes=4))
        session = await partner.session("ACTIVE")
        assert (session["auth_method"], session["auth_id"]) == ("AUTH_REQUEST", card["auth_id"])

        assert await partner.command("STOP_SESSION", {"session_id": session["id"]}) == {"result": "ACCEPTED"}
        await charger.asked_for("RemoteStopTransaction")
        await charger.finish(started.transaction_id, 2400, at=began + timedelta(minutes=6))

    cdr = await partner.cdr()
    assert of_211(cdr, "CDR") == []
    assert (cdr["total_energy"], cdr["auth_method"]) == (1.4, "AUTH_REQUEST")

    assert await service.command("partner", "renew", "Old app") == "Old app has new tokens: OCPI 2.1.1\n"
    (put,) = await partner.requests("PUT", "/credentials")
    assert of_211(put["body"], "Credentials") == []
    assert put["headers"]["authorization"] != f"Token {await partner.order('token')}"
    await partner.is_content()
