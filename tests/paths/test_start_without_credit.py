"""An operator's start for a partner's card goes to the charger only when the card's owner says that it may charge."""

import asyncio
from datetime import UTC, datetime

import pytest

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

GOOD, EMPTY = "04BBBB01", "04BBBB02"


async def test_a_card_without_credit_is_refused_with_its_reason_and_no_frame(
    service: Service, emsp: Emsp
) -> None:  # R02
    partner = await emsp.party("NL-CRD", kind="C")
    await partner.register(*await service.invite("Credit"))
    for uid, allowed in ((GOOD, "ALLOWED"), (EMPTY, "NO_CREDIT")):
        card = await partner.issue(uid, whitelist="NEVER", allowed=allowed, listed=False)
        await partner.push(card | {"valid": True})
    async with charging_point(service.ocpp_url, "GENT-4", PASSWORD) as charger:
        await charger.boot()
        with pytest.raises(AssertionError, match="no_credit"):
            await service.command("station", "command", "GENT-4", "remote-start", EMPTY, "1")
        said = await service.command("station", "command", "GENT-4", "remote-start", GOOD, "1")
        assert "accepted" in said
        async with asyncio.timeout(30):
            told = await charger.asked_for("RemoteStartTransaction")
        assert told["id_tag"] == GOOD  # the first that came: the other was never sent
        started = await charger.begin(GOOD, at=datetime.now(UTC))
        assert started.id_tag_info["status"] == "Accepted"
    asked = await partner.requests("POST", "/authorize")
    assert [request["path"].split("/")[-2] for request in asked] == [EMPTY, GOOD]
    session = await partner.session("ACTIVE")
    assert session["authorization_reference"].casefold() == f"ref-{GOOD}".casefold()
