"""A driver starts and stops the charger from the partner's app."""

from datetime import UTC, datetime, timedelta

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

DRIVER = "04A1B2C3D4E5F6"


async def test_a_partner_starts_and_stops_a_charger_and_gets_the_bill(service: Service, emsp: Emsp) -> None:
    # K01, the other way round: we register at the partner, and py_ocpi does its side by itself.
    partner = await emsp.party("NL-APP", kind="A")
    card = await partner.issue(DRIVER)
    await service.command("partner", "register", "App", "--url", partner.versions_url, "--token", partner.token)
    await partner.registered_by_us()
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=8)

    async with charging_point(service.ocpp_url, "GENT-2", PASSWORD) as charger:
        await charger.boot()
        await charger.status("Preparing")

        # C08, K05: START_SESSION is accepted at once, then the charger is asked, then the partner hears what it said.
        start = {"token": card, "location_id": "LOC1", "evse_uid": "GENT-2-1", "authorization_reference": "APP-START-1"}
        assert (await partner.command("START_SESSION", start))["result"] == "ACCEPTED"
        asked = await charger.asked_for("RemoteStartTransaction")
        assert asked["connector_id"] == 1

        started = await charger.begin(asked["id_tag"], at=began)
        assert started.id_tag_info["status"] == "Accepted"
        await charger.meter(started.transaction_id, 2000, at=began + timedelta(minutes=4))
        session = await partner.session("ACTIVE")
        assert (session["auth_method"], session["authorization_reference"]) == ("COMMAND", "APP-START-1")
        assert session["cdr_token"]["uid"].casefold() == DRIVER.casefold()

        assert (await partner.command("STOP_SESSION", {"session_id": session["id"]}))["result"] == "ACCEPTED"
        asked = await charger.asked_for("RemoteStopTransaction")
        assert asked["transaction_id"] == started.transaction_id
        await charger.finish(started.transaction_id, 2400, at=began + timedelta(minutes=6))

    session = await partner.session("COMPLETED")
    cdr = await partner.cdr()
    assert (cdr["session_id"], cdr["total_energy"]) == (session["id"], 1.4)
    assert (cdr["auth_method"], cdr["authorization_reference"]) == ("COMMAND", "APP-START-1")
    assert await partner.list("cdrs") == [cdr]
    await partner.is_content()
