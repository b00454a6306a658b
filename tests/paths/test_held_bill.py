"""A charger that lives in 2018: its session closes by our time, its bill waits for a person, and what that person decides
reaches the driver's partner."""

import json
from datetime import UTC, datetime, timedelta

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

DRIVER = "04E1D2C3B4A597"
CLOCK_OF_2018 = datetime(2018, 1, 1, tzinfo=UTC)


async def test_a_session_of_2018_waits_for_a_person_and_is_billed_by_our_time(service: Service, emsp: Emsp) -> None:
    """F04, E12: so short a session under so wrong a clock must have been invented, or be a test; a person says which."""
    partner = await emsp.party("NL-OLD", kind="C")
    invitation = json.loads(await service.command("partner", "invite", "Old clocks"))
    await partner.register(invitation["token"], invitation["versions_url"])
    await partner.push(await partner.issue(DRIVER, listed=False))
    before = datetime.now(UTC).replace(microsecond=0)
    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await charger.boot()
        assert await charger.authorize(DRIVER) == "Accepted"
        started = await charger.begin(DRIVER, at=CLOCK_OF_2018)
        assert started.id_tag_info["status"] == "Accepted"
        await charger.meter(started.transaction_id, 1010, at=CLOCK_OF_2018)
        await charger.finish(started.transaction_id, 1020, at=CLOCK_OF_2018, uid=DRIVER)
    await partner.until("", "/sessions/BE/BEC/", lambda told: told and told[-1]["body"].get("status") == "COMPLETED")
    (held,) = [json.loads(line) for line in (await service.command("review", "list", "--json")).splitlines()]
    assert (held["station_id"], held["number"], held["owner"]) == ("GENT-1", started.transaction_id, None)
    assert held["reasons"] == ["implausible"]
    assert await partner.requests("POST", "/cdrs") == []

    # 0.50 + 1 kWh x 0.25, and with VAT 0.60 + 0.275: the meter was read on the spot.
    words = ("--reason", "read on the spot", "--energy-kwh", "1")
    assert (await service.command("review", "adjust", str(held["id"]), *words)).startswith("billed: ")
    cdr = await partner.cdr()
    assert (cdr["total_energy"], cdr["total_cost"]) == (1, {"excl_vat": 0.75, "incl_vat": 0.875})
    for name in ("start_date_time", "end_date_time"):
        at = datetime.fromisoformat(cdr[name])
        assert before <= at <= before + timedelta(minutes=2)
    assert await service.command("review", "list", "--json") == ""
    await partner.is_content()
