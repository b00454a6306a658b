"""Two competitors roam with the same operator, and neither learns of the other."""

from datetime import UTC, datetime, timedelta

from tests.paths.charger import charging_point
from tests.paths.partner import Emsp
from tests.paths.service import PASSWORD, Service

ENDED, RUNNING = "04BBBB01", "04BBBB02"


async def test_a_partner_sees_stops_and_changes_nothing_of_another(service: Service, emsp: Emsp) -> None:  # XT-06
    partner, other = await emsp.party("NL-ONE", kind="C"), await emsp.party("NL-TWO", kind="C")
    await partner.register(*await service.invite("One"))
    await other.register(*await service.invite("Two"))
    cards = [await partner.issue(uid, listed=False) for uid in (ENDED, RUNNING)]
    for card in cards:
        await partner.push(card)
    began = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=8)
    async with charging_point(service.ocpp_url, "GENT-6", PASSWORD) as charger:
        await charger.boot()
        started = await charger.begin(ENDED, at=began)
        await charger.finish(started.transaction_id, 2000, at=began + timedelta(minutes=6), uid=ENDED)
        cdr = await partner.cdr()
        running = await charger.begin(RUNNING, at=began + timedelta(minutes=7))
        assert running.id_tag_info["status"] == "Accepted"
        sessions = await partner.list("sessions")
        assert [session["status"] for session in sessions] == ["COMPLETED", "ACTIVE"]

        # Not by list, not by id,
        assert await other.list("sessions") == [] == await other.list("cdrs")
        assert await other.list("locations") == await partner.list("locations")
        for module, id in (("sessions", sessions[1]["id"]), ("cdrs", cdr["id"])):
            assert (await other.answer("GET", other.url(module, "SENDER", id))).status_code in (404, 405)
        # not by session,
        stop = {"session_id": sessions[1]["id"], "response_url": f"{other.results_url}/stop"}
        told = await other.call("POST", other.url("commands", "RECEIVER", "STOP_SESSION"), body=stop)
        assert told["result"] == "UNKNOWN_SESSION"
        # not by token.
        start = {"token": cards[0], "location_id": "LOC1", "response_url": f"{other.results_url}/start"}
        answer = await other.answer("POST", other.url("commands", "RECEIVER", "START_SESSION"), body=start)
        assert answer.json()["status_code"] == 2001, answer.text
        theirs = other.url("tokens", "RECEIVER", "NL", "ONE", ENDED)
        for method, body in (("GET", None), ("PUT", cards[0]), ("PATCH", {"valid": False})):
            answer = await other.answer(method, theirs, body=body)
            assert answer.status_code != 200 or answer.json()["status_code"] >= 2000, (method, answer.text)
        assert await charger.authorize(ENDED) == "Accepted"
        assert charger.asked.empty()

    assert not await other.requests("", "/sessions/")
    assert not await other.requests("", "/cdrs")
    await partner.is_content()
    await other.is_content()
