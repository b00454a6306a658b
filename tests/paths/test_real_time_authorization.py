"""A card whose owner wants to be asked each time is asked, and a charger never waits for an owner that does not answer."""

import asyncio
import time
from datetime import UTC, datetime

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

GOOD, BAD, UNANSWERED = "04AAAA01", "04AAAA02", "04AAAA03"
CHARGERS_PATIENCE_S = 10.0  # the shortest of the field; ours to keep is 5 s


async def test_the_owner_decides_over_its_card_and_its_silence_refuses_it_in_time(service: Service, emsp: Emsp) -> None:
    partner, hanging = await emsp.party("NL-ASK", kind="C"), await emsp.party("DE-HNG", kind="C")
    await partner.register(*await service.invite("Asked"))
    await hanging.register(*await service.invite("Hanging"))
    await hanging.order("silence")
    await partner.push(await partner.issue(GOOD, whitelist="NEVER", listed=False))
    blocked = await partner.issue(BAD, whitelist="NEVER", allowed="BLOCKED", listed=False)
    await partner.push(blocked | {"valid": True})  # only asking tells that it is blocked by now
    await hanging.push(await hanging.issue(UNANSWERED, whitelist="NEVER", listed=False))

    async def silence() -> None:
        async with charging_point(service.ocpp_url, "GENT-5", PASSWORD) as charger:
            await charger.boot()
            tapped_at = time.monotonic()
            assert await charger.authorize(UNANSWERED) == "Invalid"  # TK-32
            assert time.monotonic() - tapped_at < CHARGERS_PATIENCE_S  # TK-42

    async def answers() -> None:
        async with charging_point(service.ocpp_url, "GENT-4", PASSWORD) as charger:
            await charger.boot()
            assert await charger.authorize(BAD) == "Blocked"
            assert await charger.authorize(GOOD) == "Accepted"
            started = await charger.begin(GOOD, at=datetime.now(UTC))
            assert started.id_tag_info["status"] == "Accepted"

    await asyncio.gather(silence(), answers())
    asked = await partner.requests("POST", "/authorize")
    assert [request["path"].split("/")[-2] for request in asked] == [BAD, GOOD]  # Start rests on the fresh answer
    assert asked[1]["body"] == {"location_id": "LOC1", "evse_uids": ["GENT-4-1"]}
    session = await partner.session("ACTIVE")
    assert session["auth_method"] == "AUTH_REQUEST"
    assert session["authorization_reference"].casefold() == f"ref-{GOOD}".casefold()
    await partner.is_content()
