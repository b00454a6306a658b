"""A partner's driver charges with the card: registration, the site, the tap, the session, the bill."""

import json
from datetime import UTC, datetime, timedelta

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, STATIONS, Service

DRIVER = "04E1D2C3B4A596"
EVSE = "/locations/BE/BEC/LOC1/GENT-1-1"


async def test_a_card_of_a_partner_charges_and_its_bill_reaches_home(service: Service, emsp: Emsp) -> None:
    partner = await emsp.party("NL-CRD", kind="C")
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)

    # The operator's own words: importing the same again changes nothing, and an invitation is JSON.
    assert "nothing" in await service.command("import", str(service.network_file))
    invitation = json.loads(await service.command("partner", "invite", "Card partner"))

    # K01: the partner registers with us; K03: it is told our site and its price.
    await partner.register(invitation["token"], invitation["versions_url"])
    (location,) = await partner.until("PUT", "/locations/BE/BEC/LOC1")
    (tariff,) = await partner.until("PUT", "/tariffs/BE/BEC/standard-ac")
    assert [evse["uid"] for evse in location["body"]["evses"]] == [f"{name}-1" for name in STATIONS]
    assert tariff["body"]["currency"] == "EUR"
    assert await partner.list("locations") == [location["body"]]

    # K02: its driver's card is pushed, and opens the charger.
    await partner.push(await partner.issue(DRIVER, listed=False))
    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await charger.boot()
        await charger.status("Available")
        assert await charger.authorize(DRIVER) == "Accepted"
        started = await charger.begin(DRIVER, at=began)
        assert started.id_tag_info["status"] == "Accepted"
        await charger.status("Charging")
        await partner.until("PATCH", EVSE, lambda told: "CHARGING" in [change["body"]["status"] for change in told])
        for minute in (2, 4, 6):
            await charger.meter(started.transaction_id, 1000 + 250 * minute, at=began + timedelta(minutes=minute))
        (first,) = await partner.until("PUT", "/sessions/BE/BEC/")
        await charger.finish(started.transaction_id, 3000, at=began + timedelta(minutes=8), uid=DRIVER)
        await charger.status("Available")

    # K03: the session through its life.
    session_path = f"/sessions/BE/BEC/{first['body']['id']}"
    assert first["path"].endswith(session_path)
    assert (first["body"]["status"], first["body"]["auth_method"]) == ("ACTIVE", "WHITELIST")
    assert first["body"]["cdr_token"]["uid"] == DRIVER
    changes = await partner.until("PATCH", session_path, lambda told: told and "end_date_time" in told[-1]["body"])
    assert changes[-1]["body"]["status"] == "COMPLETED"

    # K04: one bill, which is ours to the last digit: 0.50 + 2 kWh x 0.25, and with VAT 0.60 + 0.55.
    cdr = await partner.cdr()
    assert cdr["total_energy"] == 2
    assert cdr["total_cost"] == {"excl_vat": 1, "incl_vat": 1.15}
    assert cdr["session_id"] == first["body"]["id"]
    assert (cdr["start_date_time"], cdr["end_date_time"]) == (
        began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        (began + timedelta(minutes=8)).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )
    assert await partner.list("cdrs") == [cdr]
    (session,) = await partner.list("sessions")
    assert (session["status"], session["kwh"], session["total_cost"]) == ("COMPLETED", 2, cdr["total_cost"])
    await partner.is_content()
