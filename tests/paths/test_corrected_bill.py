"""A bill that was wrong: its partner holds it, its credit and the right one, each once, whatever is killed in between."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

DRIVER = "04E1D2C3B4A598"


async def test_a_corrected_bill_reaches_its_partner_once_through_two_kills(service: Service, emsp: Emsp) -> None:
    """K04, CD-06, CD-07, CD-08, CD-32"""
    partner = await emsp.party("NL-COR", kind="C")
    invitation = json.loads(await service.command("partner", "invite", "Corrected"))
    await partner.register(invitation["token"], invitation["versions_url"])
    await partner.push(await partner.issue(DRIVER, listed=False))
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=9)
    async with charging_point(service.ocpp_url, "GENT-1", PASSWORD) as charger:
        await charger.boot()
        started = await charger.begin(DRIVER, at=began)
        await charger.meter(started.transaction_id, 2000, at=began + timedelta(minutes=4))
        await charger.finish(started.transaction_id, 3000, at=began + timedelta(minutes=8), uid=DRIVER)
    first = await partner.cdr()
    assert (first["total_energy"], first["total_cost"]) == (2, {"excl_vat": 1, "incl_vat": 1.15})

    # Its partner is away when a person corrects it, and we die before it is back.
    await partner.close()
    words = ("--reason", "read on the spot", "--energy-kwh", "1")
    told = await service.command("review", "correct", first["id"], *words)
    credit_id, new_id = (line.partition(": ")[2] for line in told.splitlines())
    service.kill()
    await partner.close(False)
    await service.start()
    bodies = [post["body"] for post in await partner.until("POST", "/cdrs", lambda found: len(found) >= 3)]
    assert [body["id"] for body in bodies] == [first["id"], credit_id, new_id]

    kept, credit, new = bodies
    own = {"id", "credit", "credit_reference_id", "total_cost", "last_updated"}
    assert kept == first
    assert {k: v for k, v in credit.items() if k not in own} == {k: v for k, v in kept.items() if k not in own}
    assert (credit["credit"], credit["credit_reference_id"]) == (True, first["id"])
    assert credit["total_cost"] == {"excl_vat": -1, "incl_vat": -1.15}
    assert (new["total_energy"], new["total_cost"]) == (1, {"excl_vat": 0.75, "incl_vat": 0.875})
    assert new["session_id"] == first["session_id"]
    assert "credit" not in new

    # What was told, and known as told, is not told again, whatever is told anew; and it is listed as it was told.
    async with asyncio.timeout(60):
        while json.loads(await service.command("partner", "list", "--json"))["waiting"]:
            pass
    service.kill()
    await service.start()
    before = len(await partner.requests("PUT", "/locations/"))
    await service.command("partner", "sync", "Corrected")
    await partner.until("PUT", "/locations/", lambda found: len(found) > before)
    assert await partner.list("cdrs") == bodies
    assert len(await partner.requests("POST", "/cdrs")) == 3
    await partner.is_content()
